//! Every allocation there is: shares no code with the crate, replica arithmetic included.

use std::collections::BTreeMap;

use msars_budget::{Latency, SplitRequest};
use msars_domain::{Call, EdgeKind, SizeCurve};

use crate::application::{takes, total_load};

fn waited_for(call: &Call, out: &mut Vec<String>) {
    if !out.contains(&call.service) {
        out.push(call.service.clone());
    }
    for child in call.children.iter().filter(|c| c.kind != EdgeKind::Async) {
        waited_for(child, out);
    }
}

/// How often a request pays for a service, one call after the other.
fn paid(call: &Call, name: &str) -> f64 {
    let children = call.children.iter().filter(|c| c.kind != EdgeKind::Async);
    let below: f64 = children.map(|child| paid(child, name)).sum();
    let own = if call.service == name { 1.0 } else { 0.0 };
    f64::from(call.max_visits) * (own + below)
}

/// What a service may take of the objectives per visit.
fn may_take(request: &SplitRequest, name: &str) -> f64 {
    let each = request.chains.iter().filter_map(|chain| {
        let most = chain.objective.get() * chain.alone?;
        Some(most / paid(&chain.chain.root, name))
    });
    each.fold(f64::INFINITY, f64::min)
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
        // Nothing above what it may take, but for what is about as fast as it can be.
        let fastest = here.iter().map(|o| o.0).fold(f64::INFINITY, f64::min);
        let most = may_take(request, name).max(fastest * 1.02);
        here.retain(|(time, _)| *time <= most);
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
