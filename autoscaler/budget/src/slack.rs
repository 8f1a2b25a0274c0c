//! What a path has left is shared out in proportion, at no cost: pods stay, budgets rise.

use crate::problem::{Problem, ROUNDING};

/// Raises all budgets by a common factor until a path is full, then those on no full path, and so on. The first budget at
/// its ceiling ends it: what is left then is not given to the others, whose share would lose its meaning.
///
/// Fixed budgets, and those on a chain whose target is out of reach, stay.
pub(crate) fn raise(problem: &Problem, budgets: &mut [f64]) {
    let mut free: Vec<bool> = problem.items.iter().map(|item| !item.fixed).collect();
    for row in &problem.rows {
        let line = &problem.lines[row.line];
        if line.reachable > line.target * (1.0 + ROUNDING) {
            freeze(&mut free, &row.visits);
        }
    }
    loop {
        let mut least: Option<(f64, usize)> = None;
        for (index, row) in problem.rows.iter().enumerate() {
            let (mut rigid, mut elastic) = (0.0, 0.0);
            for (item, visits) in row.visits.iter().enumerate() {
                let paid = visits * budgets[item];
                *(if free[item] { &mut elastic } else { &mut rigid }) += paid;
            }
            if elastic > 0.0 {
                let factor = (row.limit - rigid) / elastic;
                if least.is_none_or(|(smallest, _)| factor < smallest) {
                    least = Some((factor, index));
                }
            }
        }
        let Some((factor, index)) = least else {
            return;
        };
        let room = (problem.items.iter().zip(budgets.iter()).zip(&free))
            .filter(|(_, free)| **free)
            .map(|((item, budget), _)| item.ceiling / budget)
            .fold(f64::INFINITY, f64::min);
        if room < factor {
            scale(budgets, &free, room);
            return;
        }
        scale(budgets, &free, factor);
        freeze(&mut free, &problem.rows[index].visits);
    }
}

/// A factor below 1 is rounding.
fn scale(budgets: &mut [f64], free: &[bool], factor: f64) {
    if factor > 1.0 {
        for (budget, free) in budgets.iter_mut().zip(free) {
            if *free {
                *budget *= factor;
            }
        }
    }
}

fn freeze(free: &mut [bool], visits: &[f64]) {
    for (free, visits) in free.iter_mut().zip(visits) {
        *free &= *visits == 0.0;
    }
}
