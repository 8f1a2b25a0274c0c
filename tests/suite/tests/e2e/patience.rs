//! Waiting for a tick or two: looks far enough apart that they leave the machine to what is looked at.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::bed::every;
use crate::clock::Watch;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Longer than the time between two decisions: what was not done by then was decided against.
pub const TICK: u64 = 17;
/// From a change of an annotation to a decision that knows it: a round of the objectives, then a tick.
pub const SOON: u64 = 45;

/// Asks until there is an answer, as [`crate::bed::until`] does.
pub fn slowly<T>(
    what: &str,
    seconds: u64,
    ask: impl FnMut() -> Result<Result<T, String>>,
) -> Result<T> {
    every(LOOK, what, seconds, ask)
}

/// That something holds at every look for so long.
pub fn stays(
    what: &str,
    seconds: u64,
    mut ask: impl FnMut() -> Result<Result<(), String>>,
) -> Result<()> {
    let watch = Watch::start();
    while watch.elapsed() < Duration::from_secs(seconds) {
        if let Err(seen) = ask().with_context(|| format!("while looking whether {what}"))? {
            bail!(
                "expected: {what}, for {seconds} s; found after {:.0} s: {seen}",
                watch.seconds()
            );
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
