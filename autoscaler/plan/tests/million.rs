//! Random observations, states and proposals through `decide`: no invariant breaks. `MSARS_DECIDE_CASES` sets how
//! many (200,000 unless set).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

#[path = "world/invariants.rs"]
mod invariants;
#[path = "world/mod.rs"]
mod world;

use msars_domain::{Action, MilliCpu, Observation, Rate};
use msars_plan::{
    Decision, Engines, Fleet, Forecast, LastPeak, Limits, Policy, Proposal, Refused, Refuser,
    State, Tick, decide,
};
use world::{Dice, after, apply, start};

/// Proposes anything, within the bounds and far outside.
struct Wild(Dice);

impl Policy for Wild {
    fn propose(&mut self, seen: &[Observation], _: &[Forecast]) -> Vec<Proposal> {
        let one = |_: &Observation| Proposal {
            fleet: (!self.0.one_in(5)).then(|| Fleet {
                replicas: self.0.below(40) as u32,
                size: MilliCpu(self.0.below(2000) as u32),
            }),
            bound: self.0.one_in(2).then(|| world::ms(self.0.unit() * 100.0)),
        };
        seen.iter().map(one).collect()
    }
}

#[test]
fn no_invariant_breaks_over_random_episodes() {
    let cases: u64 = std::env::var("MSARS_DECIDE_CASES").map_or(200_000, |n| n.parse().unwrap());
    let limits = Limits::default();
    let (mut done, mut episode, mut writes) = (0u64, 0u64, [0u64; 3]);
    while done < cases {
        episode += 1;
        let mut dice = Dice(episode);
        let mut now = start();
        let mut seen = dice.observation(now);
        let mut state = State::default();
        let mut load = 300.0 * dice.unit();
        let analytic = dice.one_in(2);
        let mut engines = if analytic {
            world::engines()
        } else {
            Engines {
                forecaster: Box::new(LastPeak::default()),
                policy: Box::new(Wild(Dice(!episode))),
            }
        };
        for _ in 0..=dice.below(20) {
            let tick = Tick {
                now,
                seed: episode,
                observations: vec![seen.clone()],
                states: vec![state.clone()],
            };
            let mut made = decide(&tick, &mut engines, &limits).pop().unwrap();
            done += 1;
            let bad = invariants::broken(now, &seen, &state, &made, &limits);
            assert!(
                bad.is_empty(),
                "episode {episode}: {bad:?}\n{}\n{}\n{}\n{}",
                made.explain(),
                serde_json::to_string(&seen).unwrap_or_default(),
                serde_json::to_string(&state).unwrap(),
                serde_json::to_string(&made).unwrap(),
            );
            for action in &made.actions {
                writes[usize::from(action.kind() == "resize")] += 1;
            }
            writes[2] += u64::from(made.wanted.shrinks_from(made.current));
            refuse(&mut dice, &mut made, &seen, now);
            apply(now, &mut seen, &made, |_| None);
            state = made.state;
            // Tighter after the growth that was asked for; bounded from the API's side all the same.
            now = after(
                now,
                15 * (1 + dice.below(3).cast_signed()) * if dice.one_in(10) { 30 } else { 1 },
            );
            load = (load * (0.6 + 0.8 * dice.unit())).max(0.1);
            seen.signals = dice.signals(now, load);
            disturb(&mut dice, &mut seen, now);
        }
    }
    eprintln!(
        "{done} decisions: {} scales, {} resizes, {} shrinks",
        writes[0], writes[1], writes[2]
    );
    assert!(
        writes.iter().all(|n| *n > 0),
        "the episodes exercise every kind of write: {writes:?}"
    );
}

/// Somebody else's hand: replicas, switches, bounds.
fn disturb(dice: &mut Dice, seen: &mut Observation, now: jiff::Timestamp) {
    match dice.below(20) {
        0 => seen.replicas = dice.below(14) as u32,
        1 => seen.wishes.pause_scale_down = !seen.wishes.pause_scale_down,
        2 => seen.wishes.emergency = !seen.wishes.emergency,
        3 => seen.rolling = !seen.rolling,
        4 => seen.min_replicas = 1 + dice.below(u64::from(seen.max_replicas)) as u32,
        5 => *seen = dice.observation(now),
        6 => seen.wishes.acts = !seen.wishes.acts,
        7 => {
            seen.history = vec![msars_domain::RateSample {
                at: now,
                rate: Rate::new(900.0 * dice.unit()).unwrap(),
            }];
        }
        8 => seen.uncreated = dice.below(u64::from(seen.replicas) + 1) as u32,
        _ => {}
    }
}

/// What the API server does with an eighth of the resizes.
fn refuse(dice: &mut Dice, made: &mut Decision, seen: &Observation, now: jiff::Timestamp) {
    let by = [Refuser::Server, Refuser::Grant][dice.below(2) as usize];
    let (mut state, mut refused) = (made.state.clone(), Vec::new());
    made.actions.retain(|action| {
        let Action::Resize { uid, .. } = action else {
            return true;
        };
        let no = dice.one_in(8);
        if no {
            refused.push((uid.clone(), action.clone()));
        }
        !no
    });
    for (uid, action) in refused {
        let Action::Resize { request, limit, .. } = action else {
            continue;
        };
        let asked = seen.pods.iter().find(|p| p.uid == uid).map(|p| p.asked);
        let size = limit.or(request).unwrap();
        let refused = Refused {
            uid,
            size,
            at: now,
            infeasible: false,
            by,
            shrink: asked.is_some_and(|asked| size < asked.size()),
        };
        state.refuse(refused, "no");
    }
    made.state = state;
}
