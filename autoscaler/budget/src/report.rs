//! Puts a solution into words and units.

use msars_domain::{MilliCpu, Millis};

use crate::outcome::{Bound, ChainSplit, Method, Pods, ServiceSplit, Shortfall, Split};
use crate::problem::{Line, Problem, ROUNDING};
use crate::request::{ChainRequest, SplitRequest, TailFactor};

pub(crate) fn split(
    request: &SplitRequest,
    problem: &Problem,
    picks: &[usize],
    budgets: &[f64],
    method: Method,
    gap: Option<f64>,
) -> Split {
    let shares: Vec<Vec<f64>> = (0..problem.lines.len())
        .map(|line| shares(problem, line, budgets))
        .collect();
    let chains: Vec<ChainSplit> = (request.chains.iter().enumerate())
        .map(|(index, chain)| self::chain(chain, problem, index, budgets, &shares[index]))
        .collect();
    let services = (problem.items.iter().enumerate())
        .map(|(index, item)| {
            let choice = item.choices[picks[index]];
            ServiceSplit {
                service: item.name.clone(),
                budget: ms(budgets[index]),
                expected: ms(choice.budget),
                pods: (!item.fixed).then_some(Pods {
                    size: choice.size,
                    replicas: choice.replicas,
                }),
                share: shares.iter().map(|line| line[index]).fold(0.0, f64::max),
            }
        })
        .collect();
    let cost = MilliCpu(u32::try_from(problem.cost(picks)).unwrap_or(u32::MAX));
    let feasible = chains.iter().all(|chain| chain.feasible);
    let shortfall = shortfall(problem, &chains);
    let reason = reason(problem, &chains, shortfall.as_ref(), cost, method, gap);
    let reason = format!("{reason}{}", elsewhere(request, problem));
    Split {
        services,
        cost,
        gap,
        method,
        feasible,
        shortfall,
        bound: worst(&chains),
        chains,
        reason,
    }
}

/// Sums of finite times stay finite and above zero.
fn ms(value: f64) -> Millis {
    Millis::new(value).unwrap_or(Millis::ZERO)
}

/// The largest share of the target that each service takes on one of the chain's paths.
fn shares(problem: &Problem, line: usize, budgets: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; problem.items.len()];
    for row in problem.rows.iter().filter(|row| row.line == line) {
        for ((share, visits), budget) in out.iter_mut().zip(&row.visits).zip(budgets) {
            *share = f64::max(*share, visits * budget / problem.lines[line].target);
        }
    }
    out
}

fn chain(
    request: &ChainRequest,
    problem: &Problem,
    index: usize,
    budgets: &[f64],
    shares: &[f64],
) -> ChainSplit {
    let line = &problem.lines[index];
    let path = problem.longest(index, budgets);
    let broken: f64 = (problem.items.iter().zip(&line.visits))
        .map(|(item, visits)| item.miss * visits)
        .sum();
    let miss = (broken + request.beyond + request.doubt).min(1.0);
    let allowed = request.chain.percentile.miss();
    let within = |limit: f64| path <= limit * (1.0 + ROUNDING);
    ChainSplit {
        chain: request.chain.name.clone(),
        percentile: request.chain.percentile,
        objective: request.objective,
        tail: request.tail,
        target: ms(line.target),
        path: ms(path),
        reachable: ms(line.reachable),
        feasible: within(line.target) && overloaded(problem, line).is_none(),
        shares: (problem.items.iter().zip(shares))
            .filter(|(_, share)| **share > 0.0)
            .map(|(item, share)| (item.name.clone(), *share))
            .collect(),
        bound: Bound {
            miss,
            allowed,
            latency: ms(path),
            holds: miss <= allowed * (1.0 + ROUNDING) && within(request.objective.get()),
        },
    }
}

/// A service of the chain that cannot carry its load.
fn overloaded<'a>(problem: &'a Problem, line: &Line) -> Option<&'a str> {
    (problem.items.iter().zip(&line.visits))
        .find(|(item, visits)| item.overloaded && **visits > 0.0)
        .map(|(item, _)| item.name.as_str())
}

/// The bound that is furthest from holding.
fn worst(chains: &[ChainSplit]) -> Bound {
    let missing = |chain: &ChainSplit| {
        let late = chain.bound.latency.get() / chain.objective.get();
        (chain.bound.miss / chain.bound.allowed).max(late)
    };
    (chains.iter())
        .max_by(|a, b| missing(a).total_cmp(&missing(b)))
        .map_or(Bound::NOTHING, |chain| chain.bound)
}

