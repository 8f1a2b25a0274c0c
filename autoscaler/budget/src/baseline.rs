//! Splits by a rule of thumb, to compare with.

use crate::problem::Problem;

/// What each service weighs in its share of a path.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    Equal,
    /// By the self time of the fastest choice, that is at low load.
    Proportional,
}

/// Budgets in proportion to the rule's weights, the tightest of all paths for each service, and the cheapest choice
/// within; the fastest one where none is.
pub(crate) fn split(problem: &Problem, rule: Rule) -> (Vec<usize>, Vec<f64>) {
    let weights: Vec<f64> = (problem.items.iter())
        .map(|item| match rule {
            Rule::Equal => 1.0,
            Rule::Proportional => item.fastest(),
        })
        .collect();
    let mut budgets = vec![f64::INFINITY; problem.items.len()];
    for row in &problem.rows {
        let (mut fixed, mut weighed) = (0.0, 0.0);
        for (item, visits) in row.visits.iter().enumerate() {
            if problem.items[item].fixed {
                fixed += visits * problem.items[item].fastest();
            } else {
                weighed += visits * weights[item];
            }
        }
        let left = (problem.lines[row.line].target - fixed).max(0.0);
        let factor = if weighed > 0.0 { left / weighed } else { 0.0 };
        for (item, visits) in row.visits.iter().enumerate() {
            if *visits > 0.0 {
                budgets[item] = budgets[item].min(weights[item] * factor);
            }
        }
    }
    let mut picks = Vec::new();
    for (item, budget) in problem.items.iter().zip(&mut budgets) {
        let fitting = item.choices.partition_point(|c| c.budget <= *budget);
        picks.push(fitting.saturating_sub(1));
        if item.fixed || fitting == 0 {
            *budget = item.fastest();
        }
    }
    (picks, budgets)
}
