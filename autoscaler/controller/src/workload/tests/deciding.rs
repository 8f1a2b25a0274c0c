use std::sync::{Condvar, Mutex};
use std::time::Duration;

use msars_plan::{Engines, Forecast, Limits, Policy, Proposal, State, Tick, decide};

use super::*;
use crate::engine::{Engine, analytic};

pub(super) fn tick(rates: &[f64]) -> Tick {
    Tick {
        now: now(),
        seed: 1,
        observations: rates.iter().map(|rate| seen(*rate).1).collect(),
        states: vec![State::default(); rates.len()],
    }
}

struct Picky;

impl Policy for Picky {
    fn propose(&mut self, seen: &[Observation], _forecasts: &[Forecast]) -> Vec<Proposal> {
        let bad = seen.iter().any(|one| one.max_replicas == 13);
        assert!(!bad, "a defect");
        vec![Proposal::default(); seen.len()]
    }
}

fn picky(limits: &Limits) -> Engines {
    Engines {
        policy: Box::new(Picky),
        ..analytic(limits)
    }
}

#[tokio::test]
async fn a_defect_in_one_decision_stops_no_other() {
    let mut engine = Engine::start(picky, Limits::default()).unwrap();
    let mut tick = tick(&[30.0, 30.0, 30.0]);
    tick.observations[1].max_replicas = 13;
    let tick = Arc::new(tick);
    for _ in 0..2 {
        let made = engine
            .decide(Arc::clone(&tick), Duration::from_mins(1))
            .await
            .unwrap();
        let there: Vec<bool> = made.iter().map(Option::is_some).collect();
        assert_eq!(there, [true, false, true]);
    }
}

/// Shut until the test is over.
static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

struct Stuck;

impl Policy for Stuck {
    fn propose(&mut self, seen: &[Observation], _forecasts: &[Forecast]) -> Vec<Proposal> {
        if seen.iter().any(|one| one.max_replicas == 13) {
            let shut = GATE.0.lock().unwrap();
            drop(GATE.1.wait_while(shut, |open| !*open).unwrap());
        }
        vec![Proposal::default(); seen.len()]
    }
}

fn stuck(limits: &Limits) -> Engines {
    Engines {
        policy: Box::new(Stuck),
        ..analytic(limits)
    }
}

#[tokio::test]
async fn a_missed_deadline_is_an_error_and_the_next_tick_is_decided() {
    let mut engine = Engine::start(stuck, Limits::default()).unwrap();
    let mut slow = tick(&[30.0]);
    slow.observations[0].max_replicas = 13;
    let late = engine
        .decide(Arc::new(slow), Duration::from_millis(1))
        .await;
    assert!(late.is_err_and(|error| error.category() == "time"));
    let made = engine
        .decide(Arc::new(tick(&[30.0])), Duration::from_mins(1))
        .await
        .unwrap();
    assert_eq!(made.len(), 1);
    *GATE.0.lock().unwrap() = true;
    GATE.1.notify_all();
}

#[test]
fn a_pod_is_told_by_its_share_of_throttled_periods() {
    use super::super::reflex_input::{Pods, Subject, by_workload, input};
    use crate::kubelet::Periods;
    use msars_domain::CpuBounds;
    use msars_plan::reflex;

    let (_workload, seen) = seen(30.0);
    let state = State::default();
    let limits = Limits::default();
    let mut pods = Pods::default();
    let free = (seen.cpu, false);
    // A LimitRange that came after the observation.
    let ranged = CpuBounds {
        max: MilliCpu(200),
        ..seen.cpu
    };
    let mut look = |second: i64, all: f64, throttled: f64, (cpu, hands_off): (CpuBounds, bool)| {
        let at = now() + jiff::SignedDuration::from_secs(second);
        let periods = seen
            .pods
            .iter()
            .map(|pod| {
                let key = ("shop".to_owned(), pod.name.clone(), "app".to_owned());
                let share = if pod.name == "a" { throttled } else { 0.0 };
                (
                    key,
                    Periods {
                        all,
                        throttled: share,
                        at,
                    },
                )
            })
            .collect();
        let subject = Subject {
            seen: &seen,
            cpu,
            pods: seen.pods.clone(),
            headroom: seen.headroom,
            state: &state,
            hands_off,
        };
        let input = input(at, &[subject], &periods, &mut pods);
        let actions = reflex(&input, &limits);
        by_workload(&input, actions)
    };
    // The first look has nothing to compare with.
    assert!(look(0, 100.0, 90.0, free).is_empty());
    // Four of a hundred are fine, and a counter that ran backwards says nothing.
    assert!(look(10, 200.0, 94.0, free).is_empty());
    assert!(look(20, 50.0, 10.0, free).is_empty());
    assert!(look(30, 150.0, 90.0, (seen.cpu, true)).is_empty());
    assert!(look(40, 250.0, 170.0, (ranged, false)).is_empty());
    let grown = look(50, 350.0, 250.0, free);
    let (size, actions) = &grown[&key()];
    assert!(*size > MilliCpu(200), "{size}");
    assert_eq!(actions.len(), 1);
    assert_eq!(actions[0].target().name, "a");
}

#[test]
fn a_release_waits_for_what_the_planner_wants_and_no_longer() {
    use crate::revision::growth::{Growth, Plan, Planned, Service, growth};
    use msars_domain::PodState;
    use msars_plan::{Guard, Reason};

    let mut grown = 0;
    for (rate, ms) in
        (1..=80).flat_map(|step| [(f64::from(step) * 5.0, 50.0), (f64::from(step), 20.0)])
    {
        let budget = Millis::new(ms).ok();
        let mut tick = tick(&[rate]);
        let seen = &mut tick.observations[0];
        seen.revisions[0].budget = budget;
        let (pods, tolerance) = (seen.pods.clone(), seen.behavior.scale_up.tolerance);
        let limits = Limits::default();
        let decision = decide(&tick, &mut analytic(&limits), &limits).remove(0);
        let waits = |pods: &[PodState]| {
            let planned = Planned {
                budget,
                acts: true,
                tolerance,
                decision: &decision,
            };
            let service = Service {
                budget,
                plan: Plan::Made(planned),
                pods,
                refused: None,
            };
            growth(&service, now())
        };
        let rose = decision.reason == Reason::LoadRose;
        let before = waits(&pods);
        assert_eq!(
            matches!(before, Growth::Growing { .. }),
            rose,
            "{rate} {ms}: {before:?}"
        );
        grown += usize::from(rose);
        let step = |guard: &Guard| matches!(guard, Guard::RateLimited { .. });
        if decision.guards.iter().any(step) {
            continue;
        }
        let mut pod = pods[0].clone();
        pod.asked = pod.asked.scaled_to(decision.wanted.size);
        pod.actual = pod.asked;
        let there = waits(&vec![pod; decision.wanted.replicas as usize]);
        let settled = matches!(there, Growth::Enough | Growth::Stuck(_));
        assert!(settled, "{rate} {ms}: {there:?}, {}", decision.explain());
    }
    assert!(grown > 20, "{grown}");
}
