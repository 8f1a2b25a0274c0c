//! Lower bounds of cost while some services are chosen and the others are not.

use crate::problem::{Item, Problem, ROUNDING, dot};
use crate::relax;

/// Steps of the grid of a surrogate budget; at least 20 per service up to 100 services.
const STEPS: usize = 2000;

/// Paths that get a table of their own beside that of the priced mix of all.
const MOST_TABLES: usize = 8;

/// One linear budget that every allocation keeps, and the least cost of all services from a place in the order on
/// within each number of its steps. Times are rounded down, so that the bound is one.
#[derive(Debug, Clone)]
struct Table {
    /// Share of the whole budget that one ms of each service takes.
    weights: Vec<f64>,
    /// `least[k][u]`: services `order[k..]` within `u` steps.
    least: Vec<Vec<u64>>,
}

/// Bounds for one order of choosing.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    tables: Vec<Table>,
}

impl Bounds {
    /// `order`: services in the order of choosing, of which the first `outer` are chosen one by one.
    pub fn new(problem: &Problem, order: &[usize], outer: usize, prices: &[f64]) -> Self {
        let mut mixes: Vec<Vec<f64>> = Vec::new();
        let fastest: Vec<f64> = problem.items.iter().map(Item::fastest).collect();
        let mut rows: Vec<(f64, Vec<f64>)> = (problem.rows.iter())
            .map(|row| {
                let weights: Vec<f64> = row.visits.iter().map(|v| v / row.limit).collect();
                (dot(&weights, &fastest), weights)
            })
            .collect();
        rows.sort_by(|a, b| b.0.total_cmp(&a.0));
        mixes.extend(rows.into_iter().take(MOST_TABLES).map(|(_, w)| w));
        // The sum of all paths' limits, each at its price, is a budget as well.
        let whole: f64 = prices.iter().sum();
        if whole > 0.0 {
            let mix = relax::per_ms(problem, prices);
            mixes.push(mix.iter().map(|price| price / whole).collect());
        }
        let tables = (mixes.into_iter())
            .map(|weights| table(problem, order, outer, weights))
            .collect();
        Self { tables }
    }

    pub fn len(&self) -> usize {
        self.tables.len()
    }

    /// Share of each table's budget that `ms` of a service take, added to `used`.
    pub fn spend(&self, used: &mut [f64], item: usize, ms: f64) {
        for (sum, table) in used.iter_mut().zip(&self.tables) {
            *sum += table.weights[item] * ms;
        }
    }

    /// The least cost of all services from `order[depth]` on.
    pub fn rest(&self, depth: usize, used: &[f64]) -> u64 {
        (self.tables.iter().zip(used))
            .map(|(table, used)| {
                let left = (1.0 + ROUNDING - used) * STEPS as f64;
                if left < 0.0 {
                    return u64::MAX;
                }
                table.least[depth][(left as usize).min(STEPS)]
            })
            .max()
            .unwrap_or(0)
    }
}

fn table(problem: &Problem, order: &[usize], outer: usize, weights: Vec<f64>) -> Table {
    let mut least = vec![Vec::new(); outer + 1];
    let mut after = vec![0_u64; STEPS + 1];
    for (place, &index) in order.iter().enumerate().rev() {
        if place < outer {
            least[place + 1].clone_from(&after);
        }
        let mut steps: Vec<(usize, u64)> = Vec::new();
        for choice in &problem.items[index].choices {
            // Slightly less, so that rounding of sums never lifts the bound above the truth.
            let step = (choice.budget * weights[index] * STEPS as f64 * (1.0 - ROUNDING)) as usize;
            match steps.last_mut() {
                Some(last) if last.0 == step => last.1 = choice.cost,
                _ => steps.push((step, choice.cost)),
            }
        }
        after = (0..=STEPS)
            .map(|units| {
                (steps.iter())
                    .take_while(|(step, _)| *step <= units)
                    .filter_map(|(step, cost)| after[units - step].checked_add(*cost))
                    .min()
                    .unwrap_or(u64::MAX)
            })
            .collect();
    }
    least[0] = after;
    Table { weights, least }
}
