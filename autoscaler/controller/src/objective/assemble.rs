//! From what is known to a split request, and from a split to budgets per revision. Pure.

use std::collections::BTreeMap;

use msars_api::crd::{ChainSplit, ServiceBudget};
use msars_budget::{
    ChainRequest, Floor, Latency, Service, Split, SplitRequest, TailFactor, Weight,
};
use msars_domain::{Chain, Curve, MilliCpu, Millis, Percentile, Rate};

use super::bounds::Bounds;
use crate::profiles::Known;
use crate::world::Workload;

/// The source of a budget that is only what an unprofiled revision takes.
const OBSERVED: &str = "observed";
/// The source of a budget that an unprofiled revision has from one before it.
const EARLIER: &str = "earlier";

/// What is known of one service for a split.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    /// The workload.
    pub workload: &'a Workload,
    /// The revision that the split is for.
    pub revision: &'a str,
    /// Its profile.
    pub profile: Option<&'a Known>,
    /// Observed self time at the percentile, when there is no profile.
    pub observed: Option<Millis>,
    /// The budget that the workload has from an earlier profile, when this revision has none.
    pub earlier: Option<Millis>,
    /// Live CPU per request over the profile's; a slower live service shrinks the curve.
    pub work_ratio: f64,
    /// How far it may go.
    pub bounds: Bounds,
    /// The size that somebody else gave its pods.
    pub pinned: Option<MilliCpu>,
    /// Size and replicas that must stay.
    pub floor: Option<Floor>,
    /// Requests per second that come by no class.
    pub elsewhere: Option<Rate>,
}

/// One request class.
#[derive(Debug, Clone)]
pub struct Class {
    /// Its calls.
    pub chain: Chain,
    /// Requests per second.
    pub rate: Rate,
    /// The objective.
    pub objective: Millis,
    /// Observed over predicted quantile.
    pub tail: TailFactor,
}

/// Services of the chains that nothing is known of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub Vec<String>);

/// Builds the request, or says for which services nothing is known.
pub fn request(
    application: &str,
    classes: &[Class],
    members: &BTreeMap<String, Member<'_>>,
) -> Result<SplitRequest, Missing> {
    let mut services = BTreeMap::new();
    let mut missing = Vec::new();
    for class in classes {
        for (name, _) in class.chain.visits() {
            if services.contains_key(name) {
                continue;
            }
            match members
                .get(name)
                .and_then(|member| service(member, class.chain.percentile))
            {
                Some(service) => {
                    services.insert(name.to_owned(), service);
                }
                None => missing.push(name.to_owned()),
            }
        }
    }
    if !missing.is_empty() {
        missing.sort();
        missing.dedup();
        return Err(Missing(missing));
    }
    let chains = classes
        .iter()
        .map(|class| ChainRequest {
            tail: class.tail,
            alone: alone(class.tail),
            ..ChainRequest::new(class.chain.clone(), class.rate, class.objective)
        })
        .collect();
    Ok(SplitRequest {
        application: application.to_owned(),
        chains,
        services,
    })
}

/// A tail factor below one was observed while no service dominated: the slow requests of one are not those of another.
/// It says nothing of a service whose own quantile nears the objective, so that none gets more than half of it by itself,
/// or than the factor where that is more.
fn alone(tail: TailFactor) -> Option<f64> {
    (tail.get() < 1.0).then(|| tail.get().max(0.5))
}

/// The sizes that may be asked for. Pods that somebody else resized keep their size: no more is promised of them than the
/// profiled size below it can do.
fn allowed(known: &Known, member: &Member<'_>) -> Curve {
    if let Some(pinned) = member.pinned {
        let sizes = known.curve.sizes().iter().map(|table| table.size);
        let below = sizes.filter(|size| *size <= pinned).max();
        let size = below.unwrap_or(pinned);
        return known.curve.within((size, size));
    }
    let sizes = member.bounds.sizes;
    sizes.map_or_else(|| known.curve.clone(), |sizes| known.curve.within(sizes))
}

fn service(member: &Member<'_>, percentile: Percentile) -> Option<Service> {
    let latency = match (member.profile, member.observed) {
        (Some(known), _) => Latency::Profiled {
            curve: allowed(known, member).slower(member.work_ratio.max(1.0)),
            percentile: known.percentile,
        },
        (None, observed) => {
            let longer = member
                .earlier
                .filter(|earlier| observed.is_none_or(|observed| *earlier > observed));
            let budget = longer.or(observed)?;
            Latency::Fixed { budget, percentile }
        }
    };
    let (min_replicas, max_replicas) = member.bounds.replicas;
    let ratio = member.workload.serving.as_ref().map_or(1.0, |(_, cpu)| {
        cpu.limit.map_or(1.0, |limit| {
            f64::from(cpu.request.0.max(1)) / f64::from(limit.0.max(1))
        })
    });
    Some(Service {
        latency,
        min_replicas,
        max_replicas,
        weight: Weight {
            ratio,
            sidecars: member.workload.sidecars.request,
        },
        floor: member.floor,
        elsewhere: member.elsewhere,
    })
}

