use std::io::{BufReader, Cursor, Write as _};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use msars_plan::{Decision, Engines, Forecast, Limits, Policy, Proposal, State, Tick, decide};

use super::super::record::{Line, Log, Target, replay};
use super::*;
use crate::engine::{Engine, analytic};

fn tick(rates: &[f64]) -> Tick {
    Tick {
        now: now(),
        seed: 1,
        observations: rates.iter().map(|rate| seen(*rate).1).collect(),
        states: vec![State::default(); rates.len()],
    }
}

fn decided(tick: &Tick) -> Vec<Decision> {
    let limits = Limits::default();
    decide(tick, &mut analytic(&limits), &limits)
}

fn line(rates: &[f64]) -> Line {
    let tick = tick(rates);
    let decisions = decided(&tick);
    Line {
        tick,
        limits: Limits::default(),
        decisions,
    }
}

#[test]
fn recorded_ticks_replay_to_the_last_bit_and_a_changed_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("decisions.jsonl");
    let log = Log::new(Target::File {
        path: path.clone(),
        bytes: 1 << 20,
    });
    for rates in [&[30.0, 0.1 + 0.2][..], &[1.0 / 3.0], &[500.0]] {
        log.write(&line(rates)).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let mut grew = 0;
    let replayed = replay(BufReader::new(Cursor::new(&text)), |_tick, decision| {
        grew += usize::from(decision.wanted.grows_from(decision.current));
    });
    let replayed = replayed.unwrap();
    assert_eq!((replayed.ticks, replayed.decisions), (3, 4));
    assert_eq!(replayed.different, Vec::<String>::new());
    assert!(
        grew > 0,
        "500 requests/s are more than two small pods carry"
    );

    let other = text.replace("\"replicas\":2", "\"replicas\":3");
    assert!(
        !replay(Cursor::new(other), |_, _| ())
            .unwrap()
            .different
            .is_empty()
    );
    // A killed program leaves half a line.
    let half = &text[..text.len() - 20];
    assert_eq!(replay(Cursor::new(half), |_, _| ()).unwrap().ticks, 2);
    assert_eq!(
        replay(Cursor::new("{}\n"), |_, _| ()).map_err(|error| error.category()),
        Err("line")
    );
}

#[test]
fn the_log_is_bounded_by_two_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("decisions.jsonl");
    std::fs::File::create(&path)
        .unwrap()
        .write_all(b"")
        .unwrap();
    let one = serde_json::to_vec(&line(&[30.0])).unwrap().len() as u64;
    let log = Log::new(Target::File {
        path: path.clone(),
        bytes: one * 3,
    });
    for _ in 0..20 {
        log.write(&line(&[30.0])).unwrap();
    }
    let files: Vec<u64> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    assert_eq!(files.len(), 2);
    assert!(
        files.iter().all(|length| *length <= one * 4 + 10),
        "{files:?} of {one}"
    );
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
    use msars_plan::reflex;

    let (_workload, seen) = seen(30.0);
    let state = State::default();
    let limits = Limits::default();
    let mut pods = Pods::default();
    let mut look = |second: i64, all: f64, throttled: f64, hands_off: bool| {
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
            pods: seen.pods.clone(),
            state: &state,
            hands_off,
        };
        let input = input(at, &[subject], &periods, &mut pods);
        let actions = reflex(&input, &limits);
        by_workload(&input, actions)
    };
    // The first look has nothing to compare with.
    assert!(look(0, 100.0, 90.0, false).is_empty());
    // Four of a hundred are fine, and a counter that ran backwards says nothing.
    assert!(look(10, 200.0, 94.0, false).is_empty());
    assert!(look(20, 50.0, 10.0, false).is_empty());
    assert!(look(30, 150.0, 90.0, true).is_empty());
    let grown = look(40, 250.0, 170.0, false);
    let (size, actions) = &grown[&key()];
    assert!(*size > MilliCpu(200), "{size}");
    assert_eq!(actions.len(), 1);
    assert_eq!(actions[0].target().name, "a");
}
