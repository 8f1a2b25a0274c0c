//! The status of an objective: one writer.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use msars_api::conditions::ConditionType;
use msars_api::crd::{
    ChainSplit, ServiceBudget, ServiceLevelObjective, ServiceLevelObjectiveStatus,
};
use msars_budget::Split;

use super::application::Application;
use super::assemble::{Class, budgets, round, sized};
use super::classes::{INVALID_CHAIN, Trouble};
use super::measured::Seen;
use super::memory::Standing;
use super::{Members, OUT_OF_REACH, SPLIT};
use crate::autoscalers;
use crate::own::{Own, set_condition};

/// Type, status, reason, message.
type Row<'a> = (ConditionType, bool, &'static str, &'a str);

/// What stands of a split. A chain that was declared wrongly since changes no budget, and is told.
fn rows<'a>(feasible: bool, reason: &'a str, invalid: Option<&'a str>) -> [Row<'a>; 2] {
    let word = if feasible { SPLIT } else { OUT_OF_REACH };
    let ready = match invalid {
        Some(why) => (ConditionType::Ready, false, INVALID_CHAIN, why),
        None => (ConditionType::Ready, feasible, word, reason),
    };
    [(ConditionType::Split, feasible, word, reason), ready]
}

/// Why what is declared now is not what the split rests on.
pub fn invalid(trouble: Option<&Trouble>, application: &Application) -> Option<String> {
    let declared = trouble.filter(|trouble| matches!(trouble, Trouble::Chain(_)));
    declared.map(|trouble| trouble.message(application))
}

/// Whether stored conditions say something else.
fn differs(stored: &[Condition], rows: &[Row<'_>]) -> bool {
    !rows.iter().all(|(type_, status, reason, message)| {
        stored.iter().any(|condition| {
            condition.type_ == type_.as_str()
                && (condition.status == "True") == *status
                && condition.reason == *reason
                && condition.message == *message
        })
    })
}

fn say(
    status: &mut ServiceLevelObjectiveStatus,
    rows: &[Row<'_>],
    generation: Option<i64>,
    now: Timestamp,
) {
    status.observed_generation = generation;
    for (type_, value, reason, message) in rows {
        set_condition(
            &mut status.conditions,
            *type_,
            *value,
            reason,
            message,
            generation,
            now,
        );
    }
}

/// Everything that a status says after a split.
#[derive(Debug)]
pub struct Written<'a> {
    /// The objective, and what was measured of it.
    pub seen: &'a Seen<'a>,
    /// Its classes.
    pub classes: &'a [Class],
    /// For what runs.
    pub split: &'a Split,
    /// For what will run, when a profiled revision waits.
    pub next: Option<&'a Split>,
    /// What runs.
    pub current: &'a Members<'a>,
    /// What will run.
    pub ahead: &'a Members<'a>,
    /// Why the classes are not those that are declared now.
    pub invalid: Option<&'a str>,
    /// Milliseconds that computing took.
    pub took_ms: f64,
}

/// Writes a split: what is stored from then on, or none when it was not written.
pub async fn split(own: &Own, written: &Written<'_>) -> Option<Vec<ChainSplit>> {
    let chains: Vec<ChainSplit> = written
        .classes
        .iter()
        .filter_map(|class| chain(written, class))
        .collect();
    if !tell(own, written, &chains).await {
        return None;
    }
    let decisive = written.next.unwrap_or(written.split);
    let seen = written.seen;
    let rows = rows(decisive.feasible, &decisive.reason, written.invalid);
    let outcome = own
        .status::<ServiceLevelObjective>(&seen.application.key, |slo| {
            let generation = slo.metadata.generation;
            let status = slo.status.get_or_insert_default();
            status.chains.clone_from(&chains);
            seen.write(status);
            say(status, &rows, generation, seen.now);
        })
        .await;
    match outcome {
        Ok(()) => {
            tracing::info!(
                application = seen.application.name, feasible = decisive.feasible, method = %decisive.method,
                cost = decisive.cost.0, took_ms = written.took_ms, reason = decisive.reason, "split"
            );
            Some(chains)
        }
        Err(error) => {
            tracing::warn!(%error, category = error.category(), "a split was not written");
            None
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
            .filter(|budget| budget.workload == member.workload.key.name && sized(budget))
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
        objective_ms: Some(class.objective.get()),
        feasible: part.feasible,
        took_ms: round(written.took_ms, 1),
        at: written.seen.now.to_string(),
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
pub async fn not_split(own: &Own, seen: &Seen<'_>, reason: &'static str, message: &str) {
    let rows =
        [ConditionType::Split, ConditionType::Ready].map(|type_| (type_, false, reason, message));
    write(own, seen, &rows).await;
}

/// Says what was measured since, and what stands of the split.
pub async fn standing(
    own: &Own,
    seen: &Seen<'_>,
    standing: Option<&Standing>,
    invalid: Option<&str>,
) {
    if let Some(standing) = standing {
        let rows = rows(standing.feasible, &standing.reason, invalid);
        write(own, seen, &rows).await;
    }
}

/// Writes what a status does not say yet; nothing when it says all of it.
async fn write(own: &Own, seen: &Seen<'_>, rows: &[Row<'_>]) {
    let stored = &seen.application.stored;
    let says = |status: &ServiceLevelObjectiveStatus| {
        status.observed_generation == stored.metadata.generation
            && !differs(&status.conditions, rows)
            && !seen.news(status)
    };
    if stored.status.as_ref().is_some_and(says) {
        return;
    }
    let outcome = own
        .status::<ServiceLevelObjective>(&seen.application.key, |slo| {
            let generation = slo.metadata.generation;
            let status = slo.status.get_or_insert_default();
            if seen.news(status) {
                seen.write(status);
            }
            say(status, rows, generation, seen.now);
        })
        .await;
    if let Err(error) = outcome {
        tracing::warn!(%error, category = error.category(), "an objective's status was not written");
    }
}

#[cfg(test)]
mod tests {
    use super::super::declared::DeclaredError;
    use super::super::tests::application;
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
    fn a_chain_declared_wrongly_is_told_and_the_split_stands() {
        let said = |feasible, invalid| {
            let mut status = ServiceLevelObjectiveStatus::default();
            let rows = rows(feasible, "cheapest", invalid);
            assert!(differs(&status.conditions, &rows));
            say(&mut status, &rows, Some(1), Timestamp::UNIX_EPOCH);
            assert!(!differs(&status.conditions, &rows));
            status
                .conditions
                .iter()
                .map(|c| format!("{}={} {} {}", c.type_, c.status, c.reason, c.message))
                .collect::<Vec<_>>()
        };
        for (feasible, invalid, wanted) in [
            (
                true,
                None,
                ["Split=True Split cheapest", "Ready=True Split cheapest"],
            ),
            (
                false,
                None,
                [
                    "Split=False OutOfReach cheapest",
                    "Ready=False OutOfReach cheapest",
                ],
            ),
            (
                true,
                Some("chain browse calls in a circle"),
                [
                    "Split=True Split cheapest",
                    "Ready=False InvalidChain chain browse calls in a circle",
                ],
            ),
        ] {
            assert_eq!(said(feasible, invalid), wanted);
        }
        let application = application("front-end", &["front-end"]);
        let gap = Trouble::Unseen("no requests".into());
        assert_eq!(invalid(Some(&gap), &application), None);
        let circle = Trouble::Chain(DeclaredError::Circle("browse".into()));
        assert!(invalid(Some(&circle), &application).is_some_and(|why| why.contains("browse")));
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
