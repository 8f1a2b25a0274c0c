//! The dynamic program over a tree: for every part the budgets worth giving it, and what it then costs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use crate::problem::{Node, Problem, ROUNDING, groups};

/// Points that a front may have; beyond, neighbours are merged and the result is no longer proved.
const MOST_POINTS: usize = 4000;

/// How many times as many points a front may have while it is made.
const SPARE: usize = 8;

/// A budget in ms and the least cost within it; the origin is a place in the arena, or what will be put there.
#[derive(Debug, Clone, Copy)]
struct Point<O = u32> {
    budget: f64,
    cost: u64,
    origin: O,
}

/// Rising budgets, strictly falling costs.
type Front = Vec<Point>;

/// What a point stands for, so that a solution can be read back.
#[derive(Debug, Clone, Copy)]
enum Origin {
    /// A service chosen outside of the program.
    Outer,
    Choice {
        item: usize,
        pick: usize,
    },
    Both(u32, u32),
}

/// Solves all chains once the recurring services are chosen.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    problem: &'a Problem,
    /// Shared by all fronts; what lies beyond `kept` belongs to one completion.
    arena: Vec<Origin>,
    kept: usize,
    /// Fronts of the largest subtrees without a recurring service, per chain in the order of the walk.
    ready: Vec<Vec<Front>>,
    /// Pairs of points that were looked at.
    pub work: usize,
    /// Whether points were merged.
    pub thinned: bool,
}

impl<'a> Program<'a> {
    pub fn new(problem: &'a Problem) -> Self {
        let mut program = Self {
            problem,
            arena: Vec::new(),
            kept: 0,
            ready: Vec::new(),
            work: 0,
            thinned: false,
        };
        for line in &problem.lines {
            let mut ready = Vec::new();
            program.prepare(&line.tree, line.limit, &mut ready);
            program.ready.push(ready);
        }
        program.kept = program.arena.len();
        program
    }

    /// Chooses every service that occurs once, given those that recur. The sum of their costs, or none when a chain
    /// cannot keep its limit.
    pub fn complete(&mut self, picks: &mut [usize]) -> Option<u64> {
        self.arena.truncate(self.kept);
        let mut cost = 0;
        for (index, line) in self.problem.lines.iter().enumerate() {
            let mut next = 0;
            let front = self.front(&line.tree, line.limit, Some((index, &mut next, picks)));
            let best = front.last()?;
            cost += best.cost;
            self.read(best.origin, picks);
        }
        Some(cost)
    }

    fn prepare(&mut self, node: &Node, limit: f64, ready: &mut Vec<Front>) {
        if self.alone(node) {
            let front = self.front(node, limit, None);
            ready.push(front);
        } else {
            for child in &node.children {
                self.prepare(child, limit, ready);
            }
        }
    }

    /// Whether nothing in the subtree is chosen outside.
    fn alone(&self, node: &Node) -> bool {
        !self.problem.items[node.item].recurs && node.children.iter().all(|c| self.alone(c))
    }

    /// All visits of a subtree. `outer`: the chain, how many prepared fronts are used up, and the outer choices.
    fn front(
        &mut self,
        node: &Node,
        limit: f64,
        mut outer: Option<(usize, &mut usize, &[usize])>,
    ) -> Front {
        if let Some((line, next, _)) = &mut outer
            && self.alone(node)
        {
            let front = self.ready[*line][**next].clone();
            **next += 1;
            return front;
        }
        let limit = limit / node.repeats;
        let picks = outer.as_ref().map(|(_, _, picks)| *picks);
        let mut front = self.own(node.item, limit, picks);
        for group in groups(node) {
            let mut together: Option<Front> = None;
            for child in group {
                let below = match &mut outer {
                    Some((line, next, picks)) => {
                        self.front(child, limit, Some((*line, *next, *picks)))
                    }
                    None => self.front(child, limit, None),
                };
                together = Some(match together {
                    Some(others) => self.parallel(&others, &below),
                    None => below,
                });
            }
            if let Some(below) = together {
                front = self.series(&front, &below, limit);
            }
        }
        for point in &mut front {
            point.budget *= node.repeats;
        }
        front
    }

    /// The service itself; the cost of one chosen outside is counted there.
    fn own(&mut self, item: usize, limit: f64, picks: Option<&[usize]>) -> Front {
        let service = &self.problem.items[item];
        let most = limit * (1.0 + ROUNDING);
        if let (true, Some(picks)) = (service.recurs, picks) {
            let budget = service.choices[picks[item]].budget;
            let origin = self.push(Origin::Outer);
            return if budget <= most {
                vec![Point {
                    budget,
                    cost: 0,
                    origin,
                }]
            } else {
                Vec::new()
            };
        }
        let fitting = service.choices.iter().enumerate();
        fitting
            .take_while(|(_, choice)| choice.budget <= most)
            .map(|(pick, choice)| Point {
                budget: choice.budget,
                cost: choice.cost,
                origin: self.push(Origin::Choice { item, pick }),
            })
            .collect()
    }

