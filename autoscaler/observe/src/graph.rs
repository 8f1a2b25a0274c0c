//! Who calls whom, and one chain out of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use msars_domain::{Call, Chain, EdgeKind, Millis, Percentile, Rate, Unknown};

use crate::preset::{Matcher, Preset};
use crate::promql::{Ask, Keys, conditions, one_of, select, span};
use crate::scope::named;
use crate::signals::{count, numbers, problems, rows};
use crate::{Answer, Answers, PromError};

/// Calls of one workload to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// Who calls.
    pub caller: String,
    /// Who is called.
    pub callee: String,
    /// Calls per request of the caller, all outcomes, retries included.
    pub visits: f64,
    /// Mean wait per call, where the caller measures it.
    pub mean_wait: Option<Millis>,
}

/// The calls of an application over one window.
#[derive(Debug, Clone, PartialEq)]
pub struct CallGraph {
    /// When it was asked.
    pub evaluated: Timestamp,
    /// Requests per second by workload, those of the entry among them.
    pub rates: BTreeMap<String, Rate>,
    /// Calls between workloads of the application, by caller and callee.
    pub edges: Vec<Edge>,
    /// Calls to what is no workload of the application (databases, other teams): no chain contains them. Calls into
    /// other namespaces are left out where the preset can tell.
    pub outside: Vec<Edge>,
    /// Workloads that call but whose own requests are not counted, so that visits are unknown.
    pub uncounted: BTreeSet<String>,
}

/// Why there is no call graph, or no chain in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// The preset names no metric of calls by callee.
    #[error("preset {0} has no metric that tells who calls whom; declare the chains")]
    NotMeasured(String),
    /// A query failed.
    #[error(transparent)]
    Prometheus(#[from] PromError),
    /// An answer came with warnings: edges may be missing.
    #[error("the answer may be partial: {0}")]
    Partial(String),
    /// The entry had no requests in the window.
    #[error("{0} had no requests in the window")]
    NoTraffic(String),
    /// Calls without a count of the caller's requests.
    #[error("{0} makes calls, but its own requests are not counted")]
    Uncounted(String),
    /// A service below itself.
    #[error("calls form a cycle: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// Too many paths to write as a tree.
    #[error(
        "the calls below {0} make a tree of more than {LARGEST_TREE} nodes; declare the chains"
    )]
    TooLarge(String),
}

impl GraphError {
    /// A bounded label for metrics and events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::NotMeasured(_) => "CallsNotMeasured",
            Self::Prometheus(error) => error.category(),
            Self::Partial(_) => "PartialAnswer",
            Self::NoTraffic(_) => "NoTraffic",
            Self::Uncounted(_) => "RequestsNotCounted",
            Self::Cycle(_) => "CallCycle",
            Self::TooLarge(_) => "CallTreeTooLarge",
        }
    }

    /// Whether asking again may help without a change of the application or its configuration.
    pub fn retry(&self) -> bool {
        match self {
            Self::Prometheus(error) => error.retry(),
            Self::Partial(_) | Self::NoTraffic(_) => true,
            Self::NotMeasured(_) | Self::Uncounted(_) | Self::Cycle(_) | Self::TooLarge(_) => false,
        }
    }
}

/// Nodes of a chain's tree.
const LARGEST_TREE: usize = 256;
/// Requests per second below which a caller's rate says nothing about visits.
const HARDLY_ANY: f64 = 1e-6;
/// Relative error of a ratio of two extrapolated rates: exactly one call per request reads as up to 1.05.
const RATE_ERROR: f64 = 1.05;

/// What tells who calls whom in all namespaces that were asked about.
#[derive(Debug)]
pub struct Graphs<'a> {
    preset: &'a Preset,
    evaluated: Timestamp,
    by_namespace: HashMap<String, Answers>,
    /// The answers without their rows, for a namespace that has none.
    nothing: Answers,
}

