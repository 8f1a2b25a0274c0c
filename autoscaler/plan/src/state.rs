//! What a workload's next decision must remember. It is persisted before the actions are applied, so that a crash in
//! between costs at most one restored foreign drop, never a forgotten window.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use msars_domain::{Behavior, MilliCpu, Observation, PodState, Rate};
use serde::{Deserialize, Serialize};

use crate::{Fleet, Limits};

/// Most characters that are remembered of what the API server said.
const WORDS: usize = 400;

/// Memory of one workload.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// The size in force: what every pod of the workload should have.
    pub size: Option<MilliCpu>,
    /// Replicas as we last wrote or accepted them.
    pub replicas: Option<u32>,
    /// Recommendations within the stabilisation windows, oldest first; equal neighbours are one.
    pub recommendations: Vec<Recommendation>,
    /// Scale events within the longest policy period.
    pub events: Vec<ScaleEvent>,
    /// Last growth of either figure.
    pub last_up: Option<Timestamp>,
    /// Last growth of replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_more: Option<Timestamp>,
    /// Last growth of the size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_larger: Option<Timestamp>,
    /// Last shrink of either figure.
    pub last_down: Option<Timestamp>,
    /// The last shrink, while it may still be undone.
    pub shrink: Option<Shrink>,
    /// Nothing shrinks before this.
    pub calm_until: Option<Timestamp>,
    /// Last change of shape.
    pub reshaped: Option<Timestamp>,
    /// Sizes that pods refused.
    pub refused: Vec<Refused>,
    /// The API server's last words on a resize that it refused, while any such refusal is remembered.
    pub refusal: Option<String>,
    /// Pods of ours that have less than the size in force.
    pub lacking: Vec<Lacking>,
    /// Since when how many replicas have had no pod, the fewest and longest first.
    pub uncreated: Vec<Uncreated>,
    /// The last load that was measured.
    pub load: Option<Load>,
    /// Live work over the profile's, as last known, by revision: while CPU is not measured it still counts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub works: BTreeMap<String, f64>,
    /// Factor, 1 to 2, on the load where live self time says that the profile promises too much.
    pub pressure: Option<f64>,
    /// A running or fading emergency.
    pub emergency: Option<Emergency>,
    /// When foreign drops below the floor were seen.
    pub drops: Vec<Timestamp>,
    /// Since when replicas are left to a foreign writer.
    pub conflict: Option<Timestamp>,
    /// When we last changed replicas: a tool that owns the field by an update of before has lost it since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrote: Option<Timestamp>,
}

/// What was recommended at one tick.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// When.
    pub at: Timestamp,
    /// What.
    pub fleet: Fleet,
}

/// One change of replicas of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleEvent {
    /// When.
    pub at: Timestamp,
    /// Replicas added, negative for removed.
    pub change: i64,
}

/// A shrink that may turn out to hurt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shrink {
    /// When.
    pub at: Timestamp,
    /// The fleet before.
    pub from: Fleet,
    /// Self time was measured and within the budget before.
    pub within: bool,
}

/// A size that one pod did not get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// The pod.
    pub uid: String,
    /// Sizes from here on are not asked again.
    pub size: MilliCpu,
    /// When it was refused or withdrawn.
    pub at: Timestamp,
    /// `Infeasible`: holds for the pod's life, and for the workload while the pod lives.
    pub infeasible: bool,
    /// Who refused it.
    #[serde(default)]
    pub by: Refuser,
    /// Less was asked than before: sizes up to here, and not from here on, are not asked again.
    #[serde(default)]
    pub shrink: bool,
}

/// Who refused a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Refuser {
    /// The pod's node, by a condition or by letting it wait for too long.
    #[default]
    Node,
    /// The API server: a quota, a limit range, a policy or a rule of its own.
    Server,
    /// The API server, for want of a grant.
    Grant,
}

impl Refused {
    /// Whether it speaks of this pod and of this size.
    pub(crate) fn stops(&self, pod: &PodState, size: MilliCpu) -> bool {
        self.uid == pod.uid
            && if self.shrink {
                size <= self.size && size < pod.asked.size()
            } else {
                size >= self.size && size > pod.actual.size()
            }
    }
}

