//! Recorded decisions made anew. Pure.

use std::io::BufRead;

use jiff::Timestamp;
use msars_domain::{Action, ObjectKey};
use msars_plan::{Decision, ReflexInput, decide, reflex};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::record::{ReflexLine, TickLine};
use super::reflex_input::{by_workload, grew};
use crate::engine::analytic;

/// What a replay found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Decisions made anew.
    pub decisions: usize,
    /// One sentence for each that came out differently.
    pub different: Vec<String>,
    /// One sentence for each line that is no record of a decision.
    pub unreadable: Vec<String>,
}

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error("reading line {line}: {source}")]
    Read {
        /// Its number, from 1.
        line: usize,
        /// What happened.
        source: std::io::Error,
    },
}

impl ReplayError {
    /// A bounded label.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
        }
    }
}

/// Makes every recorded decision anew and compares the bytes. `each` gets every one as it comes out now: its time, its
/// workload, its sentence. A last line without its end, as a killed program leaves it, is left out; one that cannot be
/// read stops no other.
pub fn replay(
    mut log: impl BufRead,
    mut each: impl FnMut(Timestamp, &ObjectKey, &str),
) -> Result<Replayed, ReplayError> {
    let mut out = Replayed::default();
    // A line that was torn within a character is no text.
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let read = log
            .read_until(b'\n', &mut text)
            .map_err(|source| ReplayError::Read {
                line: number,
                source,
            })?;
        if read == 0 || !text.ends_with(b"\n") {
            break;
        }
        if let Err(why) = again(&text, number, &mut each, &mut out) {
            out.unreadable
                .push(format!("line {number} is no record of a decision: {why}"));
        }
    }
    Ok(out)
}

/// Which line it is: those of ticks are as old as the log, and have no word of their own for it.
#[derive(Deserialize)]
struct Kind {
    reflex: Option<IgnoredAny>,
}

/// Makes the decisions of one line anew.
fn again(
    text: &[u8],
    number: usize,
    each: &mut impl FnMut(Timestamp, &ObjectKey, &str),
    out: &mut Replayed,
) -> Result<(), serde_json::Error> {
    let kind: Kind = serde_json::from_slice(text)?;
    if kind.reflex.is_some() {
        grown_again(&serde_json::from_slice(text)?, number, each, out)
    } else {
        decided_again(&serde_json::from_slice(text)?, number, each, out)
    }
}

fn decided_again(
    line: &TickLine,
    number: usize,
    each: &mut impl FnMut(Timestamp, &ObjectKey, &str),
    out: &mut Replayed,
) -> Result<(), serde_json::Error> {
    let made = decide(&line.tick, &mut analytic(&line.limits), &line.limits);
    out.decisions += made.len();
    for (index, now) in made.iter().enumerate() {
        let told = now.explain();
        each(line.tick.now, &now.workload, &told);
        let then = line.decisions.get(index);
        if then.map(serde_json::to_string).transpose()? != Some(serde_json::to_string(now)?) {
            let then = then.map(Decision::explain).unwrap_or_default();
            out.different.push(differs(number, &then, &told));
        }
    }
    for gone in line.decisions.iter().skip(made.len()) {
        out.different
            .push(differs(number, &gone.explain(), "nothing"));
    }
    Ok(())
}

fn grown_again(
    line: &ReflexLine,
    number: usize,
    each: &mut impl FnMut(Timestamp, &ObjectKey, &str),
    out: &mut Replayed,
) -> Result<(), serde_json::Error> {
    let input = &line.reflex;
    let made = reflex(input, &line.limits);
    out.decisions += 1;
    let same = serde_json::to_string(&made)? == serde_json::to_string(&line.actions)?;
    let made = sentences(input, made);
    for (workload, told) in &made {
        each(input.now, workload, told);
    }
    if !same {
        let told = |all: Vec<(ObjectKey, String)>| {
            let all: Vec<String> = all.into_iter().map(|(_, told)| told).collect();
            all.join(", ")
        };
        let then = told(sentences(input, line.actions.clone()));
        out.different.push(differs(number, &then, &told(made)));
    }
    Ok(())
}

/// What grew, by workload.
fn sentences(input: &ReflexInput, actions: Vec<Action>) -> Vec<(ObjectKey, String)> {
    by_workload(input, actions)
        .into_iter()
        .map(|(workload, (size, actions))| {
            let told = format!("{workload}: {}", grew(actions.len(), size));
            (workload, told)
        })
        .collect()
}

fn differs(number: usize, then: &str, now: &str) -> String {
    format!("line {number}: recorded \"{then}\", now \"{now}\"")
}