impl<'a> Graphs<'a> {
    /// Out of the answers to [`graph_queries`].
    pub fn read(preset: &'a Preset, evaluated: Timestamp, answers: Answers) -> Self {
        let bare = |answer: &Result<Answer, PromError>| {
            answer.as_ref().map_err(Clone::clone).map(|answer| Answer {
                samples: Vec::new(),
                warnings: answer.warnings.clone(),
                infos: answer.infos.clone(),
            })
        };
        let nothing: Answers = answers.iter().map(|(ask, got)| (*ask, bare(got))).collect();
        let mut by_namespace: HashMap<String, Answers> = HashMap::new();
        let called = preset.calls.as_ref().map(|calls| &calls.labels);
        for (ask, answer) in answers {
            let labels = if ask == Ask::Rate {
                Some(&preset.labels)
            } else {
                called
            };
            let (Ok(answer), Some(labels)) = (answer, labels) else {
                continue;
            };
            for sample in answer.samples {
                let Some(namespace) = sample.labels.get(Keys::of(labels).namespace).cloned() else {
                    continue;
                };
                let own = by_namespace
                    .entry(namespace)
                    .or_insert_with(|| nothing.clone());
                if let Some(Ok(answer)) = own.get_mut(&ask) {
                    answer.samples.push(sample);
                }
            }
        }
        Self {
            preset,
            evaluated,
            by_namespace,
            nothing,
        }
    }

    /// The calls among `workloads` of one namespace.
    pub fn of(
        &self,
        namespace: &str,
        workloads: &BTreeSet<String>,
    ) -> Result<CallGraph, GraphError> {
        let answers = self.by_namespace.get(namespace).unwrap_or(&self.nothing);
        assemble_graph(self.preset, workloads, self.evaluated, answers)
    }
}

/// The four queries of all call graphs: as many for a thousand applications as for one.
pub fn graph_queries(
    preset: &Preset,
    namespaces: &BTreeSet<&str>,
    window: Duration,
) -> Result<Vec<(Ask, String)>, GraphError> {
    let not_measured = || GraphError::NotMeasured(preset.name.clone());
    let calls = preset.calls.as_ref().ok_or_else(not_measured)?;
    let callee = calls.callee.as_deref().ok_or_else(not_measured)?;
    let only = named(namespaces);
    let between: Vec<&str> = std::iter::once(callee)
        .chain(calls.callee_namespace.as_deref())
        .collect();
    let rate = |labels, metric: &str, own: &[Matcher], more: &[&str]| {
        let keys = Keys::of(labels).whole();
        let fixed = conditions(labels, only);
        let series = select(metric, fixed.iter().chain(&preset.only).chain(own));
        keys.grouped("sum", &format!("rate({series}[{}])", span(window)), more)
    };
    let (requests, requests_own) = count(preset.counter.as_ref(), &preset.requests);
    let (made, mut made_own) = count(calls.count.as_ref(), &calls.wait);
    let mut wait_own = calls.wait.matchers.clone();
    if let Some(label) = &calls.callee_namespace {
        made_own.push(one_of(label, only));
        wait_own.push(one_of(label, only));
    }
    let wait = |suffix: &str| {
        let metric = format!("{}_{suffix}", calls.wait.metric);
        rate(&calls.labels, &metric, &wait_own, &between)
    };
    Ok(vec![
        (
            Ask::Rate,
            rate(&preset.labels, &requests, &requests_own, &[]),
        ),
        (Ask::Calls, rate(&calls.labels, &made, &made_own, &between)),
        (Ask::CallWait, wait("sum")),
        (Ask::CallWaits, wait("count")),
    ])
}

/// Reads the rows of one namespace out of the answers to [`graph_queries`]. Pure. Without waits the graph has none; without
/// rates or calls there is no graph.
fn assemble_graph(
    preset: &Preset,
    workloads: &BTreeSet<String>,
    evaluated: Timestamp,
    answers: &Answers,
) -> Result<CallGraph, GraphError> {
    let not_measured = || GraphError::NotMeasured(preset.name.clone());
    let calls = preset.calls.as_ref().ok_or_else(not_measured)?;
    let callee = calls.callee.as_deref().ok_or_else(not_measured)?;
    for ask in [Ask::Rate, Ask::Calls] {
        if let Some(Err(error)) = answers.get(&ask) {
            return Err(error.clone().into());
        }
    }
    if let Some(problem) = problems(answers)
        .into_iter()
        .find(|p| matches!(p.ask, Ask::Rate | Ask::Calls))
    {
        return Err(GraphError::Partial(problem.message));
    }
    let keys = Keys::of(&preset.labels).whole();
    let mut rates = BTreeMap::new();
    for ((_, name), revisions) in numbers(answers, Ask::Rate, &keys).unwrap_or_default() {
        if let Ok(rate) = Rate::new(revisions.values().sum())
            && workloads.contains(name)
        {
            rates.insert(name.to_owned(), rate);
        }
    }
    let caller = Keys::of(&calls.labels);
    let pairs = |ask| {
        pairs(
            answers,
            ask,
            &caller,
            (callee, calls.callee_namespace.as_deref()),
        )
    };
    let (waited, waits) = (
        pairs(Ask::CallWait).unwrap_or_default(),
        pairs(Ask::CallWaits).unwrap_or_default(),
    );
    let mut made: Vec<((&str, &str), f64)> =
        pairs(Ask::Calls).unwrap_or_default().into_iter().collect();
    made.sort_by_key(|(pair, _)| *pair);
    let mut graph = CallGraph {
        evaluated,
        rates,
        edges: vec![],
        outside: vec![],
        uncounted: BTreeSet::new(),
    };
    for (pair, rate) in made {
        let (from, to) = pair;
        if !(workloads.contains(from) && rate.is_finite() && rate > 0.0) {
            continue;
        }
        let requests = graph.rates.get(from).map_or(0.0, |r| r.get());
        if requests < HARDLY_ANY {
            graph.uncounted.insert(from.to_owned());
            continue;
        }
        let mean_wait = match (waited.get(&pair), waits.get(&pair)) {
            (Some(sum), Some(count)) if *count > 0.0 => {
                Millis::new(sum / count * calls.wait.unit.ms()).ok()
            }
            _ => None,
        };
        let edge = Edge {
            caller: from.to_owned(),
            callee: to.to_owned(),
            visits: rate / requests,
            mean_wait,
        };
        if workloads.contains(to) {
            graph.edges.push(edge);
        } else {
            graph.outside.push(edge);
        }
    }
    Ok(graph)
}

