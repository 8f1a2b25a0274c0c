//! The log of decisions: one JSON line per decision with everything that went in and came out, and its replay.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufWriter, Write};
use std::path::{Path, PathBuf};

use msars_plan::{Decision, Limits, Tick, decide};
use serde::{Deserialize, Serialize};

use crate::engine::analytic;

/// One line: the tick of one workload. All that a decision has of another workload is what that one left of their quotas,
/// which stands in its observation, so that it replays alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What went in.
    pub tick: Tick,
    /// The planner's settings.
    pub limits: Limits,
    /// What came out, in the order of the tick's observations.
    pub decisions: Vec<Decision>,
}

impl Line {
    /// The lines of a tick, one for each decision that was made; one that failed stops no other's.
    pub fn each<'a>(
        tick: &'a Tick,
        limits: &'a Limits,
        decisions: &'a [Option<Decision>],
    ) -> impl Iterator<Item = Self> + 'a {
        let seen = tick.observations.iter().zip(decisions).enumerate();
        seen.filter_map(|(index, (seen, decision))| {
            let decision = decision.clone()?;
            let mut seen = seen.clone();
            seen.headroom = decision.headroom;
            Some(Self {
                tick: Tick {
                    now: tick.now,
                    seed: tick.seed,
                    observations: vec![seen],
                    states: tick.states.get(index).cloned().into_iter().collect(),
                },
                limits: limits.clone(),
                decisions: vec![decision],
            })
        })
    }
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The program's own output.
    Output,
    /// A file; before it is longer than `bytes` it becomes `FILE.1`, and a new one begins.
    File {
        /// The file.
        path: PathBuf,
        /// Its largest length, but for a single line that is longer.
        bytes: u64,
    },
}

/// Writes lines.
#[derive(Debug)]
pub struct Log {
    target: Target,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: BufWriter<File>,
    length: u64,
}

impl Log {
    /// Nothing is opened before the first line.
    pub fn new(target: Target) -> Self {
        Self { target, open: None }
    }

    /// Writes one line and flushes it; blocks.
    pub fn write(&mut self, line: &Line) -> Result<(), std::io::Error> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let Target::File { path, bytes } = &self.target else {
            let mut out = std::io::stdout().lock();
            out.write_all(&text)?;
            return out.flush();
        };
        let length = text.len() as u64;
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::at(path)?,
        };
        if open.length > 0 && open.length + length > *bytes {
            let mut old = path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(path, old)?;
            open = Open::at(path)?;
        }
        open.file.write_all(&text)?;
        open.file.flush()?;
        open.length += length;
        // After a failure it is opened anew: what is there counts.
        self.open = Some(open);
        Ok(())
    }
}

impl Open {
    fn at(path: &Path) -> Result<Self, std::io::Error> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self {
            length: file.metadata()?.len(),
            file: BufWriter::new(file),
        })
    }
}

/// What a replay found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Decisions made anew.
    pub decisions: usize,
    /// One sentence for each that came out differently.
    pub different: Vec<String>,
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
    /// A line is no record of a decision.
    #[error("line {line} is no record of a decision: {source}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl ReplayError {
    /// A bounded label.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::Line { .. } => "line",
        }
    }
}

/// Makes every recorded decision anew and compares the bytes. `each` gets every decision as it comes out now. A last
/// line without its end, as a killed program leaves it, is left out.
pub fn replay(
    mut log: impl BufRead,
    mut each: impl FnMut(&Tick, &Decision),
) -> Result<Replayed, ReplayError> {
    let mut out = Replayed::default();
    let mut text = String::new();
    for number in 1.. {
        text.clear();
        let read = log
            .read_line(&mut text)
            .map_err(|source| ReplayError::Read {
                line: number,
                source,
            })?;
        if read == 0 || !text.ends_with('\n') {
            break;
        }
        let wrong = |source| ReplayError::Line {
            line: number,
            source,
        };
        let line: Line = serde_json::from_str(&text).map_err(wrong)?;
        let made = decide(&line.tick, &mut analytic(&line.limits), &line.limits);
        out.decisions += made.len();
        for (index, now) in made.iter().enumerate() {
            each(&line.tick, now);
            let then = line.decisions.get(index).map(serde_json::to_string);
            let then = then.transpose().map_err(wrong)?;
            if then != Some(serde_json::to_string(now).map_err(wrong)?) {
                let told = line.decisions.get(index).map(Decision::explain);
                out.different.push(format!(
                    "line {number}: recorded \"{}\", now \"{}\"",
                    told.unwrap_or_default(),
                    now.explain()
                ));
            }
        }
        for gone in line.decisions.iter().skip(made.len()) {
            let told = gone.explain();
            out.different
                .push(format!("line {number}: recorded \"{told}\", now nothing"));
        }
    }
    Ok(out)
}
