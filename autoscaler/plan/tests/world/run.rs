//! A workload over several ticks.

use msars_domain::{Action, Observation, Reading, Resize, Unknown};
use msars_plan::{Decision, State};

use super::{after, apply, ms, plain, single, start};

/// A world that goes on: every tick sees what the last one did.
pub struct Run {
    pub now: jiff::Timestamp,
    pub seen: Observation,
    pub state: State,
}

impl Run {
    pub fn new(replicas: u32, load: f64) -> Self {
        Self {
            now: start(),
            seen: plain(start(), replicas, load),
            state: State::default(),
        }
    }

    /// Without a window downward, so that a single tick shrinks.
    pub fn at_once(replicas: u32, load: f64) -> Self {
        let mut run = Self::new(replicas, load);
        run.seen.resizable = Some(false);
        run.seen.behavior.scale_down.stabilization_window_seconds = 0;
        run
    }

    pub fn tick(&mut self, load: f64) -> Decision {
        self.refused(load, |_| None)
    }

    pub fn refused(&mut self, load: f64, refuse: impl Fn(&str) -> Option<Resize>) -> Decision {
        let fresh = plain(self.now, 1, load).signals;
        let keep = self.seen.signals.self_quantile.value().copied();
        self.seen.signals = fresh;
        if let (Some(value), Reading::Known { value: slot, .. }) =
            (keep, &mut self.seen.signals.self_quantile)
        {
            *slot = value;
        }
        self.decide(refuse)
    }

    pub fn blind(&mut self) -> Decision {
        let lost = Reading::Unknown {
            why: Unknown::Unreachable,
        };
        self.seen.signals.rate = lost.clone();
        self.seen.signals.peak_rate = lost;
        self.decide(|_| None)
    }

    pub fn decide(&mut self, refuse: impl Fn(&str) -> Option<Resize>) -> Decision {
        let made = single(self.now, &self.seen, &self.state);
        apply(self.now, &mut self.seen, &made, refuse);
        self.state = made.state.clone();
        self.now = after(self.now, 15);
        made
    }

    pub fn measured(&mut self, self_time: f64) {
        self.seen.signals.self_quantile = Reading::Known {
            value: ms(self_time),
            at: self.now,
        };
    }
}

/// Uid, request and limit of every resize.
pub fn sizes(made: &Decision) -> Vec<(String, Option<u32>, Option<u32>)> {
    made.actions
        .iter()
        .filter_map(|action| match action {
            Action::Resize {
                uid,
                request,
                limit,
                ..
            } => Some((uid.clone(), request.map(|r| r.0), limit.map(|l| l.0))),
            _ => None,
        })
        .collect()
}
