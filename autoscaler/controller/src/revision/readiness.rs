//! How far the preparation of a profiled revision's release is, and what is said of it. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use msars_api::conditions::ConditionType;
use msars_api::crd::ServiceLevelObjective;
use msars_gate::ReleaseReason;
use msars_plan::Fleet;

use super::Key;
use super::growth::Growth;
use crate::objective::{OUT_OF_REACH, SPLIT};

/// Whether an objective can be split as it is, or was not looked at yet. One that cannot, as for want of requests, keeps the
/// rows of its last split, and no later one will count with what is new.
fn splits(slo: &ServiceLevelObjective) -> bool {
    let conditions = slo.status.iter().flat_map(|status| &status.conditions);
    let mut said = conditions.filter(|condition| condition.type_ == ConditionType::Split.as_str());
    said.all(|condition| [SPLIT, OUT_OF_REACH].contains(&condition.reason.as_str()))
}

/// Whether the objectives' splits count with a revision; `None` when no chain visits its workload that can be split.
pub fn split_with(
    objectives: &[Arc<ServiceLevelObjective>],
    (key, revision): &Key,
) -> Option<bool> {
    objectives
        .iter()
        .filter(|slo| slo.metadata.namespace.as_deref() == Some(&key.namespace))
        .filter(|slo| splits(slo))
        .filter_map(|slo| {
            let chains = slo.status.iter().flat_map(|status| &status.chains);
            let services = chains.flat_map(|chain| &chain.services);
            let rows = services.filter(|service| service.workload == key.name);
            rows.map(|service| service.revision == *revision)
                .reduce(|a, b| a || b)
        })
        .reduce(|a, b| a && b)
}

/// What is to happen between a profile and the release.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Preparation {
    /// No split counts with the revision yet.
    #[default]
    Unsplit,
    /// No chain of an objective visits the workload: nothing follows from the profile.
    Nothing,
    /// The services around it, by name.
    Services(BTreeMap<String, Growth>),
}

impl Preparation {
    fn services(&self) -> impl Iterator<Item = (&String, &Growth)> {
        let services = match self {
            Self::Services(services) => Some(services),
            Self::Unsplit | Self::Nothing => None,
        };
        services.into_iter().flatten()
    }

    /// Whether nothing is left that waiting could bring.
    pub fn done(&self) -> bool {
        let settled = |growth: &Growth| matches!(growth, Growth::Enough | Growth::Stuck(_));
        *self != Self::Unsplit && self.services().all(|(_, growth)| settled(growth))
    }

    /// Whether a tick would bring it forward.
    pub fn undecided(&self) -> bool {
        self.services()
            .any(|(_, growth)| *growth == Growth::Undecided)
    }

    /// What grows, and to what.
    pub fn growing(&self) -> impl Iterator<Item = (String, Fleet)> {
        self.services().filter_map(|(name, growth)| match growth {
            Growth::Growing { wanted, .. } => Some((name.clone(), *wanted)),
            _ => None,
        })
    }

    /// What a release says of it, after its reason; `grew` is what grew since the split.
    pub fn told(&self, why: &ReleaseReason, grew: &BTreeMap<String, Fleet>) -> String {
        match why {
            ReleaseReason::Profiled => self.told_done(grew),
            ReleaseReason::Deadline => self.told_open(),
            _ => String::new(),
        }
    }

    fn told_done(&self, grew: &BTreeMap<String, Fleet>) -> String {
        let mut stuck: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, growth) in self.services() {
            if let Growth::Stuck(obstacle) = growth {
                stuck.entry(obstacle.to_string()).or_default().push(name);
            }
        }
        let mut text = String::new();
        let stopped = |name: &str| stuck.values().flatten().any(|stuck| *stuck == name);
        let grew = grew.iter().filter(|(name, _)| !stopped(name));
        let grew = listed(grew.map(|(name, fleet)| format!("{name} to {fleet}")));
        if !grew.is_empty() {
            let _ = write!(text, ", after growth of {grew}");
        } else if stuck.is_empty() && self.services().next().is_some() {
            text.push_str(", and the services around it have room");
        }
        if !stuck.is_empty() {
            let stuck = stuck
                .iter()
                .map(|(why, names)| format!("{} ({why})", names.join(" and ")));
            let _ = write!(text, "; not waited for: {}", listed(stuck));
        }
        text
    }

    fn told_open(&self) -> String {
        if *self == Self::Unsplit {
            return " while no split counted with it yet".into();
        }
        let open = self.services().filter_map(|(name, growth)| match growth {
            Growth::Growing { ready, wanted } => Some(format!(
                "{name} ({ready} of {} pods Ready at {})",
                wanted.replicas, wanted.size
            )),
            Growth::Undecided => Some(format!("a decision about {name}")),
            Growth::Enough | Growth::Stuck(_) => None,
        });
        let open = listed(open);
        if open.is_empty() {
            return String::new();
        }
        format!(" while it waited for {open}")
    }
}

