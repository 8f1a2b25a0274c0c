//! Prices of the paths' time: what an allocation would pay if it could buy latency instead of keeping limits.

use crate::problem::{Problem, dot};

/// Enough for prices that prune well; exactness does not depend on them.
const STEPS: u32 = 300;

/// Price of each path's whole limit, in the unit of cost. `known` is the cost of some allocation that keeps all.
pub(crate) fn prices(problem: &Problem, known: u64) -> Vec<f64> {
    let mut prices = vec![0.0; problem.rows.len()];
    let mut best = (f64::NEG_INFINITY, prices.clone());
    let mut eagerness = 1.0;
    let mut stale = 0;
    for _ in 0..STEPS {
        let per_ms = per_ms(problem, &prices);
        let picks = cheapest(problem, &per_ms);
        let budgets = problem.budgets(&picks);
        let excess: Vec<f64> = (problem.rows.iter())
            .map(|row| dot(&row.visits, &budgets) / row.limit - 1.0)
            .collect();
        let value = problem.cost(&picks) as f64 + dot(&prices, &excess);
        if value > best.0 {
            best = (value, prices.clone());
            stale = 0;
        } else {
            stale += 1;
            if stale == 10 {
                eagerness *= 0.5;
                stale = 0;
            }
        }
        // A direction that would only make a free path cheaper does not count.
        let moved: f64 = (excess.iter().zip(&prices))
            .filter(|(excess, price)| **excess > 0.0 || **price > 0.0)
            .map(|(excess, _)| excess * excess)
            .sum();
        let missing = known as f64 - value;
        if moved <= f64::EPSILON || missing <= 0.0 {
            break;
        }
        let step = eagerness * missing / moved;
        for (price, excess) in prices.iter_mut().zip(&excess) {
            *price = (*price + step * excess).max(0.0);
        }
    }
    best.1
}

/// What one ms of each service's budget costs on all its paths.
pub(crate) fn per_ms(problem: &Problem, prices: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; problem.items.len()];
    for (row, price) in problem.rows.iter().zip(prices) {
        for (sum, visits) in out.iter_mut().zip(&row.visits) {
            *sum += price * visits / row.limit;
        }
    }
    out
}

/// The cheapest choice of each service when it pays for its time.
pub(crate) fn cheapest(problem: &Problem, per_ms: &[f64]) -> Vec<usize> {
    (problem.items.iter().zip(per_ms))
        .map(|(item, price)| {
            let paid =
                |pick: usize| item.choices[pick].cost as f64 + price * item.choices[pick].budget;
            (0..item.choices.len())
                .min_by(|a, b| paid(*a).total_cmp(&paid(*b)))
                .unwrap_or(0)
        })
        .collect()
}
