//! What every step has at hand: the cluster, the timeline, and waiting with a limit.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use msars_cluster::Cluster;
use serde_json::Value;

use crate::interrupt::Interrupt;
use crate::story::NAMESPACE;
use crate::timeline::Timeline;

/// Between two looks: holds are timed to this, and each look costs the node some CPU.
const LOOK: Duration = Duration::from_millis(700);
/// A wait says what it waits for so often.
const TELL_S: f64 = 15.0;

/// The stage of all steps.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The cluster that is up.
    pub cluster: &'a Cluster,
    /// What happened when.
    pub timeline: &'a Timeline,
    /// Whether the run was told to end.
    pub interrupt: &'a Interrupt,
    /// Where the workspace lies.
    pub root: PathBuf,
    /// Where programs lie.
    pub programs: PathBuf,
    /// Where the report goes.
    pub out: PathBuf,
}

/// What a look at the cluster found: `Break` with what was waited for, `Continue` with what is there instead.
pub type Look<T> = Result<ControlFlow<T, String>>;

impl Stage<'_> {
    /// Shows a line and keeps it for the page.
    pub fn say(&self, text: &str) {
        self.timeline.say("demo", text);
    }

    /// An object, or a list of them, in the shop's namespace.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn object(&self, args: &[&str]) -> Result<Value> {
        self.object_in(NAMESPACE, args)
    }

    /// An object, or a list of them, in a namespace.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn object_in(&self, namespace: &str, args: &[&str]) -> Result<Value> {
        let mut all = vec!["-n", namespace, "get", "-o", "json"];
        all.extend(args);
        let text = self.cluster.ask(&all)?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {}", all.join(" ")))
    }

    /// An object of the shop's namespace as it is stored; none when it is not there.
    ///
    /// # Errors
    /// When kubectl fails or answers no JSON.
    pub fn find(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        let missing = "--ignore-not-found";
        let words = ["-n", NAMESPACE, "get", kind, name, missing, "-o", "json"];
        let text = self.cluster.ask(words)?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        let found = serde_json::from_str(&text);
        Ok(Some(
            found.with_context(|| format!("kubectl {}", words.join(" ")))?,
        ))
    }

    /// A user's command, shown as it is typed; answers with standard output and standard error. A word may stand in
    /// single quotes, as a shell needs it; none may hold a space.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn command(&self, line: &str) -> Result<(String, String)> {
        self.timeline.say("kubectl", &format!("$ kubectl {line}"));
        let words = line.split_whitespace().map(|word| word.trim_matches('\''));
        let out = self.cluster.kubectl(words)?;
        let said = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        let warned = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        if !out.status.success() {
            bail!("kubectl {line}: {warned}");
        }
        for text in [&warned, &said].into_iter().flat_map(|text| text.lines()) {
            self.timeline.say("kubectl", text);
        }
        Ok((said, warned))
    }

    /// Looks until the answer is there; a look that fails counts as not yet.
    ///
    /// # Errors
    /// After `limit`, with what was expected and what was found; when the run was told to end.
    pub fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut() -> Look<T>,
    ) -> Result<T> {
        let start = self.timeline.seconds();
        let mut told = start;
        loop {
            self.interrupt.check()?;
            let found = match look() {
                Ok(ControlFlow::Break(value)) => return Ok(value),
                Ok(ControlFlow::Continue(found)) => found,
                Err(error) => {
                    self.interrupt.check()?;
                    format!("{error:#}")
                }
            };
            let now = self.timeline.seconds();
            if now - start >= limit.as_secs_f64() {
                bail!(
                    "expected within {} s: {what}; found: {found}",
                    limit.as_secs()
                );
            }
            if now - told >= TELL_S {
                told = now;
                self.timeline
                    .show(&format!("  waiting for {what}; so far: {found}"));
            }
            sleep(LOOK);
        }
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// When the run was told to end.
    pub fn pass(&self, what: &str, time: Duration) -> Result<()> {
        let end = self.timeline.seconds() + time.as_secs_f64();
        self.until(what, time * 2, || {
            let left = end - self.timeline.seconds();
            Ok(if left <= 0.0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(format!("{left:.0} s left"))
            })
        })
    }
}
