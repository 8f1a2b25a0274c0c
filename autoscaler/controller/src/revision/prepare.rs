//! Between a profile and the release: the objectives' split, the tick's decisions within it, and what grows by them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use msars_domain::ObjectKey;
use msars_gate::ReleaseReason;
use msars_plan::Fleet;
use serde_json::Value;

use super::growth::{Plan, Planned, Service, growth};
use super::readiness::{Preparation, split_with};
use super::{Key, Revisions};
use crate::autoscalers::KNOWN;
use crate::pods;
use crate::workload::gather;
use crate::world::Workload;

/// Decisions older than this, in seconds, say nothing about now: ticks have stopped.
const OLD_S: f64 = 60.0;

/// How far the preparation of a profiled revision's release is.
#[derive(Debug, Default)]
pub(super) struct Preparing {
    last: Preparation,
    /// What grew since the split, and to what.
    grew: BTreeMap<String, Fleet>,
    /// A tick was asked for, and has not come.
    asked: bool,
    /// Since when nothing else is to be waited for.
    since: Option<Timestamp>,
}

impl Preparing {
    /// Whether it was done long enough, too, for who sizes new pods to know.
    fn known(&mut self, done: bool, now: Timestamp) -> bool {
        self.since = if done { self.since.or(Some(now)) } else { None };
        let known =
            |since: Timestamp| now.duration_since(since).as_secs_f64() >= KNOWN.as_secs_f64();
        self.last == Preparation::Nothing || self.since.is_some_and(known)
    }
}

impl Revisions {
    /// Whether nothing is left to wait for; asks for a tick where decisions within the split are missing.
    pub(super) fn prepared(
        &mut self,
        workload: &Workload,
        key: &Key,
        workloads: &BTreeMap<ObjectKey, Workload>,
        now: Timestamp,
    ) -> bool {
        let last = self.preparation(workload, key, workloads, now);
        let preparing = self.preparing.entry(key.clone()).or_default();
        let undecided = last.undecided();
        if undecided && !preparing.asked {
            self.board.asked.notify_one();
        }
        preparing.asked = undecided;
        preparing.grew.extend(last.growing());
        let done = last.done();
        preparing.last = last;
        preparing.known(done, now) && done
    }

    /// What a release says of the preparation, after its reason.
    pub(super) fn prepared_for(&self, key: &Key, why: &ReleaseReason) -> String {
        let told = |it: &Preparing| it.last.told(why, &it.grew);
        self.preparing.get(key).map(told).unwrap_or_default()
    }

    fn preparation(
        &self,
        held: &Workload,
        key: &Key,
        workloads: &BTreeMap<ObjectKey, Workload>,
        now: Timestamp,
    ) -> Preparation {
        let objectives = self.world.objectives();
        match split_with(&objectives, key) {
            None => return Preparation::Nothing,
            Some(false) => return Preparation::Unsplit,
            Some(true) => {}
        }
        let budgets = gather::budgets(&objectives);
        let decided = self.board.decided().filter(|decided| {
            let age = now.duration_since(decided.tick.now).as_secs_f64();
            age <= OLD_S
        });
        let serving = pods::serving(&self.world.pods());
        let around = workloads
            .values()
            .filter(|other| other.key != held.key && other.member_of() == held.member_of());
        let services = around.map(|other| {
            let running = other.running();
            let made = decided.as_ref().map(|decided| decided.of(&other.key));
            let found = serving.get(&other.key).map_or(&[][..], Vec::as_slice);
            let (plan, pods) = match made {
                None => (Plan::Due, Vec::new()),
                Some(None) => (Plan::Left, Vec::new()),
                Some(Some((seen, decision))) => {
                    let mut revisions = seen.revisions.iter();
                    let revision = revisions.find(|revision| revision.hash == running);
                    let planned = Planned {
                        budget: revision.and_then(|revision| revision.budget),
                        acts: seen.wishes.acts,
                        tolerance: seen.behavior.scale_up.tolerance,
                        decision,
                    };
                    let pods = gather::pods(other, found, &seen.container);
                    (Plan::Made(planned), pods)
                }
            };
            let budget = budgets.get(&(other.key.clone(), running.to_owned()));
            let service = Service {
                budget: budget.map(|budget| budget.ms),
                plan,
                pods: &pods,
                refused: refused(&other.object),
            };
            (other.key.name.clone(), growth(&service, now))
        });
        Preparation::Services(services.collect())
    }
}

/// Why the API server refuses pods of a Deployment, such as for a quota.
fn refused(deployment: &Value) -> Option<&str> {
    let conditions = deployment.pointer("/status/conditions")?.as_array()?;
    let mut failures = conditions
        .iter()
        .filter(|found| found["type"] == "ReplicaFailure" && found["status"] == "True");
    failures.next()?.get("message")?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_release_waits_until_the_webhook_knows_the_new_sizes() {
        let at = |ms: i64| Timestamp::from_millisecond(1_769_000_000_000 + ms).unwrap();
        let mut preparing = Preparing {
            last: Preparation::Services(BTreeMap::new()),
            ..Preparing::default()
        };
        for (ms, done, known) in [
            (0, true, false),
            (400, true, false),
            // Something grows again.
            (500, false, false),
            (600, true, false),
            (1100, true, true),
        ] {
            assert_eq!(preparing.known(done, at(ms)), known, "{ms}");
        }
        // Nothing follows from the profile: nobody has to know.
        let mut nothing = Preparing {
            last: Preparation::Nothing,
            ..Preparing::default()
        };
        assert!(nothing.known(true, at(0)));
    }

    #[test]
    fn pods_that_are_refused_are_told_by_the_deployments_condition() {
        let condition = |type_: &str, status: &str| {
            json!({"status": {"conditions": [
                {"type": "Available", "status": "True", "message": "fine"},
                {"type": type_, "status": status, "message": "exceeded quota: pods"},
            ]}})
        };
        for (deployment, wanted) in [
            (json!({}), None),
            (condition("Progressing", "True"), None),
            (condition("ReplicaFailure", "False"), None),
            (
                condition("ReplicaFailure", "True"),
                Some("exceeded quota: pods"),
            ),
        ] {
            assert_eq!(refused(&deployment), wanted);
        }
    }
}
