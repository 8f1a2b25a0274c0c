//! The dynamic program over a tree: for every part the budgets worth giving it, and what it then costs.

use crate::problem::{Node, Problem, ROUNDING, groups};

/// Points that a front may have; beyond, neighbours are merged and the result is no longer proved.
const MOST_POINTS: usize = 4000;

/// A budget in ms and the least cost within it.
#[derive(Debug, Clone, Copy)]
struct Point {
    budget: f64,
    cost: u64,
    origin: u32,
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

    /// Parts that follow each other share a budget.
    fn series(&mut self, one: &Front, other: &Front, limit: f64) -> Front {
        let most = limit * (1.0 + ROUNDING);
        let mut pairs = Vec::with_capacity(one.len() * other.len());
        for a in one {
            for b in other {
                let budget = a.budget + b.budget;
                if budget > most {
                    break;
                }
                pairs.push((budget, a.cost + b.cost, a.origin, b.origin));
            }
        }
        self.work += pairs.len();
        pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut best = u64::MAX;
        let mut front = Front::new();
        for (budget, cost, a, b) in pairs {
            if cost < best {
                best = cost;
                front.push(Point {
                    budget,
                    cost,
                    origin: self.push(Origin::Both(a, b)),
                });
            }
        }
        if front.len() > MOST_POINTS {
            self.thinned = true;
            front = thin(&front, limit);
        }
        front
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
fn thin(front: &Front, limit: f64) -> Front {
    let step = |point: &Point| (point.budget / limit * MOST_POINTS as f64) as usize;
    let mut kept: Front = front.first().copied().into_iter().collect();
    for pair in front.windows(2).skip(1) {
        if step(&pair[0]) != step(&pair[1]) {
            kept.push(pair[0]);
        }
    }
    kept.extend(front.last().filter(|_| front.len() > 1));
    kept
}
