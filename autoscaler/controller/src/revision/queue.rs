//! Which held revision is profiled next, and whether one that waits can still make it. Pure.

use jiff::{SignedDuration, Timestamp};
use msars_api::annotations::PROFILE_USUAL_S;
use msars_domain::ObjectKey;
use msars_gate::Phase;

/// How long a profile usually takes, from two pods to a split.
pub const USUAL: SignedDuration = SignedDuration::from_secs(PROFILE_USUAL_S as i64);

/// A held revision that waits for its profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The Deployment.
    pub workload: ObjectKey,
    /// The revision.
    pub revision: String,
    /// Start of its hold.
    pub since: Timestamp,
}

/// A profile under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// When it began.
    pub since: Timestamp,
    /// When it must end.
    pub until: Timestamp,
}

/// When each waiting revision could be finished at the earliest, first come first served over `slots` at once; those
/// that can begin now come first, with `begin` true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who.
    pub waiting: Waiting,
    /// Whether a slot is free now.
    pub begin: bool,
    /// The earliest end.
    pub finish: Timestamp,
}

impl Turn {
    /// How far it is while it is not begun: what others take from its time is told from what it never had.
    pub fn phase(&self) -> Phase {
        if self.begin {
            Phase::Next {
                finish: self.finish,
            }
        } else {
            Phase::Queued {
                finish: Some(self.finish),
            }
        }
    }
}

/// Plans the queue.
pub fn turns(
    mut waiting: Vec<Waiting>,
    running: &[Running],
    slots: usize,
    now: Timestamp,
) -> Vec<Turn> {
    waiting.sort_by(|a, b| (a.since, &a.workload).cmp(&(b.since, &b.workload)));
    // When each slot is free: at the usual end of what runs in it, or now.
    let mut free: Vec<Timestamp> = running
        .iter()
        .map(|job| (job.since + USUAL).max(now).min(job.until))
        .collect();
    let busy = free.len();
    while free.len() < slots {
        free.push(now);
    }
    let mut begun = busy;
    waiting
        .into_iter()
        .map(|waiting| {
            free.sort();
            let start = free.first().copied().unwrap_or(now);
            let begin = begun < slots;
            begun += 1;
            let finish = start.max(now) + USUAL;
            if let Some(slot) = free.first_mut() {
                *slot = finish;
            }
            Turn {
                waiting,
                begin,
                finish,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn waiting(name: &str, since: i64) -> Waiting {
        Waiting {
            workload: ObjectKey::new("shop", name),
            revision: name.into(),
            since: at(since),
        }
    }

    #[test]
    fn first_come_first_served_over_two_slots() {
        let all = ["f", "e", "d", "c", "b", "a"].map(|name| waiting(name, 0));
        let turns = turns(all.to_vec(), &[], 2, at(0));
        let seen: Vec<_> = turns
            .iter()
            .map(|turn| (turn.waiting.revision.as_str(), turn.begin, turn.finish))
            .collect();
        assert_eq!(
            seen,
            [
                ("a", true, at(45)),
                ("b", true, at(45)),
                ("c", false, at(90)),
                ("d", false, at(90)),
                ("e", false, at(135)),
                ("f", false, at(135)),
            ]
        );
    }

    #[test]
    fn time_that_others_take_is_told_from_time_that_is_not_there() {
        let all = ["c", "b", "a"].map(|name| waiting(name, 0));
        let phases: Vec<Phase> = turns(all.to_vec(), &[], 2, at(10))
            .iter()
            .map(Turn::phase)
            .collect();
        let next = Phase::Next { finish: at(55) };
        let queued = Phase::Queued {
            finish: Some(at(100)),
        };
        assert_eq!(phases, [next, next, queued]);
    }

    #[test]
    fn a_running_profile_keeps_its_slot_until_its_usual_end() {
        let job = Running {
            since: at(0),
            until: at(120),
        };
        let turns = turns(vec![waiting("a", 5), waiting("b", 6)], &[job], 2, at(10));
        assert_eq!((turns[0].begin, turns[0].finish), (true, at(55)));
        assert_eq!((turns[1].begin, turns[1].finish), (false, at(90)));
    }
}
