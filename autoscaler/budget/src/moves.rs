//! Moves between allocations: a first good one, and the best that single and paired changes make of it.

use crate::problem::{Problem, ROUNDING, dot};

/// An allocation with what each path pays.
#[derive(Debug, Clone)]
pub(crate) struct State<'a> {
    problem: &'a Problem,
    pub picks: Vec<usize>,
    used: Vec<f64>,
    pub cost: u64,
}

impl<'a> State<'a> {
    pub fn new(problem: &'a Problem, picks: Vec<usize>) -> Self {
        let budgets = problem.budgets(&picks);
        let used = (problem.rows.iter())
            .map(|row| dot(&row.visits, &budgets))
            .collect();
        Self {
            problem,
            cost: problem.cost(&picks),
            picks,
            used,
        }
    }

    /// Everything as fast as it gets, which keeps every limit.
    pub fn fastest(problem: &'a Problem) -> Self {
        Self::new(problem, vec![0; problem.items.len()])
    }

    /// What each path has left.
    pub fn slack(&self) -> Vec<f64> {
        (self.problem.rows.iter().zip(&self.used))
            .map(|(row, used)| row.limit - used)
            .collect()
    }

    fn set(&mut self, item: usize, pick: usize) {
        let choices = &self.problem.items[item].choices;
        let (old, new) = (choices[self.picks[item]], choices[pick]);
        for (used, row) in self.used.iter_mut().zip(&self.problem.rows) {
            *used += row.visits[item] * (new.budget - old.budget);
        }
        self.cost = self.cost - old.cost + new.cost;
        self.picks[item] = pick;
    }

    /// The slowest and cheapest choice that the paths leave room for, the present one at least.
    fn slowest(&self, item: usize) -> usize {
        let choices = &self.problem.items[item].choices;
        let now = choices[self.picks[item]].budget;
        let room = (self.problem.rows.iter().zip(&self.used))
            .filter(|(row, _)| row.visits[item] > 0.0)
            .map(|(row, used)| (row.limit * (1.0 + ROUNDING) - used) / row.visits[item])
            .fold(f64::INFINITY, f64::min);
        let fitting = choices.partition_point(|choice| choice.budget <= now + room);
        fitting.saturating_sub(1).max(self.picks[item])
    }

    /// Gives time away where a share of the paths' limits saves most, until none is left.
    pub fn relax(&mut self, but: Option<usize>) {
        loop {
            let mut best: Option<(f64, usize, usize)> = None;
            for (item, service) in self.problem.items.iter().enumerate() {
                if but == Some(item) || service.choices.len() == 1 {
                    continue;
                }
                let now = service.choices[self.picks[item]];
                let weight: f64 = (self.problem.rows.iter().zip(&self.used))
                    .map(|(row, used)| {
                        row.visits[item] / (row.limit * (1.0 + ROUNDING) - used).max(f64::EPSILON)
                    })
                    .fold(0.0, f64::max);
                for pick in self.picks[item] + 1..=self.slowest(item) {
                    let next = service.choices[pick];
                    let taken = weight * (next.budget - now.budget);
                    let gain = (now.cost - next.cost) as f64 / taken.max(f64::EPSILON);
                    if best.is_none_or(|(most, _, _)| gain > most) {
                        best = Some((gain, item, pick));
                    }
                }
            }
            match best {
                Some((_, item, pick)) => self.set(item, pick),
                None => return,
            }
        }
    }

    /// Speeds up what costs least per excess removed, until every path keeps its limit.
    pub fn repair(&mut self) {
        loop {
            let broken: Vec<usize> = (0..self.used.len())
                .filter(|&row| self.used[row] > self.problem.rows[row].limit * (1.0 + ROUNDING))
                .collect();
            if broken.is_empty() {
                return;
            }
            let mut best: Option<(f64, usize, usize)> = None;
            for (item, service) in self.problem.items.iter().enumerate() {
                let now = service.choices[self.picks[item]];
                for pick in 0..self.picks[item] {
                    let next = service.choices[pick];
                    let removed: f64 = (broken.iter())
                        .map(|&index| {
                            let row = &self.problem.rows[index];
                            let excess = self.used[index] / row.limit - 1.0;
                            let saved = row.visits[item] * (now.budget - next.budget) / row.limit;
                            saved.min(excess)
                        })
                        .sum();
                    let price = (next.cost - now.cost) as f64 / removed;
                    if removed > 0.0 && best.is_none_or(|(least, _, _)| price < least) {
                        best = Some((price, item, pick));
                    }
                }
            }
            match best {
                Some((_, item, pick)) => self.set(item, pick),
                // Rounding alone is left: the fastest keeps every limit.
                None => return *self = Self::fastest(self.problem),
            }
        }
    }

    /// Makes one service faster and lets the others have the time, for as long as that saves.
    pub fn improve(&mut self) {
        self.relax(None);
        loop {
            let before = self.cost;
            for item in 0..self.picks.len() {
                for pick in (0..self.picks[item]).rev() {
                    let mut other = self.clone();
                    other.set(item, pick);
                    other.relax(Some(item));
                    if other.cost < self.cost {
                        *self = other;
                        break;
                    }
                }
            }
            if self.cost == before {
                return;
            }
        }
    }
}