fn pairs<'a>(
    answers: &'a Answers,
    ask: Ask,
    caller: &Keys<'_>,
    (callee, callee_namespace): (&str, Option<&str>),
) -> Result<HashMap<(&'a str, &'a str), f64>, Unknown> {
    let mut out = HashMap::new();
    for sample in rows(answers, ask)? {
        // Into another namespace, a call leaves the application.
        let home = sample.labels.get(caller.namespace);
        if callee_namespace.is_some_and(|label| sample.labels.get(label) != home) {
            continue;
        }
        let (from, to) = (
            sample.labels.get(caller.workload),
            sample.labels.get(callee),
        );
        if let (Some(from), Some(to)) = (from, to) {
            *out.entry((from.as_str(), to.as_str())).or_insert(0.0) += sample.value;
        }
    }
    Ok(out)
}

/// All calls below `entry` as one chain, named after it: every edge sequential, since counts don't tell, and at most
/// as many visits on one path as the mean says, rounded up (five percent are forgiven as measurement error).
pub fn merged_chain(
    graph: &CallGraph,
    entry: &str,
    percentile: Percentile,
) -> Result<Chain, GraphError> {
    if graph.rates.get(entry).is_none_or(|r| r.get() < HARDLY_ANY) {
        return Err(GraphError::NoTraffic(entry.to_owned()));
    }
    let mut by_caller: BTreeMap<&str, Vec<&Edge>> = BTreeMap::new();
    for edge in &graph.edges {
        by_caller.entry(&edge.caller).or_default().push(edge);
    }
    let mut growing = Growing {
        by_caller,
        uncounted: &graph.uncounted,
        entry,
        nodes: 0,
        above: vec![],
    };
    Ok(Chain {
        name: entry.to_owned(),
        root: growing.grow(entry, 1.0)?,
        percentile,
    })
}

struct Growing<'a> {
    by_caller: BTreeMap<&'a str, Vec<&'a Edge>>,
    uncounted: &'a BTreeSet<String>,
    entry: &'a str,
    nodes: usize,
    above: Vec<&'a str>,
}

impl<'a> Growing<'a> {
    fn grow(&mut self, service: &'a str, visits: f64) -> Result<Call, GraphError> {
        if let Some(first) = self.above.iter().position(|s| *s == service) {
            let round = self.above[first..].iter().copied().chain([service]);
            return Err(GraphError::Cycle(round.map(str::to_owned).collect()));
        }
        if self.uncounted.contains(service) {
            return Err(GraphError::Uncounted(service.to_owned()));
        }
        self.nodes += 1;
        if self.nodes > LARGEST_TREE {
            return Err(GraphError::TooLarge(self.entry.to_owned()));
        }
        self.above.push(service);
        let edges = self.by_caller.get(service).cloned().unwrap_or_default();
        let mut children = Vec::with_capacity(edges.len());
        for edge in edges {
            children.push(self.grow(&edge.callee, edge.visits)?);
        }
        self.above.pop();
        Ok(Call {
            service: service.to_owned(),
            visits,
            max_visits: ((visits / RATE_ERROR).ceil() as u32).max(1),
            kind: EdgeKind::Sequential,
            children,
        })
    }
}

#[cfg(test)]
mod tests;
