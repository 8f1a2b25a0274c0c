//! When a split is due, what it rests on, and the solving itself. Pure but for the thread that solves.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use msars_budget::{Allocator as _, Floor, Reference, Split};
use msars_domain::{MilliCpu, ObjectKey};

use super::Memory;
use super::application::Application;
use super::assemble::{self, Class, Member, Missing};
use crate::profiles::Known;
use crate::world::Workload;

/// A split is made anew when the entry's rate or the tail factor moved by this share.
const MOVED: f64 = 0.25;
/// But not more often than this, unless a revision or a profile changed.
const DWELL_S: f64 = 30.0;

/// What a split rests on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Basis {
    /// Revision and version of the profile, by service.
    pub versions: Vec<String>,
    /// Requests per second that enter.
    pub rate: f64,
    /// Tail factor.
    pub tail: f64,
    /// When.
    pub at: Timestamp,
}

impl Basis {
    /// Of a split for these members, made now.
    pub(super) fn of(
        members: &BTreeMap<String, Member<'_>>,
        classes: &[Class],
        now: Timestamp,
    ) -> Self {
        let version = |(name, member): (&String, &Member<'_>)| {
            let version = member.profile.map_or("-", |known| known.version.as_str());
            format!("{name}@{}@{version}", member.revision)
        };
        Self {
            versions: members.iter().map(version).collect(),
            rate: classes.iter().map(|class| class.rate.get()).sum(),
            tail: classes
                .iter()
                .map(|class| class.tail.get())
                .fold(0.0, f64::max),
            at: now,
        }
    }
}

/// Whether a split is to be made.
pub(super) fn due(last: Option<&Basis>, next: &Basis) -> bool {
    let Some(last) = last else {
        return true;
    };
    let far = |now: f64, then: f64| (now - then).abs() > MOVED * then.max(0.1);
    let moved = far(next.rate, last.rate) || far(next.tail, last.tail);
    last.versions != next.versions
        || (moved && next.at.duration_since(last.at).as_secs_f64() >= DWELL_S)
}

/// The members of an application with the revision that a split is for: the running one, or (`ahead`) the one that
/// waits, when it is profiled.
pub(super) fn members<'a>(
    application: &Application,
    workloads: &'a BTreeMap<ObjectKey, Workload>,
    known: &'a BTreeMap<(ObjectKey, String), Known>,
    memory: &Memory,
    ahead: bool,
) -> BTreeMap<String, Member<'a>> {
    application
        .members
        .iter()
        .filter_map(|key| {
            let workload = workloads.get(key)?;
            let profile = |revision: &str| known.get(&(key.clone(), revision.to_owned()));
            let waiting = workload.held().then_some(workload.revision.as_str());
            let revision = match waiting {
                Some(waiting) if ahead && profile(waiting).is_some() => waiting,
                _ => workload.running(),
            };
            let member = Member {
                workload,
                revision,
                profile: profile(revision),
                observed: memory.observed.get(&key.name).copied(),
                work_ratio: if revision == workload.running() {
                    memory.work_ratio.get(&key.name).copied().unwrap_or(1.0)
                } else {
                    1.0
                },
                floor: None,
            };
            Some((key.name.clone(), member))
        })
        .collect()
}

/// Splits for what runs and, when a profiled revision waits, for what will run: then nothing else may shrink below
/// what the first split gave it.
pub(super) async fn compute(
    application: &Application,
    classes: &[Class],
    current: &BTreeMap<String, Member<'_>>,
    ahead: &BTreeMap<String, Member<'_>>,
    waiting: bool,
) -> Result<(Split, Option<Split>), String> {
    let name = application.name.clone();
    let wrong = |Missing(services): Missing| format!("nothing is known of {}", services.join(", "));
    let first = assemble::request(&name, classes, current).map_err(wrong)?;
    let second = if waiting {
        Some(assemble::request(&name, classes, ahead).map_err(wrong)?)
    } else {
        None
    };
    let changed: BTreeSet<String> = ahead
        .iter()
        .filter(|(name, member)| {
            current
                .get(*name)
                .is_none_or(|other| other.revision != member.revision)
        })
        .map(|(name, _)| name.clone())
        .collect();
    let solved = tokio::task::spawn_blocking(move || {
        let mut reference = Reference::default();
        let mut solve = |request| {
            reference
                .allocate(&[request])
                .pop()
                .ok_or("no answer".to_owned())?
                .map_err(|error| error.to_string())
        };
        let split: Split = solve(first)?;
        let next = match second {
            None => None,
            Some(mut request) => {
                for (name, service) in &mut request.services {
                    let pods = split.service(name).and_then(|service| service.pods);
                    if let Some(pods) = pods.filter(|_| !changed.contains(name)) {
                        service.floor = Some(Floor {
                            size: MilliCpu(pods.size.0),
                            replicas: pods.replicas,
                        });
                    }
                }
                Some(solve(request)?)
            }
        };
        Ok::<_, String>((split, next))
    });
    solved.await.map_err(|error| error.to_string())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_due_for_a_new_revision_at_once_and_for_a_new_rate_after_a_while() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let basis = |version: &str, rate, second| Basis {
            versions: vec![version.into()],
            rate,
            tail: 1.0,
            at: at(second),
        };
        let last = basis("a", 40.0, 0);
        for (next, wanted) in [
            (basis("a", 40.0, 100), false),
            (basis("b", 40.0, 1), true),
            (basis("a", 60.0, 10), false),
            (basis("a", 60.0, 31), true),
            (basis("a", 45.0, 31), false),
        ] {
            assert_eq!(due(Some(&last), &next), wanted, "{next:?}");
        }
        assert!(due(None, &last));
    }
}