/// What of a stored split an unprofiled revision of a workload keeps until it is profiled: what it takes is no aim. The
/// running revision's comes first. It is the same share of an objective that has changed since, and at most half, as of
/// a split.
pub fn earlier(stored: &[ChainSplit], workload: &str, objective: Millis) -> Option<Millis> {
    let (chain, found) = stored.iter().find_map(|chain| {
        let mut own = chain.services.iter().filter(|of| of.workload == workload);
        Some((chain, own.find(|budget| aims(budget))?))
    })?;
    let then = chain.objective_ms.filter(|ms| *ms > 0.0);
    let changed = then.map_or(1.0, |then| objective.get() / then);
    Millis::new((found.budget_ms * changed).min(objective.get() / 2.0)).ok()
}

/// Whether a stored budget says what a service is to keep, and not only what it takes.
pub fn aims(budget: &ServiceBudget) -> bool {
    budget.source != OBSERVED
}

/// Whether a stored budget comes with a size and replicas out of a profile.
pub fn sized(budget: &ServiceBudget) -> bool {
    aims(budget) && budget.source != EARLIER
}

/// Budgets as they are stored.
pub fn budgets(
    split: &Split,
    chain: &str,
    members: &BTreeMap<String, Member<'_>>,
) -> Vec<ServiceBudget> {
    let shares = split.chain(chain).map(|chain| &chain.shares);
    split
        .services
        .iter()
        .filter(|service| shares.is_some_and(|shares| shares.contains_key(&service.service)))
        .filter_map(|service| {
            let member = members.get(&service.service)?;
            let share = shares
                .and_then(|shares| shares.get(&service.service))
                .copied()
                .unwrap_or(0.0);
            let source = match (member.profile, service.pods) {
                (Some(known), Some(_)) => match known.source {
                    msars_api::crd::ProfileSource::Shadow => "profile",
                    msars_api::crd::ProfileSource::Passive => "passive",
                    msars_api::crd::ProfileSource::Prior => "prior",
                },
                _ if member.earlier.is_some() => EARLIER,
                _ => OBSERVED,
            };
            // The split counts what it takes, where that is more; it is to keep what it had.
            let kept = member.earlier.filter(|_| service.pods.is_none());
            let budget = kept.unwrap_or(service.budget);
            let current = member
                .workload
                .serving
                .as_ref()
                .map_or(0, |(_, cpu)| cpu.size().0);
            Some(ServiceBudget {
                workload: service.service.clone(),
                revision: member.revision.to_owned(),
                budget_ms: round(budget.get(), 2),
                share_percent: round(share * 100.0, 1),
                size_milli: service.pods.map_or(current, |pods| pods.size.0),
                replicas: service
                    .pods
                    .map_or(member.workload.replicas, |pods| pods.replicas),
                source: source.into(),
            })
        })
        .collect()
}

/// Rounds to so many decimals.
pub fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kept_budget_is_the_same_share_of_another_objective() {
        let service = json!({"workload": "carts", "revision": "v1", "budgetMs": 80.0, "sharePercent": 20.0,
            "sizeMilli": 200, "replicas": 2, "source": "earlier"});
        let made = |then: Option<f64>| {
            let chain = json!({"name": "all", "method": "dp", "reason": "", "tailFactor": 1.0, "objectiveMs": then,
                "feasible": true, "tookMs": 1.0, "at": "", "services": [service]});
            [serde_json::from_value::<ChainSplit>(chain).unwrap()]
        };
        // (bound it was made for, bound now; budget)
        for (then, now, wanted) in [
            (Some(400.0), 400.0, 80.0),
            (Some(400.0), 200.0, 40.0),
            (Some(200.0), 400.0, 160.0),
            (Some(100.0), 400.0, 200.0),
            // Stored by an older version.
            (None, 400.0, 80.0),
            (None, 100.0, 50.0),
        ] {
            let found = earlier(&made(then), "carts", Millis::new(now).unwrap());
            assert_eq!(found, Millis::new(wanted).ok(), "{then:?} to {now}");
        }
        assert_eq!(
            earlier(&made(None), "orders", Millis::new(400.0).unwrap()),
            None
        );
    }

    #[test]
    fn a_tail_factor_is_not_trusted_for_one_service_alone() {
        for (tail, wanted) in [
            (0.25, Some(0.5)),
            (0.7, Some(0.7)),
            (1.0, None),
            (2.0, None),
        ] {
            assert_eq!(alone(TailFactor::new(tail).unwrap()), wanted);
        }
    }
}
