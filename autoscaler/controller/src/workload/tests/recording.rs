//! The log of decisions: its lines, its bounds, its thread, its replay.

use std::collections::BTreeMap;
use std::io::{BufReader, Cursor};
use std::path::PathBuf;
use std::time::Duration;

use msars_domain::{MilliCpu, Reading};
use msars_plan::{Decision, Limits, Tick, decide, reflex};

use super::super::record::{Line, Log, ReflexLine, Target, TickLine};
use super::super::recorder::Recorder;
use super::super::reflex_input::{self, Pods, Subject};
use super::super::replay::replay;
use super::deciding::tick;
use super::now;
use crate::engine::analytic;

fn decided(tick: &Tick) -> Vec<Option<Decision>> {
    let limits = Limits::default();
    let made = decide(tick, &mut analytic(&limits), &limits);
    made.into_iter().map(Some).collect()
}

/// The lines of one tick.
fn lines(rates: &[f64]) -> Vec<Line> {
    let tick = tick(rates);
    TickLine::each(&tick, &Limits::default(), &decided(&tick)).collect()
}

fn log(folder: &tempfile::TempDir, bytes: u64) -> (Log, PathBuf) {
    let path = folder.path().join("decisions.jsonl");
    let target = Target::File {
        path: path.clone(),
        bytes,
    };
    (Log::new(target), path)
}

#[test]
fn recorded_decisions_replay_to_the_last_bit_and_a_changed_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, path) = log(&folder, 1 << 20);
    for rates in [&[30.0, 0.1 + 0.2][..], &[1.0 / 3.0], &[500.0]] {
        for line in lines(rates) {
            log.write(&line).unwrap();
        }
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 4, "one line per decision");
    let mut grew = 0;
    let replayed = replay(BufReader::new(Cursor::new(&text)), |at, workload, told| {
        assert_eq!((at, told.starts_with(&workload.to_string())), (now(), true));
        grew += usize::from(told.contains(" → "));
    });
    let replayed = replayed.unwrap();
    assert_eq!(replayed.decisions, 4);
    assert_eq!(replayed.different, Vec::<String>::new());
    assert!(
        grew > 0,
        "500 requests/s are more than two small pods carry"
    );

    let other = text.replace("\"replicas\":2", "\"replicas\":3");
    assert!(
        !replay(Cursor::new(other), |_, _, _| ())
            .unwrap()
            .different
            .is_empty()
    );
    // A killed program leaves half a line.
    let half = &text[..text.len() - 20];
    let replayed = replay(Cursor::new(half), |_, _, _| ()).unwrap();
    assert_eq!((replayed.decisions, replayed.unreadable), (3, vec![]));
}

#[test]
fn a_torn_line_takes_no_other_out_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (mut first, path) = log(&folder, 1 << 20);
    let one = lines(&[30.0]).remove(0);
    for _ in 0..2 {
        first.write(&one).unwrap();
    }
    // As a kill or a full disk leaves it; whoever opens the file anew goes on behind it.
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 20]).unwrap();
    for _ in 0..2 {
        log(&folder, 1 << 20).0.write(&one).unwrap();
    }
    let torn = std::fs::read(&path).unwrap();
    assert_eq!(torn.len(), text.len() * 2 - 19, "no line was begun in vain");
    // Torn within a character, as one glued to the next, and as something else.
    let mut spoilt = b"{\"tick\": \"\xe2\x82\n".to_vec();
    spoilt.extend(&text[..100]);
    spoilt.extend(&torn);
    spoilt.extend(b"{}\n");
    let replayed = replay(Cursor::new(spoilt), |_, _, _| ()).unwrap();
    assert_eq!(replayed.decisions, 2);
    assert_eq!(replayed.different, Vec::<String>::new());
    let told = replayed.unreadable.iter();
    let told: Vec<_> = told
        .filter_map(|line| line.split_once(" is no record of a decision: "))
        .map(|(line, _why)| line)
        .collect();
    assert_eq!(told, ["line 1", "line 2", "line 3", "line 6"]);
}

#[test]
fn a_decision_that_was_left_little_of_a_quota_replays_alone() {
    let mut tick = tick(&[500.0, 500.0]);
    for seen in &mut tick.observations {
        seen.headroom.limits = Some(MilliCpu(500));
        seen.quotas = vec!["team".into()];
    }
    let made = decided(&tick);
    let left: Vec<_> = made
        .iter()
        .flatten()
        .map(|one| one.headroom.limits)
        .collect();
    assert!(left[1] < left[0], "the first takes of it: {left:?}");
    let limits = Limits::default();
    let text: Vec<String> = TickLine::each(&tick, &limits, &made)
        .map(|line| serde_json::to_string(&line).unwrap())
        .collect();
    let replayed = replay(Cursor::new(text.join("\n") + "\n"), |_, _, _| ()).unwrap();
    assert_eq!(replayed.decisions, 2);
    assert_eq!(replayed.different, Vec::<String>::new());
}

