//! The request in numbers: services, their choices, and what every path adds up to.

use std::collections::BTreeMap;

use msars_domain::{Call, Chain, EdgeKind, Millis};

use crate::choices::{Choice, Menu, menu};
use crate::request::{ChainRequest, Latency, SplitError, SplitRequest};

/// Paths of one chain beyond this are not told apart: its parallel calls count as sequential, which is never faster.
const MOST_PATHS: f64 = 256.0;

/// An objective out of reach: how far above the fastest path the best effort may stay, as more pods help ever less.
const BEST_EFFORT: f64 = 1.02;

/// Relative tolerance of sums of floating-point budgets.
pub(crate) const ROUNDING: f64 = 1e-9;

/// One service over all its occurrences.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub name: String,
    /// Fastest and dearest first, at least one; a fixed budget is the only choice and costs nothing.
    pub choices: Vec<Choice>,
    pub fixed: bool,
    pub overloaded: bool,
    /// 1−x of its budget.
    pub miss: f64,
    /// No budget above this is given.
    pub ceiling: f64,
    /// Whether it occurs more than once on the chains' trees.
    pub recurs: bool,
}

impl Item {
    pub fn fastest(&self) -> f64 {
        self.choices[0].budget
    }

    /// Leaves out choices above the ceiling; those about as fast as the fastest stay, which is all that the service can do:
    /// the last hundredth of a budget may cost all pods there may be.
    fn keep_below(&mut self, ceiling: f64) {
        let ceiling = ceiling.max(self.fastest() * BEST_EFFORT);
        let fitting = self.choices.iter().take_while(|c| c.budget <= ceiling);
        let count = fitting.count().max(1);
        self.choices.truncate(count);
        self.ceiling = ceiling;
    }
}

/// A call that its caller waits for.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub item: usize,
    /// Sequential visits that a path pays for.
    pub repeats: f64,
    pub parallel: bool,
    pub children: Vec<Node>,
}

/// A chain with what its paths may add up to.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub tree: Node,
    /// Objective over tail factor.
    pub target: f64,
    /// The longest path with every service at its fastest.
    pub reachable: f64,
    /// The target, or the best effort where it is out of reach.
    pub limit: f64,
    /// Mean synchronous visits per item.
    pub visits: Vec<f64>,
    /// Parallel calls were counted as sequential.
    pub flattened: bool,
}

/// One path: times an item's budget is paid, and what the sum may be.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub line: usize,
    pub visits: Vec<f64>,
    pub limit: f64,
}

#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub items: Vec<Item>,
    pub lines: Vec<Line>,
    pub rows: Vec<Row>,
}

impl Problem {
    pub fn new(request: &SplitRequest) -> Result<Self, SplitError> {
        request.validate()?;
        let mut names: Vec<&str> = Vec::new();
        let mut occurrences: Vec<u32> = Vec::new();
        let mut trees = Vec::new();
        for chain in &request.chains {
            let root = &chain.chain.root;
            trees.push(node(root, &mut |name| {
                let item = names.iter().position(|n| *n == name).unwrap_or_else(|| {
                    names.push(name);
                    occurrences.push(0);
                    names.len() - 1
                });
                occurrences[item] += 1;
                item
            }));
        }
        let loads = request.loads();
        let ceilings = ceilings(&request.chains);
        let mut items = Vec::new();
        for (name, times) in names.iter().zip(&occurrences) {
            let load = loads.get(name).copied().unwrap_or(0.0);
            let mut item = item(request, name, load)?;
            item.recurs = *times > 1;
            item.keep_below(ceilings.get(name).copied().unwrap_or(f64::INFINITY));
            items.push(item);
        }
        let mut problem = Self {
            items,
            lines: Vec::new(),
            rows: Vec::new(),
        };
        for (chain, tree) in request.chains.iter().zip(trees) {
            problem.add(chain, &names, tree);
        }
        Ok(problem)
    }

    fn add(&mut self, request: &ChainRequest, names: &[&str], mut tree: Node) {
        let flattened = paths(&tree) > MOST_PATHS;
        if flattened {
            flatten(&mut tree);
        }
        let all = undominated(rows_of(&tree, self.items.len()));
        let fastest: Vec<f64> = self.items.iter().map(Item::fastest).collect();
        let longest = |budgets: &[f64]| {
            all.iter()
                .map(|visits| dot(visits, budgets))
                .fold(0.0, f64::max)
        };
        let (target, reachable) = (request.target().get(), longest(&fastest));
        let limit = if reachable > target * (1.0 + ROUNDING) {
            reachable * BEST_EFFORT
        } else {
            target
        };
        let line = self.lines.len();
        self.rows.extend(all.iter().cloned().map(|visits| Row {
            line,
            visits,
            limit,
        }));
        let mut visits = vec![0.0; self.items.len()];
        synchronous(&request.chain.root, 1.0, &mut |service, times| {
            if let Some(item) = names.iter().position(|name| *name == service) {
                visits[item] += times;
            }
        });
        self.lines.push(Line {
            tree,
            target,
            reachable,
            limit,
            visits,
            flattened,
        });
    }

    /// What the longest path of a chain adds up to.
    pub fn longest(&self, line: usize, budgets: &[f64]) -> f64 {
        (self.rows.iter().filter(|row| row.line == line))
            .map(|row| dot(&row.visits, budgets))
            .fold(0.0, f64::max)
    }

    pub fn budgets(&self, picks: &[usize]) -> Vec<f64> {
        (self.items.iter().zip(picks))
            .map(|(item, &pick)| item.choices[pick].budget)
            .collect()
    }