fn listed(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use msars_domain::{MilliCpu, ObjectKey};
    use msars_plan::Reason;
    use serde_json::json;

    use super::super::growth::Obstacle;
    use super::*;

    fn wanted() -> Fleet {
        Fleet {
            replicas: 3,
            size: MilliCpu(300),
        }
    }

    fn growing(ready: u32) -> Growth {
        Growth::Growing {
            ready,
            wanted: wanted(),
        }
    }

    fn services(all: &[(&str, Growth)]) -> Preparation {
        let all = all
            .iter()
            .map(|(name, growth)| ((*name).to_owned(), growth.clone()));
        Preparation::Services(all.collect())
    }

    #[test]
    fn the_release_says_what_was_waited_for_and_what_was_not() {
        let paused = || Growth::Stuck(Obstacle::Decision(Reason::Paused));
        let grew = || BTreeMap::from([("carts".to_owned(), wanted())]);
        let none = BTreeMap::new;
        let (profiled, deadline) = (ReleaseReason::Profiled, ReleaseReason::Deadline);
        let table = [
            (
                Preparation::Unsplit,
                false,
                none(),
                &deadline,
                " while no split counted with it yet",
            ),
            (Preparation::Nothing, true, none(), &profiled, ""),
            (services(&[]), true, none(), &profiled, ""),
            (
                services(&[("carts", Growth::Enough)]),
                true,
                none(),
                &profiled,
                ", and the services around it have room",
            ),
            (
                services(&[("carts", Growth::Enough)]),
                true,
                grew(),
                &profiled,
                ", after growth of carts to 3 × 300m",
            ),
            (
                services(&[
                    ("carts", Growth::Enough),
                    ("orders", paused()),
                    ("user", paused()),
                ]),
                true,
                grew(),
                &profiled,
                ", after growth of carts to 3 × 300m; not waited for: orders and user (msars.io/pause is set)",
            ),
            (
                services(&[("carts", paused())]),
                true,
                grew(),
                &profiled,
                "; not waited for: carts (msars.io/pause is set)",
            ),
            (
                services(&[("carts", Growth::Enough), ("orders", paused())]),
                true,
                none(),
                &profiled,
                "; not waited for: orders (msars.io/pause is set)",
            ),
            (
                services(&[("carts", growing(1)), ("orders", Growth::Undecided)]),
                false,
                grew(),
                &deadline,
                " while it waited for carts (1 of 3 pods Ready at 300m), a decision about orders",
            ),
            (
                services(&[("carts", growing(1))]),
                false,
                grew(),
                &ReleaseReason::SkipGate,
                "",
            ),
        ];
        for (preparation, done, grew, why, wanted) in table {
            assert_eq!(preparation.done(), done, "{preparation:?}");
            assert_eq!(preparation.told(why, &grew), wanted, "{preparation:?}");
        }
        assert!(services(&[("orders", Growth::Undecided)]).undecided());
        assert!(!services(&[("orders", growing(1))]).undecided());
    }

    #[test]
    fn a_split_counts_with_a_revision_when_every_objective_that_visits_it_says_so() {
        let objective = |namespace: &str, rows: &[(&str, &str)]| {
            let services: Vec<_> = rows
                .iter()
                .map(|(workload, revision)| {
                    json!({"workload": workload, "revision": revision, "budgetMs": 1.0, "sharePercent": 1.0,
                        "sizeMilli": 100, "replicas": 1, "source": "profile"})
                })
                .collect();
            let slo: ServiceLevelObjective = serde_json::from_value(json!({
                "apiVersion": "msars.io/v1alpha1", "kind": "ServiceLevelObjective",
                "metadata": {"namespace": namespace, "name": "front-end"},
                "spec": {"application": "shop", "entry": "front-end", "percentile": 99.0, "latencyMs": 400.0},
                "status": {"chains": [{"name": "all", "method": "program", "reason": "", "tailFactor": 1.0,
                    "feasible": true, "tookMs": 1.0, "at": "", "services": services}]},
            }))
            .unwrap();
            Arc::new(slo)
        };
        let said = |reason: &str, slo: Arc<ServiceLevelObjective>| {
            let mut slo = (*slo).clone();
            let condition = json!({"type": "Split", "status": "False", "reason": reason, "message": "",
                "lastTransitionTime": "2026-03-01T12:00:00Z"});
            slo.status.as_mut().unwrap().conditions =
                vec![serde_json::from_value(condition).unwrap()];
            Arc::new(slo)
        };
        let (old, new, other) = (("carts", "r1"), ("carts", "r2"), ("orders", "r2"));
        let key = (ObjectKey::new("shop", "carts"), "r2".to_owned());
        for (objectives, wanted) in [
            (vec![], None),
            (vec![objective("shop", &[other])], None),
            (vec![objective("shop", &[old, other])], Some(false)),
            (vec![objective("shop", &[old, new])], Some(true)),
            (
                vec![objective("shop", &[old, new]), objective("shop", &[old])],
                Some(false),
            ),
            (
                vec![objective("shop", &[new]), objective("shop", &[other])],
                Some(true),
            ),
            (vec![objective("else", &[new])], None),
            // One that nothing enters, or of which something is not known, is not split until that changes.
            (
                vec![
                    objective("shop", &[new]),
                    said("NoChain", objective("shop", &[old])),
                ],
                Some(true),
            ),
            (vec![said("NoProfile", objective("shop", &[old]))], None),
            (
                vec![said("OutOfReach", objective("shop", &[old]))],
                Some(false),
            ),
        ] {
            assert_eq!(split_with(&objectives, &key), wanted, "{objectives:?}");
        }
    }
}
