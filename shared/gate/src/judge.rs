//! The rules of holding, in the order in which they speak.

use jiff::{SignedDuration, Timestamp};
use msars_api::annotations::{Gate, HOLD, Mode, Settings};
use msars_domain::RequestMix;
use serde_json::{Value, json};

use crate::containers::serving;
use crate::deployment::{annotation_patch, template};
use crate::facts::Facts;
use crate::hazard::hazard;
use crate::hold::{HoldState, Stamps, hold_patch};
use crate::reason::{PassReason, ReleaseReason};
use crate::request::Request;
use crate::shape_hash;
use crate::snapshot::{Grant, Holds, Namespace, Snapshot, Workload};
use crate::undo;
use crate::verdict::Verdict;

/// One update with everything that is known about it.
pub(crate) struct Case<'a> {
    /// The stored object.
    pub before: Facts<'a>,
    /// The incoming object.
    pub after: Facts<'a>,
    /// Settings that count: those of the live object when the write is an undo.
    pub settings: Settings,
    /// Edits that keep the live object's settings.
    pub kept: Vec<(String, Option<String>)>,
    /// An earlier call in the same write already held it (the API server asks again after other webhooks).
    in_flight: bool,
    workload: Option<&'a Workload>,
    namespace: Option<&'a Namespace>,
    snapshot: &'a Snapshot,
    pub request: &'a Request,
    pub now: Timestamp,
}

impl<'a> Case<'a> {
    pub fn new(
        old: &'a Value,
        new: &'a Value,
        snapshot: &'a Snapshot,
        request: &'a Request,
        now: Timestamp,
    ) -> Self {
        let (before, after) = (Facts::read(old), Facts::read(new));
        let workload = snapshot.workload(&request.target);
        let known = workload
            .filter(|_| snapshot.synced.is_some())
            .map(|workload| workload.known.contains(after.revision.as_str()));
        let is_undo =
            before.revision != after.revision && undo::looks_like_undo(old, new, request, known);
        let kept = if is_undo {
            undo::kept(old, new)
        } else {
            Vec::new()
        };
        let in_flight =
            !before.paused && after.paused && !after.pause_declared && Stamps::read(new).is_some();
        Self {
            settings: if is_undo {
                before.settings.clone()
            } else {
                after.settings.clone()
            },
            kept,
            in_flight,
            workload,
            namespace: snapshot.namespaces.get(&request.target.namespace),
            snapshot,
            request,
            now,
            before,
            after,
        }
    }

    fn is_known(&self) -> bool {
        let revision = self.after.revision.as_str();
        self.workload.is_some_and(|w| w.known.contains(revision))
    }

    /// Only sizes differ from a profiled revision, and the serving container's lies inside what was measured.
    fn is_profiled_size(&self) -> bool {
        let template = template(self.after.object);
        let range = self
            .workload
            .and_then(|w| w.profiled.get(shape_hash(template).as_str()));
        let cpu = serving(template).and_then(|serving| serving.cpu);
        range
            .zip(cpu)
            .is_some_and(|(range, cpu)| range.contains(cpu.size()))
    }

    fn grant(&self) -> Grant {
        self.namespace.map(|known| known.grant).unwrap_or_default()
    }

    fn no_grant(&self) -> PassReason {
        PassReason::NoGrant {
            namespace: self.request.target.namespace.clone(),
        }
    }

    /// The decision while a hold of ours stands in the stored object.
    pub fn held(&self) -> Verdict {
        let release = |why| Verdict::Release { why };
        if !self.after.paused {
            let own = self.snapshot.own_users.contains(&self.request.user);
            return release(if own {
                ReleaseReason::Own
            } else {
                ReleaseReason::UserResumed
            });
        }
        if self.after.pause_declared {
            return release(ReleaseReason::TakenOver);
        }
        if self.snapshot.holds == Holds::Off {
            return release(ReleaseReason::HoldsOff);
        }
        if let Err(why) = asks_for_hold(&self.settings) {
            return release(not_asked(why));
        }
        let stamps = Stamps::read(self.before.object);
        let changed = self.before.revision != self.after.revision
            || matches!(self.before.state, HoldState::Orphaned { .. });
        if changed {
            let from = stamps.as_ref().and_then(|stamps| stamps.from.as_deref());
            if from == Some(self.after.revision.as_str()) {
                return release(ReleaseReason::Reverted);
            }
            if self.is_known() || self.is_profiled_size() {
                return release(ReleaseReason::Known);
            }
        }
        let until = match stamps.as_ref().and_then(|stamps| stamps.until) {
            Some(until) if until > self.now => until,
            _ => return release(ReleaseReason::Deadline),
        };
        // Nobody of ours could end it later: this write is the chance.
        if self.grant() == Grant::Missing {
            return release(ReleaseReason::NotHoldable(self.no_grant()));
        }
        if changed && let Err(why) = self.may_hold() {
            return release(ReleaseReason::NotHoldable(why));
        }
        let running = self.before.revision.to_string();
        Verdict::KeepHold {
            revision: self.after.revision.to_string(),
            since: stamps.as_ref().and_then(|s| s.since).unwrap_or(self.now),
            from: stamps.and_then(|stamps| stamps.from).unwrap_or(running),
            until,
        }
    }