    /// Parts that follow each other share a budget. Pairs come in the order of their sums, from one heap entry per point
    /// of the shorter front: all of them together would not fit into memory.
    fn series(&mut self, one: &Front, other: &Front, limit: f64) -> Front {
        let most = limit * (1.0 + ROUNDING);
        let (short, long) = if one.len() <= other.len() {
            (one, other)
        } else {
            (other, one)
        };
        // Bits of floats that are not negative sort as the floats do.
        let pair = |i: usize, j: usize| {
            let (a, b) = (short.get(i)?, long.get(j)?);
            let budget = a.budget + b.budget;
            (budget <= most).then(|| Reverse((budget.to_bits(), a.cost + b.cost, i, j)))
        };
        let mut heap: BinaryHeap<_> = (0..short.len()).filter_map(|i| pair(i, 0)).collect();
        let mut best = u64::MAX;
        let mut front: Vec<Point<(u32, u32)>> = Vec::new();
        while let Some(mut top) = heap.peek_mut() {
            let Reverse((bits, cost, i, j)) = *top;
            if let Some(next) = pair(i, j + 1) {
                *top = next;
            } else {
                PeekMut::pop(top);
            }
            self.work += 1;
            if cost >= best {
                continue;
            }
            best = cost;
            let budget = f64::from_bits(bits);
            // The same sum again, for less.
            if front.last().is_some_and(|last| last.budget >= budget) {
                front.pop();
            }
            front.push(Point {
                budget,
                cost,
                origin: (short[i].origin, long[j].origin),
            });
            if front.len() >= MOST_POINTS * SPARE {
                self.thinned = true;
                front = thin(&front, limit);
            }
        }
        if front.len() > MOST_POINTS {
            self.thinned = true;
            front = thin(&front, limit);
        }
        front
            .into_iter()
            .map(|point| Point {
                budget: point.budget,
                cost: point.cost,
                origin: self.push(Origin::Both(point.origin.0, point.origin.1)),
            })
            .collect()
    }

    /// Branches that run at the same time each get all of a budget.
    fn parallel(&mut self, one: &Front, other: &Front) -> Front {
        let mut front = Front::new();
        let (mut i, mut j) = (0, 0);
        let (Some(first), Some(second)) = (one.first(), other.first()) else {
            return front;
        };
        let mut budget = first.budget.max(second.budget);
        loop {
            while one.get(i + 1).is_some_and(|p| p.budget <= budget) {
                i += 1;
            }
            while other.get(j + 1).is_some_and(|p| p.budget <= budget) {
                j += 1;
            }
            front.push(Point {
                budget,
                cost: one[i].cost + other[j].cost,
                origin: self.push(Origin::Both(one[i].origin, other[j].origin)),
            });
            self.work += 1;
            budget = match (one.get(i + 1), other.get(j + 1)) {
                (Some(a), Some(b)) => a.budget.min(b.budget),
                (Some(a), None) => a.budget,
                (None, Some(b)) => b.budget,
                (None, None) => return front,
            };
        }
    }

    fn push(&mut self, origin: Origin) -> u32 {
        self.arena.push(origin);
        (self.arena.len() - 1) as u32
    }

    fn read(&self, origin: u32, picks: &mut [usize]) {
        match self.arena[origin as usize] {
            Origin::Outer => {}
            Origin::Choice { item, pick } => picks[item] = pick,
            Origin::Both(a, b) => {
                self.read(a, picks);
                self.read(b, picks);
            }
        }
    }
}

/// Keeps the fastest point and the cheapest one of every step of `limit`.
fn thin<O: Copy>(front: &[Point<O>], limit: f64) -> Vec<Point<O>> {
    let step = |point: &Point<O>| (point.budget / limit * MOST_POINTS as f64) as usize;
    let mut kept: Vec<Point<O>> = front.first().copied().into_iter().collect();
    for pair in front.windows(2).skip(1) {
        if step(&pair[0]) != step(&pair[1]) {
            kept.push(pair[0]);
        }
    }
    kept.extend(front.last().filter(|_| front.len() > 1));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many points, a step of budget and of cost apart.
    fn front(count: u32, budget: f64, cost: u64) -> Front {
        (0..count)
            .map(|n| Point {
                budget: f64::from(n + 1) * budget,
                cost: u64::from(count - n) * cost,
                origin: n,
            })
            .collect()
    }

    fn nothing() -> Problem {
        Problem {
            items: Vec::new(),
            lines: Vec::new(),
            rows: Vec::new(),
        }
    }

    #[test]
    fn parts_in_series_get_the_cheapest_pair_of_every_budget() {
        let problem = nothing();
        for (one, other, limit) in [
            (front(7, 3.0, 11), front(5, 2.0, 3), 20.0),
            (front(4, 1.0, 2), front(9, 1.0, 5), 11.0),
            (front(3, 1.0, 1), Front::new(), 10.0),
            (front(3, 5.0, 1), front(3, 6.0, 1), 10.0),
        ] {
            let mut program = Program::new(&problem);
            let found = program.series(&one, &other, limit);
            let pairs: Vec<(f64, u64)> = one
                .iter()
                .flat_map(|a| {
                    other
                        .iter()
                        .map(move |b| (a.budget + b.budget, a.cost + b.cost))
                })
                .filter(|(budget, _)| *budget <= limit)
                .collect();
            assert_eq!(program.work, pairs.len());
            for (budget, _) in &pairs {
                let within = pairs.iter().filter(|(other, _)| other <= budget);
                let best = within.map(|(_, cost)| *cost).min();
                let at = found.partition_point(|point| point.budget <= *budget);
                assert_eq!(found[..at].last().map(|point| point.cost), best);
            }
            let falls =
                |pair: &[Point]| pair[0].budget < pair[1].budget && pair[0].cost > pair[1].cost;
            assert!(found.windows(2).all(falls));
        }
    }

    #[test]
    fn what_is_thinned_while_it_is_made_keeps_both_ends() {
        let problem = nothing();
        let mut program = Program::new(&problem);
        // Every pair is on the front.
        let (one, other) = (front(400, 1.0, 1000), front(400, 0.001, 1));
        let found = program.series(&one, &other, 401.0);
        assert!(program.thinned && program.work == 160_000);
        assert!(found.len() <= MOST_POINTS + 3 && program.arena.len() == found.len());
        let ends = [found.first(), found.last()].map(|point| point.map(|point| point.cost));
        assert_eq!(ends, [Some(400_400), Some(1_001)]);
    }
}