/// A pod with less than the size in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacking {
    /// The pod.
    pub uid: String,
    /// Since when, without a break.
    pub since: Timestamp,
}

/// Replicas without a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncreated {
    /// Since when, without a break, there have been so many.
    pub since: Timestamp,
    /// How many.
    pub pods: u32,
}

/// A measured load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// When.
    pub at: Timestamp,
    /// Requests per second.
    pub rate: Rate,
    /// Rate over the fleet's capacity.
    pub share: f64,
}

/// Replicas held up by an emergency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Emergency {
    /// Replicas not to fall below; a fraction, because the return is slow.
    pub floor: f64,
    /// Raised because metrics vanished, not by the user.
    pub automatic: bool,
}

pub(crate) fn elapsed(now: Timestamp, at: Timestamp) -> f64 {
    now.duration_since(at).as_secs_f64()
}

/// Whether `at` lies within the last `seconds`; a time ahead of `now` (clocks differ) does. Of what is remembered none is
/// ahead: [`State::behind`].
pub(crate) fn within(now: Timestamp, at: Option<Timestamp>, seconds: u32) -> bool {
    at.is_some_and(|at| elapsed(now, at) < f64::from(seconds))
}

impl State {
    /// Nothing remembered lies ahead of `now`: what was stored by a clock that ran ahead, or by this one before it was set
    /// back, counts as of now, and a calm lasts no longer than one that begins now. A time ahead would hold growth back
    /// until the clock has caught up; as of now it keeps from shrinking for as long as it ever did.
    pub(crate) fn behind(&mut self, now: Timestamp, limits: &Limits) {
        // Every field is named, so that a new time is not forgotten here.
        let Self {
            size: _,
            replicas: _,
            recommendations,
            events,
            last_up,
            last_more,
            last_larger,
            last_down,
            shrink,
            calm_until,
            reshaped,
            refused,
            refusal: _,
            lacking,
            uncreated,
            load,
            works: _,
            pressure: _,
            emergency: _,
            drops,
            conflict,
            wrote,
        } = self;
        let moves = [last_up, last_more, last_larger, last_down];
        let times = moves.into_iter().chain([reshaped, conflict, wrote]);
        let times = times
            .flatten()
            .chain(recommendations.iter_mut().map(|r| &mut r.at))
            .chain(events.iter_mut().map(|e| &mut e.at))
            .chain(shrink.as_mut().map(|s| &mut s.at))
            .chain(refused.iter_mut().map(|r| &mut r.at))
            .chain(lacking.iter_mut().map(|l| &mut l.since))
            .chain(uncreated.iter_mut().map(|u| &mut u.since))
            .chain(load.as_mut().map(|l| &mut l.at))
            .chain(drops.iter_mut());
        for at in times {
            *at = (*at).min(now);
        }
        let calm = SignedDuration::from_secs(i64::from(limits.calm_s));
        if let (Some(until), Ok(longest)) = (calm_until.as_mut(), now.checked_add(calm)) {
            *until = (*until).min(longest);
        }
    }

    /// Remembers the live work of the revisions in play, where it is known.
    pub(crate) fn worked(&mut self, seen: &Observation) {
        let plays = |hash: &String| seen.revisions.iter().any(|one| one.hash == *hash);
        self.works.retain(|hash, _| plays(hash));
        for revision in &seen.revisions {
            if let Some(ratio) = revision.work_ratio.filter(|ratio| ratio.is_finite()) {
                self.works.insert(revision.hash.clone(), ratio);
            }
        }
    }

    /// After the reflex grew pods to `size`: the size in force follows, and nothing shrinks for its window; after a shrink
    /// that it rolled back, not for the calm that follows one which hurt.
    pub fn grown_by_reflex(&mut self, now: Timestamp, size: MilliCpu, limits: &Limits) {
        if within(now, self.last_down, limits.reflex.rollback_s) {
            let calm = SignedDuration::from_secs(i64::from(limits.calm_s));
            self.calm_until = now.checked_add(calm).ok();
            self.shrink = None;
        }
        self.size = Some(self.size.map_or(size, |have| have.max(size)));
        self.grew(now, false, true);
    }