    /// The decision while no hold of ours stands in the stored object.
    pub fn free(&self) -> Verdict {
        match self.why_not() {
            Ok(()) => self.begin(),
            Err(why) => Verdict::Pass { why },
        }
    }

    fn why_not(&self) -> Result<(), PassReason> {
        if self.before.paused && !self.after.paused {
            return Err(PassReason::UserResumed);
        }
        if self.after.paused && !self.in_flight {
            return Err(PassReason::UserPaused);
        }
        if self.before.revision == self.after.revision {
            let same = template(self.before.object) == template(self.after.object);
            return Err(if same {
                PassReason::SameTemplate
            } else {
                PassReason::Restart
            });
        }
        if self.is_known() {
            return Err(PassReason::Known);
        }
        if self.is_profiled_size() {
            return Err(PassReason::ProfiledSize);
        }
        asks_for_hold(&self.settings)?;
        if self.before.pause_declared || self.after.pause_declared {
            return Err(PassReason::PauseDeclared);
        }
        self.may_hold()
    }

    /// What must be true of cluster, application and template.
    fn may_hold(&self) -> Result<(), PassReason> {
        let unless = |ok: bool, why| if ok { Ok(()) } else { Err(why) };
        unless(self.snapshot.holds == Holds::On, PassReason::HoldsOff)?;
        unless(self.snapshot.synced.is_some(), PassReason::NotSynced)?;
        unless(
            self.snapshot.controller_lives(self.now),
            PassReason::NoController,
        )?;
        if let Some(hazard) = hazard(self.after.object, self.namespace) {
            return Err(PassReason::Unsafe(hazard));
        }
        let workload = self.workload.ok_or(PassReason::NoObjective)?;
        unless(workload.has_objective, PassReason::NoObjective)?;
        unless(self.grant() == Grant::Given, self.no_grant())?;
        unless(self.after.replicas > 0, PassReason::NoReplicas)?;
        unless(self.before.available, PassReason::NotAvailable)?;
        unless(!workload.burning_fast, PassReason::BurningFast)
    }

    fn begin(&self) -> Verdict {
        let deadline = SignedDuration::from_secs(i64::from(self.settings.gate_deadline_s));
        // Whole seconds, downwards: a hold is never longer than it says.
        let second = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
        let earlier = Stamps::read(self.after.object)
            .filter(|_| self.in_flight)
            .and_then(|stamps| stamps.since.zip(stamps.until))
            .filter(|(since, until)| {
                *since <= self.now && *until > self.now && until.duration_since(*since) <= deadline
            });
        let (since, until) =
            earlier.unwrap_or_else(|| (second, second.checked_add(deadline).unwrap_or(second)));
        Verdict::Hold {
            revision: self.after.revision.to_string(),
            from: self.before.revision.to_string(),
            since,
            until,
        }
    }

    pub fn patch(&self, verdict: &Verdict) -> Vec<Value> {
        let new = self.after.object;
        match verdict {
            Verdict::Hold {
                from, since, until, ..
            }
            | Verdict::KeepHold {
                from, since, until, ..
            } => hold_patch(new, from, *since, *until),
            Verdict::Release { why } => {
                let users = matches!(why, ReleaseReason::TakenOver);
                self.unhold(self.after.paused && !users)
            }
            Verdict::Pass { .. } => self.unhold(self.in_flight),
        }
    }

    /// Keeps the live settings, removes a hold's annotations, and the pause if it is ours.
    fn unhold(&self, unpause: bool) -> Vec<Value> {
        let kept = self
            .kept
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()));
        let wanted: Vec<_> = kept.chain(HOLD.map(|name| (name, None))).collect();
        let mut patch = annotation_patch(self.after.object, &wanted);
        if unpause {
            patch.push(json!({"op": "remove", "path": "/spec/paused"}));
        }
        patch
    }
}

/// What must be asked for by annotations.
pub(crate) fn asks_for_hold(settings: &Settings) -> Result<(), PassReason> {
    let unless = |ok: bool, why| if ok { Ok(()) } else { Err(why) };
    unless(settings.mode == Mode::Auto, PassReason::ModeNotAuto)?;
    unless(settings.gate == Gate::Hold, PassReason::GateObserves)?;
    unless(!settings.skip_gate, PassReason::SkipGate)?;
    unless(!settings.pause, PassReason::Paused)?;
    unless(!settings.emergency, PassReason::Emergency)?;
    let requests = settings.profile_request.as_deref();
    let requests = requests.ok_or(PassReason::NoProfileRequest)?;
    match requests.parse::<RequestMix>() {
        Ok(_) => Ok(()),
        Err(wrong) => Err(PassReason::BadProfileRequest {
            why: wrong.to_string(),
        }),
    }
}

/// How a hold ends when the annotations no longer ask for it.
pub(crate) fn not_asked(why: PassReason) -> ReleaseReason {
    match why {
        PassReason::ModeNotAuto | PassReason::GateObserves | PassReason::Paused => {
            ReleaseReason::ModeOff
        }
        PassReason::SkipGate | PassReason::Emergency => ReleaseReason::SkipGate,
        other => ReleaseReason::NotHoldable(other),
    }
}