    pub fn cost(&self, picks: &[usize]) -> u64 {
        (self.items.iter().zip(picks))
            .map(|(item, &pick)| item.choices[pick].cost)
            .sum()
    }
}

pub(crate) fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// How often a request pays for each service below a call, parallel calls counted as sequential.
fn paid(call: &Call) -> BTreeMap<&str, f64> {
    let mut sum = BTreeMap::from([(call.service.as_str(), 1.0)]);
    for child in call.children.iter().filter(|c| c.kind != EdgeKind::Async) {
        for (service, times) in paid(child) {
            *sum.entry(service).or_insert(0.0) += times;
        }
    }
    let visits = f64::from(call.max_visits.max(1));
    for times in sum.values_mut() {
        *times *= visits;
    }
    sum
}

/// The largest budget per visit that each service may get, ms: all visits of a request together keep its share.
fn ceilings(chains: &[ChainRequest]) -> BTreeMap<&str, f64> {
    let mut all = BTreeMap::new();
    for request in chains {
        let Some(share) = request.alone else {
            continue;
        };
        for (service, times) in paid(&request.chain.root) {
            let most = request.objective.get() * share / times;
            let ceiling = all.entry(service).or_insert(most);
            *ceiling = f64::min(*ceiling, most);
        }
    }
    all
}

fn item(request: &SplitRequest, name: &str, load: f64) -> Result<Item, SplitError> {
    let unknown = || SplitError::NoProfile(name.to_owned());
    let service = request.services.get(name).ok_or_else(unknown)?;
    let (menu, fixed, percentile) = match &service.latency {
        Latency::Profiled { curve, percentile } => (
            menu(service, curve, load).ok_or_else(unknown)?,
            false,
            percentile,
        ),
        Latency::Fixed { budget, percentile } => {
            let choice = Choice {
                budget: budget.get(),
                cost: 0,
                size: msars_domain::MilliCpu(0),
                replicas: 0,
            };
            let menu = Menu {
                choices: vec![choice],
                overloaded: false,
            };
            (menu, true, percentile)
        }
    };
    Ok(Item {
        name: name.to_owned(),
        choices: menu.choices,
        fixed,
        overloaded: menu.overloaded,
        miss: percentile.miss(),
        ceiling: f64::INFINITY,
        recurs: false,
    })
}

fn node<'a>(call: &'a Call, index: &mut impl FnMut(&'a str) -> usize) -> Node {
    let item = index(&call.service);
    let waited = call.children.iter().filter(|c| c.kind != EdgeKind::Async);
    Node {
        item,
        repeats: f64::from(call.max_visits),
        parallel: call.kind == EdgeKind::Parallel,
        children: waited.map(|child| node(child, index)).collect(),
    }
}

fn synchronous<'a>(call: &'a Call, times: f64, add: &mut impl FnMut(&'a str, f64)) {
    let times = times * call.visits;
    add(&call.service, times);
    for child in call.children.iter().filter(|c| c.kind != EdgeKind::Async) {
        synchronous(child, times, add);
    }
}

/// Children in groups that follow each other: parallel neighbours together, every other child alone.
pub(crate) fn groups(node: &Node) -> impl Iterator<Item = &[Node]> {
    node.children.chunk_by(|a, b| a.parallel && b.parallel)
}

/// Number of paths, as a float that cannot overflow.
fn paths(node: &Node) -> f64 {
    groups(node)
        .map(|group| group.iter().map(paths).sum::<f64>())
        .product()
}

fn flatten(node: &mut Node) {
    node.parallel = false;
    node.children.iter_mut().for_each(flatten);
}

fn rows_of(node: &Node, items: usize) -> Vec<Vec<f64>> {
    let mut own = vec![0.0; items];
    own[node.item] = 1.0;
    let mut rows = vec![own];
    for group in groups(node) {
        let below: Vec<Vec<f64>> = group.iter().flat_map(|c| rows_of(c, items)).collect();
        let join = |row: &[f64], tail: &[f64]| row.iter().zip(tail).map(|(a, b)| a + b).collect();
        rows = (rows.iter())
            .flat_map(|row| below.iter().map(move |tail| join(row, tail)))
            .collect();
    }
    for row in &mut rows {
        for times in row.iter_mut() {
            *times *= node.repeats;
        }
    }
    rows
}

/// Leaves out paths that another one contains.
fn undominated(mut rows: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    rows.sort_by(|a, b| b.iter().sum::<f64>().total_cmp(&a.iter().sum()));
    let mut kept: Vec<Vec<f64>> = Vec::new();
    for row in rows {
        let within = |other: &Vec<f64>| row.iter().zip(other).all(|(a, b)| a <= b);
        if !kept.iter().any(within) {
            kept.push(row);
        }
    }
    kept
}

/// What the longest path of a chain adds up to when each service's self time per visit is `self_time`; none as soon
/// as that of one waited-for service is unknown.
pub fn path_latency(
    chain: &Chain,
    mut self_time: impl FnMut(&str) -> Option<Millis>,
) -> Option<Millis> {
    fn walk(call: &Call, self_time: &mut dyn FnMut(&str) -> Option<Millis>) -> Option<f64> {
        let mut sum = self_time(&call.service)?.get();
        let mut group: f64 = 0.0;
        for child in call.children.iter().filter(|c| c.kind != EdgeKind::Async) {
            let below = walk(child, self_time)?;
            if child.kind == EdgeKind::Parallel {
                group = group.max(below);
            } else {
                sum += std::mem::take(&mut group) + below;
            }
        }
        Some((sum + group) * f64::from(call.max_visits))
    }
    Millis::new(walk(&chain.root, &mut self_time)?).ok()
}