    /// When replicas and the size last grew; a state of before these were told apart says it of both.
    pub(crate) fn growths(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        match (self.last_more, self.last_larger) {
            (None, None) => (self.last_up, self.last_up),
            apart => apart,
        }
    }

    /// After a growth of replicas, of the size or of both.
    pub(crate) fn grew(&mut self, now: Timestamp, more: bool, larger: bool) {
        (self.last_more, self.last_larger) = self.growths();
        if more {
            self.last_more = Some(now);
        }
        if larger {
            self.last_larger = Some(now);
        }
        self.last_up = Some(now);
    }

    /// After the API server refused a resize in these words: until it is asked again, what the pod has is what counts.
    pub fn refuse(&mut self, refused: Refused, words: &str) {
        self.refused.retain(|r| {
            r.uid != refused.uid || r.by == Refuser::Node || r.shrink != refused.shrink
        });
        self.refused.push(refused);
        self.refusal = Some(words.chars().take(WORDS).collect());
    }

    /// Follows which pods of ours have less than `size`. One that waits for a node is not asked to grow before it has one.
    pub(crate) fn lack(&mut self, now: Timestamp, seen: &Observation, size: MilliCpu) {
        let lacks =
            |pod: &&PodState| !pod.foreign && !pod.unschedulable && pod.actual.size() < size;
        let since = |pod: &PodState| {
            let known = self.lacking.iter().find(|l| l.uid == pod.uid);
            Lacking {
                uid: pod.uid.clone(),
                since: known.map_or(now, |l| l.since),
            }
        };
        self.lacking = seen.pods.iter().filter(lacks).map(since).collect();
    }

    /// Whether a pod has lacked the size in force for longer than a growth takes to show, with every round of writes
    /// that so many pods need.
    pub(crate) fn late(
        &self,
        now: Timestamp,
        seen: &Observation,
        pod: &PodState,
        limits: &Limits,
    ) -> bool {
        let rounds = seen
            .pods
            .len()
            .div_ceil(limits.resizes_per_tick.max(1) as usize);
        let shows = limits.settle_s.saturating_mul(rounds as u32);
        let old = |l: &Lacking| l.uid == pod.uid && !within(now, Some(l.since), shows);
        self.lacking.iter().any(old)
    }

    /// Follows how many replicas have no pod.
    pub(crate) fn uncreated(&mut self, now: Timestamp, pods: u32) {
        let mut since = now;
        while let Some(more) = self.uncreated.pop_if(|more| more.pods >= pods) {
            since = more.since;
        }
        if pods > 0 {
            self.uncreated.push(Uncreated { since, pods });
        }
    }

    /// How many replicas have had no pod for longer than a pod takes to start: more would not get one either.
    pub(crate) fn never_created(&self, now: Timestamp, limits: &Limits) -> u32 {
        let long = |u: &&Uncreated| elapsed(now, u.since) > f64::from(limits.startup_s);
        self.uncreated.iter().rfind(long).map_or(0, |u| u.pods)
    }

    /// When another autoscaler is taken over, the fleet that it left counts as recommended, as what is there does at a
    /// start: what it remembers of its own windows is not known.
    pub fn took_over(&mut self, now: Timestamp, left: Fleet) {
        self.recommend(now, left);
    }

    /// Forgets what no window needs any more.
    pub(crate) fn prune(&mut self, now: Timestamp, behavior: &Behavior) {
        let window = behavior
            .scale_up
            .stabilization_window_seconds
            .max(behavior.scale_down.stabilization_window_seconds);
        self.recommendations
            .retain(|r| within(now, Some(r.at), window.max(1)));
        let period = [&behavior.scale_up, &behavior.scale_down]
            .iter()
            .flat_map(|rules| rules.policies.iter().map(|p| p.period_seconds))
            .max()
            .unwrap_or(0);
        self.events
            .retain(|e| within(now, Some(e.at), period.max(1)));
    }

    pub(crate) fn recommend(&mut self, at: Timestamp, fleet: Fleet) {
        match self.recommendations.last_mut() {
            Some(last) if last.fleet == fleet => last.at = at,
            _ => self.recommendations.push(Recommendation { at, fleet }),
        }
    }
}
