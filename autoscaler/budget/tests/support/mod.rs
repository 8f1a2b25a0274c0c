//! Applications to split, and a solver that shares no code with the crate.

use std::collections::BTreeMap;

use msars_budget::{ChainRequest, Latency, Service, SplitRequest, Weight};
use msars_domain::{
    Call, Chain, Curve, EdgeKind, Knot, MilliCpu, Millis, Percentile, Rate, SizeCurve,
};

pub fn ms(value: f64) -> Millis {
    Millis::new(value).unwrap()
}

pub fn call(name: &str, kind: EdgeKind, visits: f64, max: u32, children: Vec<Call>) -> Call {
    Call {
        service: name.into(),
        visits,
        max_visits: max,
        kind,
        children,
    }
}

/// One visit, in sequence.
pub fn seq(name: &str, children: Vec<Call>) -> Call {
    call(name, EdgeKind::Sequential, 1.0, 1, children)
}

/// One visit, beside its neighbours.
pub fn par(name: &str, children: Vec<Call>) -> Call {
    call(name, EdgeKind::Parallel, 1.0, 1, children)
}

pub fn chain(name: &str, rate: f64, objective: f64, root: Call) -> ChainRequest {
    let chain = Chain {
        name: name.into(),
        root,
        percentile: Percentile::new(0.99).unwrap(),
    };
    ChainRequest::new(chain, Rate::new(rate).unwrap(), ms(objective))
}

/// A curve that is flat up to its knee and steep after, as measured ones are: `base` ms at 100m up to `knee` requests/s,
/// `steep` times that at twice the rate; at 200m 0.6 of the time and 1.9 times the rate.
pub fn service(base: f64, knee: f64, steep: f64, max_replicas: u32) -> Service {
    let table = |size: u32, time: f64, reach: f64| SizeCurve {
        size: MilliCpu(size),
        knots: [
            (0.2, 1.0),
            (1.0, 1.3),
            (1.5, 1.0 + steep / 3.0),
            (2.0, steep),
        ]
        .map(|(rate, factor)| Knot {
            rate: Rate::new(knee * reach * rate).unwrap(),
            quantile: ms(base * time * factor),
        })
        .to_vec(),
    };
    Service {
        latency: Latency::Profiled {
            curve: Curve::new(vec![table(100, 1.0, 1.0), table(200, 0.6, 1.9)]).unwrap(),
            percentile: Percentile::new(0.99).unwrap(),
        },
        min_replicas: 1,
        max_replicas,
        weight: Weight::LIMIT,
        floor: None,
    }
}

pub fn application(chains: Vec<ChainRequest>, services: Vec<(&str, Service)>) -> SplitRequest {
    SplitRequest {
        application: "shop".into(),
        chains,
        services: (services.into_iter())
            .map(|(name, service)| (name.to_owned(), service))
            .collect(),
    }
}

/// By definition: a call takes its own time, then each sequential child or group of parallel ones, all of it once per
/// sequential visit.
pub fn takes(call: &Call, times: &BTreeMap<String, f64>) -> f64 {
    let mut total = times[&call.service];
    let mut side_by_side = Vec::new();
    for child in &call.children {
        match child.kind {
            EdgeKind::Async => {}
            EdgeKind::Parallel => side_by_side.push(takes(child, times)),
            EdgeKind::Sequential => {
                total += side_by_side.drain(..).fold(0.0, f64::max);
                total += takes(child, times);
            }
        }
    }
    total += side_by_side.drain(..).fold(0.0, f64::max);
    total * f64::from(call.max_visits)
}

fn load(call: &Call, name: &str, calls: f64) -> f64 {
    let calls = calls * call.visits;
    let own = if call.service == name { calls } else { 0.0 };
    own + (call.children.iter())
        .map(|child| load(child, name, calls))
        .sum::<f64>()
}

/// Requests per second of a service over all chains.
pub fn total_load(request: &SplitRequest, name: &str) -> f64 {
    (request.chains.iter())
        .map(|c| load(&c.chain.root, name, c.rate.get()))
        .sum()
}

pub fn waited_for(call: &Call, out: &mut Vec<String>) {
    if !out.contains(&call.service) {
        out.push(call.service.clone());
    }
    for child in call.children.iter().filter(|c| c.kind != EdgeKind::Async) {
        waited_for(child, out);
    }
}

/// Self time of a pod at a rate, read off the points; none where none was measured.
fn read_off(table: &SizeCurve, rate: f64) -> Option<f64> {
    let points: Vec<(f64, f64)> = (table.knots.iter())
        .map(|knot| (knot.rate.get(), knot.quantile.get()))
        .collect();
    if rate <= points[0].0 {
        return Some(points[0].1);
    }
    (1..points.len()).find(|&i| rate <= points[i].0).map(|i| {
        let ((x0, y0), (x1, y1)) = (points[i - 1], points[i]);
        y0 + (y1 - y0) * (rate - x0) / (x1 - x0)
    })
}

/// Every size and number of pods of every service, the cheapest that keeps all targets; none where nothing does.
pub fn brute_force(request: &SplitRequest) -> Option<u64> {
    let mut names = Vec::new();
    for chain in &request.chains {
        waited_for(&chain.chain.root, &mut names);
    }
    let mut options: Vec<Vec<(f64, u64)>> = Vec::new();
    for name in &names {
        let service = &request.services[name];
        let mut here = Vec::new();
        match &service.latency {
            Latency::Fixed { budget, .. } => here.push((budget.get(), 0)),
            Latency::Profiled { curve, .. } => {
                for table in curve.sizes() {
                    for pods in service.min_replicas.max(1)..=service.max_replicas {
                        let each = total_load(request, name) / f64::from(pods);
                        if let Some(time) = read_off(table, each) {
                            let cost = (service.weight.ratio * f64::from(table.size.0)).round();
                            let cost = cost as u64 + u64::from(service.weight.sidecars.0);
                            here.push((time, cost * u64::from(pods)));
                        }
                    }
                }
            }
        }
        options.push(here);
    }
    let mut best: Option<u64> = None;
    let mut at = vec![0_usize; names.len()];
    if options.iter().any(Vec::is_empty) {
        return None;
    }
    loop {
        let cost: u64 = at.iter().zip(&options).map(|(&i, o)| o[i].1).sum();
        if best.is_none_or(|best| cost < best) {
            let times: BTreeMap<String, f64> = (names.iter().zip(&at).zip(&options))
                .map(|((name, &i), o)| (name.clone(), o[i].0))
                .collect();
            let kept = request.chains.iter().all(|c| {
                takes(&c.chain.root, &times) <= c.objective.get() / c.tail.get() * (1.0 + 1e-9)
            });
            if kept {
                best = Some(cost);
            }
        }
        let Some(next) = (0..at.len()).find(|&i| at[i] + 1 < options[i].len()) else {
            return best;
        };
        at[..next].fill(0);
        at[next] += 1;
    }
}
