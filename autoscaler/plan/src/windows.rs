//! The shield's steps over time: the stabilisation windows of replicas and size, and the rest after a growth.

use jiff::Timestamp;
use msars_domain::MilliCpu;

use crate::{
    ConditionReason, Fleet, Guard, State,
    behavior::{Windows, stabilize, windows},
    shield::{Outcome, Shield, bounds},
    state::within,
};

impl Shield<'_> {
    /// The stabilisation windows of both figures; the size's is the shorter one downward.
    pub(crate) fn windows(&self, state: &mut State, out: &mut Outcome) {
        let behavior = &self.seen.behavior;
        let of_replicas = self.hurried(windows(behavior));
        let of_size = self.hurried(self.limits.size_windows(behavior));
        let (current, target) = (self.current, out.fleet);
        let (_, most) = bounds(self.seen);
        let past = state.recommendations.iter();
        // Bounds that were narrowed since count at once.
        let past = past.map(|r| (r.at, r.fleet.replicas.min(most)));
        let replicas = stabilize(
            self.now,
            current.replicas,
            target.replicas,
            past,
            of_replicas,
        );
        let target = Fleet {
            size: self.enough(state, target, replicas),
            ..target
        };
        state.recommend(self.now, target);
        let past = state.recommendations.iter();
        let past = past.map(|r| (r.at, r.fleet.size.0));
        let size = stabilize(self.now, current.size.0, target.size.0, past, of_size);
        let stable = Fleet {
            replicas,
            size: MilliCpu(size),
        };
        if stable == target {
            out.fleet = target;
            return;
        }
        if target.shrinks_from(current) {
            out.able = ConditionReason::ScaleDownStabilized;
            let window_s = if stable.replicas == target.replicas {
                of_size.down_s
            } else {
                of_replicas.down_s
            };
            out.guards.push(Guard::DownStabilized { window_s });
        } else {
            out.able = ConditionReason::ScaleUpStabilized;
            out.guards.push(Guard::UpStabilized {
                window_s: of_replicas.up_s,
            });
        }
        out.fleet = stable;
        self.one_direction(out);
    }

    /// What is undone was there before: no lower recommendation of the window holds it back.
    fn hurried(&self, windows: Windows) -> Windows {
        Windows {
            up_s: if self.undoes { 0 } else { windows.up_s },
            ..windows
        }
    }

    /// The size that is enough where more replicas stay, and serve, than the target has; not on the way to a shape of fewer
    /// and larger pods, which was taken for the sake of its end.
    fn enough(&self, state: &State, target: Fleet, replicas: u32) -> MilliCpu {
        let (Some(facts), Some(need)) = (self.facts, self.need) else {
            return target.size;
        };
        let reshaping = within(self.now, state.reshaped, self.limits.reshape_s);
        let more = facts.placed(replicas) > facts.placed(target.replicas);
        let spare = more && facts.vertical && !reshaping;
        let enough = || facts.smallest(MilliCpu(0), replicas, need);
        let enough = spare.then(enough).flatten();
        enough.map_or(target.size, |size| size.min(target.size))
    }

    /// No shrink within the window of a growth. One of replicas rests both figures, each for its own window; one of the
    /// size alone rests both for the size's, or a resize of a second would keep pods for minutes. More than the maximum
    /// go whenever they grew, as with HPA.
    pub(crate) fn rested(&self, state: &State, out: &mut Outcome) {
        let behavior = &self.seen.behavior;
        let (more, _) = state.growths();
        let (long, short) = (
            windows(behavior).down_s,
            self.limits.size_windows(behavior).down_s,
        );
        let mut kept = |shrinks: bool, up: Option<Timestamp>, window_s: u32| {
            let rests = shrinks && within(self.now, up, window_s);
            if rests {
                out.guards.push(Guard::Direction { window_s });
            }
            rests
        };
        let (now, to) = (self.current, out.fleet);
        let (_, most) = bounds(self.seen);
        let fewer = to.replicas < now.replicas.min(most);
        let replicas = kept(fewer, more, long) || kept(fewer, state.last_up, short);
        let size = kept(to.size < now.size, state.last_up, short);
        if replicas {
            out.fleet.replicas = now.replicas.min(most);
        }
        if size {
            out.fleet.size = now.size;
        }
    }
}