#[test]
fn a_decision_that_failed_takes_no_other_out_of_the_log() {
    let tick = tick(&[30.0, 40.0, 500.0]);
    let mut decisions = decided(&tick);
    decisions[1] = None;
    let lines: Vec<Line> = TickLine::each(&tick, &Limits::default(), &decisions).collect();
    let lines: Vec<&TickLine> = lines
        .iter()
        .map(|line| match line {
            Line::Tick(line) => &**line,
            Line::Reflex(_) => panic!("no tick's line: {line:?}"),
        })
        .collect();
    let rates = lines.iter().map(|line| {
        let seen = &line.tick.observations[0];
        seen.signals.rate.value().unwrap().get()
    });
    assert_eq!(rates.collect::<Vec<f64>>(), [30.0, 500.0]);
    assert_eq!(lines[1].decisions, [decisions[2].clone().unwrap()]);
}

#[test]
fn the_log_is_bounded_by_two_files() {
    let folder = tempfile::tempdir().unwrap();
    let one = lines(&[30.0]).remove(0);
    let length = serde_json::to_vec(&one).unwrap().len() as u64 + 1;
    let bytes = length * 3 + 5;
    for _ in 0..2 {
        // Begun anew, it goes on in the same file.
        let (mut log, _path) = log(&folder, bytes);
        for _ in 0..10 {
            log.write(&one).unwrap();
        }
    }
    let files: Vec<u64> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    assert_eq!(files.len(), 2);
    assert!(
        files.iter().all(|length| *length <= bytes),
        "{files:?} of {bytes}"
    );
}

#[tokio::test]
async fn a_log_that_is_stuck_is_waited_for_neither_by_ticks_nor_for_ever() {
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let recorder = Recorder::by(move |_line| {
        // Until the test is over.
        let _gone = blocked.recv();
        Ok(())
    })
    .unwrap();
    let one = lines(&[30.0]);
    let taken = (0..100).filter(|_| recorder.record(one.clone())).count();
    assert!((8..=9).contains(&taken), "{taken} of 100 ticks wait");
    assert!(!recorder.end(Duration::from_millis(50)).await);
    drop(unblock);
}

#[tokio::test]
async fn what_was_handed_over_is_written_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (log, path) = log(&folder, 1 << 20);
    let recorder = Recorder::start(log).unwrap();
    for _ in 0..3 {
        assert!(recorder.record(lines(&[30.0, 40.0])));
    }
    assert!(recorder.end(Duration::from_mins(1)).await);
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().count(), 6);
}

#[test]
fn what_the_reflex_grew_replays_between_the_ticks() {
    let mut ticked = tick(&[30.0]);
    let seen = ticked.observations.remove(0);
    let state = ticked.states.remove(0);
    let subject = Subject {
        cpu: seen.cpu,
        pods: seen.pods.clone(),
        headroom: seen.headroom,
        seen: &seen,
        state: &state,
        hands_off: false,
    };
    let mut input = reflex_input::input(now(), &[subject], &BTreeMap::new(), &mut Pods::default());
    let limits = Limits::default();
    for pod in &mut input.pods {
        pod.throttled = Reading::Known {
            value: 0.1 + 0.2,
            at: now(),
        };
    }
    let actions = reflex(&input, &limits);
    assert!(!actions.is_empty());
    let of_tick = lines(&[30.0]).remove(0);
    let of_reflex = Line::Reflex(Box::new(ReflexLine {
        reflex: input,
        limits,
        actions,
    }));
    let text =
        [of_tick.clone(), of_reflex, of_tick].map(|line| serde_json::to_string(&line).unwrap());
    let text = text.join("\n") + "\n";
    let mut told = Vec::new();
    let replayed = replay(Cursor::new(&text), |_at, workload, sentence| {
        assert_eq!(workload, &seen.signals.workload);
        told.push(sentence.to_owned());
    })
    .unwrap();
    assert_eq!((replayed.decisions, replayed.unreadable), (3, vec![]));
    assert_eq!(replayed.different, Vec::<String>::new());
    assert!(
        told[1].contains("throttled pod(s) grew in place to"),
        "{told:?}"
    );

    let other = text.replace("0.30000000000000004", "0.9");
    let different = replay(Cursor::new(other), |_, _, _| ()).unwrap().different;
    assert!(
        different.len() == 1 && different[0].starts_with("line 2: recorded"),
        "{different:?}"
    );
}
