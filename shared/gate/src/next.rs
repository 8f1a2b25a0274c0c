//! What is to be done with a stored Deployment: wait, release its hold, or remove what is left of one.

use jiff::{SignedDuration, Timestamp};
use msars_domain::Action;
use serde_json::Value;

use crate::facts::Facts;
use crate::hold::{HoldState, Stamps, release_patch, stale_patch};
use crate::judge::{asks_for_hold, not_asked};
use crate::reason::ReleaseReason;
use crate::snapshot::{Holds, lives};

/// A shadow pod that is not Ready after this time can't be profiled before the deadline.
pub const READY_LIMIT: SignedDuration = SignedDuration::from_secs(45);

/// This long after its deadline, a webhook replica ends a hold whoever leads: the leader may have lost the right to.
pub const OVERDUE: SignedDuration = SignedDuration::from_secs(15);

/// Why a profile can't be finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A callee passed four fifths of its budget, or its errors rose.
    Callee,
    /// The image can't be pulled.
    ImagePull,
    /// The copy was not Ready in time, or ended before.
    NotReady,
    /// The copy was preempted by a pod of higher priority, evicted, or deleted.
    Evicted,
    /// The copy fails, or what it does can't be measured.
    Errors,
}

/// How far the profile of the held revision is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Nothing is known yet, as after a change of leader.
    #[default]
    Unknown,
    /// Waits for its turn.
    Queued {
        /// When it could be finished at the earliest; `None` when that can't be told.
        finish: Option<Timestamp>,
    },
    /// It is its turn.
    Next {
        /// When it could be finished at the earliest.
        finish: Timestamp,
    },
    /// Its shadow pod was created and is not Ready.
    Starting {
        /// When the pod was created.
        since: Timestamp,
    },
    /// Load runs.
    Measuring,
    /// Profiled.
    Profiled {
        /// New budgets are out, and everything that must grow before the release and can is Ready.
        prepared: bool,
    },
    /// It can't be profiled.
    Failed {
        /// Why not.
        trouble: Trouble,
    },
}

/// What the leading controller knows about a held Deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The cluster-wide switch.
    pub holds: Holds,
    /// A ReplicaSet of the Deployment has the held revision, with or without replicas.
    pub known: bool,
    /// The profile.
    pub phase: Phase,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub enum Watcher<'a> {
    /// The leading controller.
    Leader(&'a Progress),
    /// A webhook replica: releases holds that expired while no controller leads, or [`OVERDUE`] ago.
    Bystander {
        /// When the controller was last seen to renew its lease, by our clock.
        lease_renewed: Option<Timestamp>,
    },
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Not held by us, or not for this watcher to end.
    Rest,
    /// Held; ask again when something changes, and at this moment at the latest.
    Wait {
        /// The deadline.
        until: Timestamp,
    },
    /// The hold ends.
    Release {
        /// Why.
        why: ReleaseReason,
        /// The write that ends it.
        action: Action,
    },
    /// A hold's annotations are left over.
    Strip {
        /// The write that removes them.
        action: Action,
    },
    /// The Deployment is being deleted: stop profiling, write nothing.
    Gone,
}

impl Step {
    /// The write, if there is one.
    pub fn action(&self) -> Option<&Action> {
        match self {
            Self::Release { action, .. } | Self::Strip { action } => Some(action),
            Self::Rest | Self::Wait { .. } | Self::Gone => None,
        }
    }
}

/// Decides about a Deployment as it is stored. Pure: same input, same answer.
pub fn next(deployment: &Value, watcher: Watcher<'_>, now: Timestamp) -> Step {
    let facts = Facts::read(deployment);
    if facts.deleting {
        return Step::Gone;
    }
    let expired = facts.state.expired(now);
    let leader = match watcher {
        Watcher::Leader(progress) => Some(progress),
        Watcher::Bystander { lease_renewed } => {
            let before = now.checked_sub(OVERDUE);
            let overdue = before.is_ok_and(|before| facts.state.expired(before));
            if !overdue && (!expired || lives(lease_renewed, now)) {
                return Step::Rest;
            }
            None
        }
    };
    let Some(action) = end(&facts) else {
        return Step::Rest;
    };
    match facts.state {
        HoldState::Free | HoldState::Users => Step::Rest,
        HoldState::Stale => Step::Strip { action },
        HoldState::Ours { until, .. } | HoldState::Orphaned { until } => {
            let why = leader
                .and_then(|progress| ends(&facts, progress, now))
                .or_else(|| expired.then_some(ReleaseReason::Deadline));
            match (why, until) {
                (Some(why), _) => Step::Release { why, action },
                (None, Some(until)) => Step::Wait { until },
                // Without a readable deadline a hold is expired, so that this is never reached.
                (None, None) => Step::Rest,
            }
        }
    }
}

/// The write that ends a hold of ours, or removes what is left of one; `None` where there is nothing of ours.
fn end(facts: &Facts<'_>) -> Option<Action> {
    let patch = match facts.state {
        HoldState::Free | HoldState::Users => return None,
        HoldState::Stale => stale_patch(facts.object),
        HoldState::Ours { .. } | HoldState::Orphaned { .. } => release_patch(facts.object),
    };
    Some(Action::PatchDeployment {
        target: facts.key(),
        patch,
    })
}

/// When the product leaves, every hold ends, whatever its progress: the write, or `None` where there is nothing of
/// ours. Pure: same input, same answer.
pub fn let_go(deployment: &Value) -> Option<Action> {
    end(&Facts::read(deployment))
}

/// Why a hold ends, its deadline apart; in the order in which a reason is worth telling.
fn ends(facts: &Facts<'_>, progress: &Progress, now: Timestamp) -> Option<ReleaseReason> {
    let orphaned = matches!(facts.state, HoldState::Orphaned { .. });
    if progress.holds == Holds::Off {
        return Some(ReleaseReason::HoldsOff);
    }
    if let Err(why) = asks_for_hold(&facts.settings) {
        return Some(not_asked(why));
    }
    let stamps = Stamps::read(facts.object);
    let from = stamps.as_ref().and_then(|stamps| stamps.from.as_deref());
    if from == Some(facts.revision.as_str()) {
        return Some(ReleaseReason::Reverted);
    }
    if progress.known {
        return Some(ReleaseReason::Known);
    }
    if orphaned {
        return Some(ReleaseReason::Unseen);
    }
    let until = stamps.and_then(|stamps| stamps.until);
    match progress.phase {
        Phase::Profiled { prepared: true } => Some(ReleaseReason::Profiled),
        Phase::Queued {
            finish: Some(finish),
        } if until.is_none_or(|until| finish > until) => Some(ReleaseReason::Queue),
        Phase::Next { finish } if until.is_none_or(|until| finish > until) => {
            Some(ReleaseReason::NoTime)
        }
        Phase::Starting { since } if now.duration_since(since) >= READY_LIMIT => {
            Some(ReleaseReason::NotReady)
        }
        Phase::Failed { trouble } => Some(match trouble {
            Trouble::Callee => ReleaseReason::Callee,
            Trouble::ImagePull => ReleaseReason::ImagePull,
            Trouble::NotReady => ReleaseReason::NotReady,
            Trouble::Evicted => ReleaseReason::Evicted,
            Trouble::Errors => ReleaseReason::Errors,
        }),
        Phase::Unknown
        | Phase::Queued { .. }
        | Phase::Next { .. }
        | Phase::Starting { .. }
        | Phase::Measuring
        | Phase::Profiled { prepared: false } => None,
    }
}
