//! Properties over random inputs: one per promise, and that a recorded tick replays bit for bit.
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

use msars_domain::{Observation, RateSample, Reading, Unknown};
use msars_plan::{Decision, Limits, Reason, Refuser, State, Tick, decide};
use proptest::prelude::*;
use world::{Dice, after, apply, engines, plain, single, start};

/// A random observation with the memory of a few ticks before it.
fn lived(seed: u64) -> (jiff::Timestamp, Observation, State) {
    let mut dice = Dice(seed);
    let mut now = start();
    let mut seen = dice.observation(now);
    let mut state = State::default();
    for _ in 0..dice.below(6) {
        let made = single(now, &seen, &state);
        apply(now, &mut seen, &made, |_| None);
        state = made.state;
        now = after(now, 15);
        let load = 300.0 * dice.unit();
        seen.signals = dice.signals(now, load);
    }
    (now, seen, state)
}

fn shrinks(now: jiff::Timestamp, seen: &Observation, made: &Decision) -> bool {
    let limits = Limits::default();
    made.actions.iter().any(|action| match action {
        msars_domain::Action::Scale { from, to, .. } => to < from,
        msars_domain::Action::Resize {
            uid,
            request,
            limit,
            ..
        } => seen.pods.iter().any(|p| {
            let size = limit.or(*request).unwrap_or(p.asked.size());
            let free = invariants::comes_down(now, seen, p, size, &limits);
            p.uid == *uid && size < p.actual.size() && !free
        }),
        _ => true,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_invariant(seed: u64) {
        let (now, seen, state) = lived(seed);
        let made = single(now, &seen, &state);
        let bad = invariants::broken(now, &seen, &state, &made, &Limits::default());
        prop_assert!(bad.is_empty(), "{:?}: {}", bad, made.explain());
    }

    #[test]
    fn nothing_shrinks_on_unknown(seed: u64, which in 0..2, why in 0..5usize) {
        let (now, mut seen, state) = lived(seed);
        let why = [Unknown::Unreachable, Unknown::NoSeries, Unknown::Stale, Unknown::NotANumber, Unknown::TooFewSamples][why];
        let lost = Reading::Unknown { why };
        if which == 0 {
            seen.signals.rate = lost;
            let part = seen.signals.peak_rate.value();
            seen.signals.rate_at_least = part.map(|rate| RateSample { at: now, rate: *rate });
        } else {
            seen.signals.peak_rate = lost;
        }
        let made = single(now, &seen, &state);
        prop_assert!(!shrinks(now, &seen, &made), "{}", made.explain());
    }

    #[test]
    fn what_is_remembered_of_a_time_ahead_counts_as_of_now(seed: u64, ahead in 1..1_000_000i64) {
        let (now, seen, state) = lived(seed);
        let decided = |at: jiff::Timestamp| {
            let mut state = state.clone();
            (state.last_up, state.last_more, state.last_down) = (Some(at), Some(at), Some(at));
            for recommendation in &mut state.recommendations {
                recommendation.at = at;
            }
            for event in &mut state.events {
                event.at = at;
            }
            serde_json::to_string(&single(now, &seen, &state)).unwrap()
        };
        prop_assert_eq!(decided(after(now, ahead)), decided(now));
    }

    #[test]
    fn pause_writes_nothing(seed: u64) {
        let (now, mut seen, state) = lived(seed);
        seen.wishes.pause = true;
        prop_assert!(single(now, &seen, &state).actions.is_empty());
    }

    #[test]
    fn recommend_writes_nothing_and_still_has_an_opinion(seed: u64) {
        let (now, mut seen, state) = lived(seed);
        seen.wishes.acts = false;
        let made = single(now, &seen, &state);
        prop_assert!(made.actions.is_empty());
        prop_assert!(made.conditions.len() >= 3);
        prop_assert!(made.explain().ends_with('.'));
    }

    #[test]
    fn a_recorded_tick_replays_bit_for_bit(seed: u64) {
        let (now, seen, state) = lived(seed);
        let tick = Tick { now, seed, observations: vec![seen], states: vec![state] };
        let text = serde_json::to_string(&tick).unwrap();
        let read: Tick = serde_json::from_str(&text).unwrap();
        let limits = Limits::default();
        let (a, b) = (decide(&tick, &mut engines(), &limits), decide(&read, &mut engines(), &limits));
        prop_assert_eq!(serde_json::to_string(&a).unwrap(), serde_json::to_string(&b).unwrap());
        let made: Vec<Decision> = serde_json::from_str(&serde_json::to_string(&a).unwrap()).unwrap();
        prop_assert_eq!(&made[0].state, &a[0].state);
    }

    #[test]
    fn what_is_wanted_carries_the_load_or_says_what_held_it_back(seed: u64) {
        let (now, seen, state) = lived(seed);
        let made = single(now, &seen, &state);
        let numbers = made.numbers;
        if let (Some(load), Some(then), true) = (numbers.load, numbers.carries_then, made.reason != Reason::Paused) {
            let promoted = seen.promoted;
            prop_assert!(then >= load * 0.999_999 || promoted || !made.guards.is_empty(), "{}", made.explain());
        }
    }
}

#[test]
fn a_decision_that_was_recorded_before_a_figure_was_there_is_read() {
    let made = single(start(), &plain(start(), 3, 60.0), &State::default());
    let mut old = serde_json::to_value(&made).unwrap();
    let numbers = old["numbers"].as_object_mut().unwrap();
    for field in ["eachNow", "eachThen"] {
        assert!(numbers.remove(field).is_some());
    }
    let read: Decision = serde_json::from_value(old).unwrap();
    let mut known = made;
    (known.numbers.each_now, known.numbers.each_then) = (None, None);
    assert_eq!(read, known);
}

#[test]
fn a_tick_that_was_recorded_before_a_field_was_there_is_read() {
    let now = start();
    let refused = serde_json::json!({"uid": "uid-0", "size": 300, "at": now, "infeasible": true});
    let mut old = serde_json::to_value(Tick {
        now,
        seed: 1,
        observations: vec![plain(now, 3, 60.0)],
        states: vec![State::default()],
    })
    .unwrap();
    let seen = &mut old["observations"][0];
    for field in ["uncreated", "create_failure", "cost"] {
        assert!(seen.as_object_mut().unwrap().remove(field).is_some());
    }
    for field in ["request_memory", "limit_memory"] {
        let headroom = seen["headroom"].as_object_mut().unwrap();
        assert!(headroom.remove(field).is_some());
    }
    let state = old["states"][0].as_object_mut().unwrap();
    for field in ["uncreated", "lacking", "refusal"] {
        assert!(state.remove(field).is_some());
    }
    state["refused"] = serde_json::json!([refused]);
    let read: Tick = serde_json::from_value(old).unwrap();
    assert_eq!(read.observations, [plain(now, 3, 60.0)]);
    let refused = &read.states[0].refused[0];
    assert_eq!((refused.by, refused.shrink), (Refuser::Node, false));
}
