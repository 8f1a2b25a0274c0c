//! Enumerates the services that recur, cheapest prospect first, and solves the rest by the program.

use crate::bound::Bounds;
use crate::front::Program;
use crate::moves::State;
use crate::problem::{Problem, ROUNDING};
use crate::relax;

/// How much is tried before the best found stands; counts, so that the same request gets the same answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Choices of recurring services that are looked at.
    pub steps: usize,
    /// Pairs of points that the program joins.
    pub pairs: usize,
}

/// One choice per service, and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub picks: Vec<usize>,
    pub cost: u64,
    /// Nothing costs less than this.
    pub lower: u64,
    /// Whether services recur.
    pub recurring: bool,
}

pub(crate) fn solve(problem: &Problem, effort: Effort) -> Found {
    let mut program = Program::new(problem);
    if !problem.items.iter().any(|item| item.recurs) {
        let mut picks = vec![0; problem.items.len()];
        if let Some(cost) = program.complete(&mut picks)
            && !program.thinned
        {
            return Found {
                picks,
                cost,
                lower: cost,
                recurring: false,
            };
        }
    }
    let (start, prices) = start(problem);
    enumerate(problem, program, effort, start, &prices)
}

/// A good allocation by moves, and the prices of paths.
fn start(problem: &Problem) -> (State<'_>, Vec<f64>) {
    let mut best = State::fastest(problem);
    best.improve();
    let prices = relax::prices(problem, best.cost);
    let per_ms = relax::per_ms(problem, &prices);
    for scale in [1.0, 0.7, 1.4] {
        let scaled: Vec<f64> = per_ms.iter().map(|price| price * scale).collect();
        let mut other = State::new(problem, relax::cheapest(problem, &scaled));
        other.repair();
        other.improve();
        if other.cost < best.cost {
            best = other;
        }
    }
    (best, prices)
}

/// Goes through the choices of recurring services; neither `start` nor `prices` changes what a complete search finds.
fn enumerate<'a>(
    problem: &'a Problem,
    program: Program<'a>,
    effort: Effort,
    start: State<'a>,
    prices: &[f64],
) -> Found {
    let (order, outer) = order(problem);
    let bounds = Bounds::new(problem, &order, outer, prices);
    let used = vec![0.0; bounds.len()];
    let lower = bounds.rest(0, &used).min(start.cost);
    let mut search = Search {
        problem,
        program,
        bounds,
        order,
        outer,
        effort,
        cost: start.cost,
        picks: start.picks,
        trial: vec![0; problem.items.len()],
        complete: true,
    };
    search.descend(0, 0, &used, &State::fastest(problem).slack());
    let proved = search.complete && !search.program.thinned;
    let mut end = State::new(problem, search.picks);
    if !proved {
        end.improve();
    }
    Found {
        lower: if proved { end.cost } else { lower },
        cost: end.cost,
        picks: end.picks,
        recurring: outer > 0,
    }
}

/// Recurring services first, of those the ones whose choice matters most, so that bounds differ early; and how many
/// recur.
fn order(problem: &Problem) -> (Vec<usize>, usize) {
    let spread = |item: usize| {
        let choices = &problem.items[item].choices;
        choices[0].cost - choices[choices.len() - 1].cost
    };
    let mut order: Vec<usize> = (0..problem.items.len()).collect();
    order.sort_by_key(|&item| (!problem.items[item].recurs, std::cmp::Reverse(spread(item))));
    let outer = order.iter().filter(|&&i| problem.items[i].recurs).count();
    (order, outer)
}

struct Search<'a> {
    problem: &'a Problem,
    program: Program<'a>,
    bounds: Bounds,
    order: Vec<usize>,
    outer: usize,
    effort: Effort,
    /// The best so far.
    cost: u64,
    picks: Vec<usize>,
    trial: Vec<usize>,
    complete: bool,
}

impl Search<'_> {
    /// `cost`: of the services chosen so far; `used`: their share of each bound's budget; `slack`: what each path has
    /// left when all others are at their fastest.
    fn descend(&mut self, depth: usize, cost: u64, used: &[f64], slack: &[f64]) {
        if depth == self.outer {
            let mut picks = self.trial.clone();
            if let Some(rest) = self.program.complete(&mut picks)
                && cost + rest < self.cost
            {
                self.cost = cost + rest;
                self.picks = picks;
            }
            return;
        }
        let item = self.order[depth];
        let choices = &self.problem.items[item].choices;
        let mut prospects = Vec::new();
        for (pick, choice) in choices.iter().enumerate() {
            let more = choice.budget - choices[0].budget;
            let left: Vec<f64> = (self.problem.rows.iter().zip(slack))
                .map(|(row, slack)| slack - row.visits[item] * more)
                .collect();
            let rows = self.problem.rows.iter().zip(&left);
            if rows
                .clone()
                .any(|(row, left)| *left < -row.limit * ROUNDING)
            {
                break; // The next ones are slower.
            }
            let cost = cost + choice.cost;
            let mut used = used.to_vec();
            self.bounds.spend(&mut used, item, choice.budget);
            let least = cost.saturating_add(self.bounds.rest(depth + 1, &used));
            self.effort.steps = self.effort.steps.saturating_sub(1);
            if least < self.cost {
                let least = least.max(cost + self.alone(depth + 1, &left));
                prospects.push((least, pick, cost, used, left));
            }
        }
        prospects.sort_by_key(|(least, ..)| *least);
        for (least, pick, cost, used, left) in prospects {
            if least >= self.cost {
                return;
            }
            if self.effort.steps == 0 || self.program.work > self.effort.pairs {
                self.complete = false;
                return;
            }
            self.trial[item] = pick;
            self.descend(depth + 1, cost, &used, &left);
        }
    }

    /// Every remaining service at the cheapest that the paths leave room for, as if it were the only one to slow down.
    fn alone(&self, depth: usize, left: &[f64]) -> u64 {
        (self.order[depth..].iter())
            .map(|&item| {
                let choices = &self.problem.items[item].choices;
                let room = (self.problem.rows.iter().zip(left))
                    .filter(|(row, _)| row.visits[item] > 0.0)
                    .map(|(row, left)| (left + row.limit * ROUNDING) / row.visits[item])
                    .fold(f64::INFINITY, f64::min);
                let most = choices[0].budget + room;
                let fitting = choices.partition_point(|choice| choice.budget <= most);
                choices[fitting.saturating_sub(1)].cost
            })
            .sum()
    }
}

#[cfg(test)]
mod tests;
