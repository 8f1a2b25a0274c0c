//! The status of an objective: one writer.

use std::collections::BTreeMap;

use jiff::Timestamp;
use msars_api::conditions::ConditionType;
use msars_api::crd::{ChainSplit, Observed, ServiceBudget, ServiceLevelObjective};
use msars_budget::Split;
use msars_domain::Percentile;

use super::application::Application;
use super::assemble::{Class, Member, budgets, round};
use crate::autoscalers;
use crate::own::{Own, set_condition};

/// A measured window that says nothing new is written at most so often.
const OBSERVED_EVERY_S: f64 = 300.0;

/// Whether a measured window says something that the stored one does not: the objective is now kept or broken, its
/// budget burns fast or no longer, or the stored one is old.
fn news(
    stored: Option<&Observed>,
    entry: &Observed,
    percentile: Percentile,
    now: Timestamp,
) -> bool {
    let Some(stored) = stored else {
        return true;
    };
    let old = stored
        .at
        .parse::<Timestamp>()
        .map_or(f64::INFINITY, |at| now.duration_since(at).as_secs_f64());
    let meaning = |observed: &Observed| {
        let attainment = observed.attainment?;
        let broken = percentile.burn_rate(attainment) > 1.0;
        Some((broken, percentile.burns_fast(attainment)))
    };
    old >= OBSERVED_EVERY_S || meaning(stored) != meaning(entry)
}

/// Everything that a status says after a split.
#[derive(Debug)]
pub struct Written<'a> {
    /// The objective.
    pub application: &'a Application,
    /// Its classes.
    pub classes: &'a [Class],
    /// For what runs.
    pub split: &'a Split,
    /// For what will run, when a profiled revision waits.
    pub next: Option<&'a Split>,
    /// What runs.
    pub current: &'a BTreeMap<String, Member<'a>>,
    /// What will run.
    pub ahead: &'a BTreeMap<String, Member<'a>>,
    /// The last measured window.
    pub entry: Option<&'a Observed>,
    /// Milliseconds that computing took.
    pub took_ms: f64,
    /// When.
    pub now: Timestamp,
}

/// Writes a split; false when it was not written.
pub async fn split(own: &Own, written: &Written<'_>) -> bool {
    let chains: Vec<ChainSplit> = written
        .classes
        .iter()
        .filter_map(|class| chain(written, class))
        .collect();
    if !tell(own, written, &chains).await {
        return false;
    }
    let decisive = written.next.unwrap_or(written.split);
    let application = written.application;
    let outcome = own
        .status::<ServiceLevelObjective>(&application.key, |slo| {
            let generation = slo.metadata.generation;
            let status = slo.status.get_or_insert_default();
            status.observed_generation = generation;
            status.chains.clone_from(&chains);
            if let Some(entry) = written.entry {
                status.observed = Some(entry.clone());
            }
            let reason = if decisive.feasible {
                "Split"
            } else {
                "OutOfReach"
            };
            for type_ in [ConditionType::Split, ConditionType::Ready] {
                set_condition(
                    &mut status.conditions,
                    type_,
                    decisive.feasible,
                    reason,
                    &decisive.reason,
                    generation,
                    written.now,
                );
            }
        })
        .await;
    match outcome {
        Ok(()) => {
            tracing::info!(
                application = application.name, feasible = decisive.feasible, method = %decisive.method,
                cost = decisive.cost.0, took_ms = written.took_ms, reason = decisive.reason, "split"
            );
            true
        }
        Err(error) => {
            tracing::warn!(%error, category = error.category(), "a split was not written");
            false
        }
    }
}

/// Tells every acting workload's autoscaler what is wanted, before anything is released: new pods are born with it.
async fn tell(own: &Own, written: &Written<'_>, chains: &[ChainSplit]) -> bool {
    let mut all = true;
    for member in written.ahead.values() {
        let budgets: Vec<&ServiceBudget> = chains
            .iter()
            .flat_map(|chain| &chain.services)
            .filter(|budget| {
                budget.workload == member.workload.key.name && budget.source != "observed"
            })
            .collect();
        if !budgets.is_empty() {
            all &= autoscalers::want(own, member.workload, &budgets).await;
        }
    }
    all
}

