//! The log of decisions: one JSON line per decision with everything that went in and came out, and its replay.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufWriter, Read as _, Seek as _, SeekFrom, Write};
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
    /// Begins on a line of its own: a kill or a full disk may have left half of one.
    fn at(path: &Path) -> Result<Self, std::io::Error> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let mut length = file.metadata()?.len();
        if length > 0 && !whole(path)? {
            file.write_all(b"\n")?;
            length += 1;
        }
        Ok(Self {
            length,
            file: BufWriter::new(file),
        })
    }
}

/// Whether a file that is not empty ends with the end of a line.
fn whole(path: &Path) -> Result<bool, std::io::Error> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

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

/// Makes every recorded decision anew and compares the bytes. `each` gets every decision as it comes out now. A last
/// line without its end, as a killed program leaves it, is left out; one that cannot be read stops no other.
pub fn replay(
    mut log: impl BufRead,
    mut each: impl FnMut(&Tick, &Decision),
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

/// Makes the decisions of one line anew.
fn again(
    text: &[u8],
    number: usize,
    each: &mut impl FnMut(&Tick, &Decision),
    out: &mut Replayed,
) -> Result<(), serde_json::Error> {
    let line: Line = serde_json::from_slice(text)?;
    let made = decide(&line.tick, &mut analytic(&line.limits), &line.limits);
    out.decisions += made.len();
    for (index, now) in made.iter().enumerate() {
        each(&line.tick, now);
        let then = line.decisions.get(index).map(serde_json::to_string);
        if then.transpose()? != Some(serde_json::to_string(now)?) {
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
    Ok(())
}