fn shortfall(problem: &Problem, chains: &[ChainSplit]) -> Option<Shortfall> {
    let short = (chains.iter().zip(&problem.lines).enumerate())
        .filter(|(_, (chain, _))| !chain.feasible)
        .map(|(index, (chain, line))| (index, chain, line, overloaded(problem, line)));
    let (index, chain, line, overloaded) = short.max_by(|a, b| {
        let over = |chain: &ChainSplit| chain.path.get() / chain.target.get();
        (a.3.is_some().cmp(&b.3.is_some())).then(over(a.1).total_cmp(&over(b.1)))
    })?;
    let bottleneck = overloaded.map_or_else(|| slowest(problem, index), ToOwned::to_owned);
    Some(Shortfall {
        chain: chain.chain.clone(),
        bottleneck,
        reachable: overloaded.is_none().then(|| ms(line.reachable)),
        target: chain.target,
    })
}

/// The service that takes most of the longest path when all are at their fastest.
fn slowest(problem: &Problem, line: usize) -> String {
    let paid = |visits: &[f64]| -> Vec<f64> {
        (problem.items.iter().zip(visits))
            .map(|(item, visits)| item.fastest() * visits)
            .collect()
    };
    (problem.rows.iter().filter(|row| row.line == line))
        .map(|row| paid(&row.visits))
        .max_by(|a, b| a.iter().sum::<f64>().total_cmp(&b.iter().sum()))
        .and_then(|path| (0..path.len()).max_by(|a, b| path[*a].total_cmp(&path[*b])))
        .map_or_else(String::new, |item| problem.items[item].name.clone())
}

/// The requests that are counted though no chain brings them, those of three services at most.
fn elsewhere(request: &SplitRequest, problem: &Problem) -> String {
    let mut all: Vec<(&str, f64)> = (problem.items.iter())
        .filter_map(|item| {
            let service = request.services.get(&item.name)?;
            Some((item.name.as_str(), service.elsewhere?.get()))
        })
        .collect();
    all.sort_by(|one, other| other.1.total_cmp(&one.1));
    if all.is_empty() {
        return String::new();
    }
    let named = |(name, rate): &(&str, f64)| format!("{name} {rate:.1}/s");
    let named: Vec<String> = all.iter().take(3).map(named).collect();
    let more = match all.len().saturating_sub(3) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "; requests that come by none of these chains are counted: {}{more}",
        named.join(", ")
    )
}

fn reason(
    problem: &Problem,
    chains: &[ChainSplit],
    shortfall: Option<&Shortfall>,
    cost: MilliCpu,
    method: Method,
    gap: Option<f64>,
) -> String {
    if let Some(short) = shortfall {
        let Shortfall {
            chain,
            bottleneck,
            target,
            ..
        } = short;
        return match short.reachable {
            Some(reachable) if reachable <= *target => format!(
                "{method} does not bring chain {chain} to {target}, though {reachable} is within reach; {bottleneck} \
                 takes most of it"
            ),
            Some(reachable) => format!(
                "chain {chain} cannot be brought below {reachable}, its budgets may add up to {target}; {bottleneck} \
                 takes most of it: best effort at {cost}"
            ),
            None => format!(
                "{bottleneck} on chain {chain} cannot carry its load within its replica bounds as far as its profile \
                 goes: best effort at {cost}"
            ),
        };
    }
    let tightest = (chains.iter()).max_by(|a, b| {
        let full = |c: &ChainSplit| c.path.get() / c.target.get();
        full(a).total_cmp(&full(b))
    });
    let full = tightest.map_or_else(String::new, |chain| {
        let tail = if chain.tail == TailFactor::ONE {
            String::new()
        } else {
            let (objective, factor) = (chain.objective, chain.tail.get());
            format!(", the objective of {objective} over the tail factor {factor:.2}")
        };
        format!(
            "; chain {} spends {} of {}{tail}",
            chain.chain, chain.path, chain.target
        )
    });
    let quality = match gap {
        Some(0.0) => "cheapest of all sizes and replicas".to_owned(),
        Some(gap) => format!(
            "best found, at most {:.1} % above the cheapest",
            gap * 100.0
        ),
        None => "by rule".to_owned(),
    };
    let flat = if problem.lines.iter().any(|line| line.flattened) {
        "; too many parallel paths, counted as sequential"
    } else {
        ""
    };
    format!("{method}: {quality}, {cost} requested{full}{flat}")
}