fn chain(written: &Written<'_>, class: &Class) -> Option<ChainSplit> {
    let name = &class.chain.name;
    let mut services = budgets(written.split, name, written.current);
    if let Some(next) = written.next {
        join(&mut services, budgets(next, name, written.ahead));
    }
    let decisive = written.next.unwrap_or(written.split);
    let part = decisive.chain(name)?;
    Some(ChainSplit {
        name: name.clone(),
        method: decisive.method.to_string(),
        reason: decisive.reason.clone(),
        tail_factor: round(part.tail.get(), 3),
        model_bound: Some(round(part.bound.miss, 5)),
        feasible: part.feasible,
        took_ms: round(written.took_ms, 1),
        at: written.now.to_string(),
        services,
    })
}

/// Until the rollout completes, the tighter of both budgets and the larger of both floors hold.
fn join(current: &mut Vec<ServiceBudget>, next: Vec<ServiceBudget>) {
    for coming in next {
        let same = current.iter_mut().find(|budget| {
            budget.workload == coming.workload && budget.revision == coming.revision
        });
        match same {
            Some(budget) => {
                budget.size_milli = budget.size_milli.max(coming.size_milli);
                budget.replicas = budget.replicas.max(coming.replicas);
                if coming.budget_ms < budget.budget_ms {
                    budget.budget_ms = coming.budget_ms;
                    budget.share_percent = coming.share_percent;
                }
            }
            None => current.push(coming),
        }
    }
}

/// Says why there is no split; written only when it says something new.
pub async fn not_split(
    own: &Own,
    application: &Application,
    reason: &str,
    message: &str,
    entry: Option<&Observed>,
    now: Timestamp,
) {
    let outcome = own
        .status::<ServiceLevelObjective>(&application.key, |slo| {
            let generation = slo.metadata.generation;
            let status = slo.status.get_or_insert_default();
            status.observed_generation = generation;
            if let Some(entry) = entry
                .filter(|entry| news(status.observed.as_ref(), entry, application.percentile, now))
            {
                status.observed = Some(entry.clone());
            }
            for type_ in [ConditionType::Split, ConditionType::Ready] {
                set_condition(
                    &mut status.conditions,
                    type_,
                    false,
                    reason,
                    message,
                    generation,
                    now,
                );
            }
        })
        .await;
    if let Err(error) = outcome {
        tracing::warn!(%error, category = error.category(), "an objective's status was not written");
    }
}

/// Writes the last measured window.
pub async fn observed(
    own: &Own,
    application: &Application,
    entry: Option<&Observed>,
    now: Timestamp,
) {
    let Some(entry) = entry else { return };
    if !news(
        application.stored.as_ref(),
        entry,
        application.percentile,
        now,
    ) {
        return;
    }
    let outcome = own
        .status::<ServiceLevelObjective>(&application.key, |slo| {
            slo.status.get_or_insert_default().observed = Some(entry.clone());
        })
        .await;
    if let Err(error) = outcome {
        tracing::warn!(%error, category = error.category(), "an objective's status was not written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(workload: &str, revision: &str, ms: f64, size: u32) -> ServiceBudget {
        ServiceBudget {
            workload: workload.into(),
            revision: revision.into(),
            budget_ms: ms,
            share_percent: ms,
            size_milli: size,
            replicas: 1,
            source: "profile".into(),
        }
    }

    #[test]
    fn a_window_is_news_when_it_means_something_else_or_the_stored_one_is_old() {
        let p99 = Percentile::new(0.99).unwrap();
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let seen = |attainment, seconds| Observed {
            quantile_ms: None,
            attainment: Some(attainment),
            requests: 100.0,
            error_budget_left: None,
            at: at(seconds).to_string(),
        };
        let stored = seen(0.995, 0);
        for (entry, now, wanted) in [
            (seen(0.996, 60), 60, false),
            (seen(0.98, 60), 60, true),
            (seen(0.80, 60), 60, true),
            (seen(0.996, 301), 301, true),
        ] {
            assert_eq!(
                news(Some(&stored), &entry, p99, at(now)),
                wanted,
                "{entry:?}"
            );
        }
        assert!(news(None, &stored, p99, at(0)));
    }

    #[test]
    fn while_a_revision_waits_the_tighter_budget_and_the_larger_floor_hold() {
        let mut current = vec![
            budget("catalogue", "old", 40.0, 200),
            budget("carts", "c", 30.0, 200),
        ];
        let next = vec![
            budget("catalogue", "new", 80.0, 400),
            budget("carts", "c", 20.0, 100),
        ];
        join(&mut current, next);
        assert_eq!(current.len(), 3);
        assert_eq!(current[0], budget("catalogue", "old", 40.0, 200));
        assert!((current[1].budget_ms - 20.0).abs() < 1e-9);
        assert_eq!(current[1].size_milli, 200);
        assert_eq!(current[2].revision, "new");
    }
}
