//! The log of decisions: one JSON line per decision with everything that went in and came out.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use msars_domain::Action;
use msars_plan::{Decision, Limits, ReflexInput, Tick};
use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// A workload's decision in a tick.
    Tick(Box<TickLine>),
    /// What the reflex grew between two ticks.
    Reflex(Box<ReflexLine>),
}

/// The tick of one workload. All that a decision has of another workload is what that one left of their quotas, which
/// stands in its observation, so that it replays alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TickLine {
    /// What went in.
    pub tick: Tick,
    /// The planner's settings.
    pub limits: Limits,
    /// What came out, in the order of the tick's observations.
    pub decisions: Vec<Decision>,
}

/// One look of the reflex that grew something, at the workloads that it grew: what it leaves alone takes nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReflexLine {
    /// What went in.
    pub reflex: ReflexInput,
    /// The planner's settings.
    pub limits: Limits,
    /// The resizes that came out.
    pub actions: Vec<Action>,
}

impl TickLine {
    /// The lines of a tick, one for each decision that was made; one that failed stops no other's.
    pub fn each<'a>(
        tick: &'a Tick,
        limits: &'a Limits,
        decisions: &'a [Option<Decision>],
    ) -> impl Iterator<Item = Line> + 'a {
        let seen = tick.observations.iter().zip(decisions).enumerate();
        seen.filter_map(|(index, (seen, decision))| {
            let decision = decision.clone()?;
            let mut seen = seen.clone();
            seen.headroom = decision.headroom;
            Some(Line::Tick(Box::new(Self {
                tick: Tick {
                    now: tick.now,
                    seed: tick.seed,
                    observations: vec![seen],
                    states: tick.states.get(index).cloned().into_iter().collect(),
                },
                limits: limits.clone(),
                decisions: vec![decision],
            })))
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
