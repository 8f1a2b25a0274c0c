//! What is tried again, and when: a moment without an API server must not cost a profile, and a right that is missing
//! must not be asked for at every event.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use msars_client::apply::Applied;
use msars_domain::{Action, ObjectKey};

use super::measure::Bench;
use super::task::JobError;
use crate::own::OwnError;

/// Between two tries of one write.
pub const PAUSE: Duration = Duration::from_millis(500);
/// Longest time of one write of an own object.
const WITHIN: Duration = Duration::from_secs(5);
/// Tries of an action.
const TRIES: u32 = 3;
/// Until a write is tried again whose failure does not pass by itself.
const REFUSED: SignedDuration = SignedDuration::from_secs(30);
/// Until one is that got no answer.
const UNANSWERED: SignedDuration = SignedDuration::from_secs(1);

/// Whether the same request may succeed a moment later: there was no answer, or one that asks to come back.
pub fn passes(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500..=599),
        kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) => false,
        _ => true,
    }
}

/// Why an own object was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No answer in time.
    #[error("no answer within {} s", WITHIN.as_secs())]
    Late,
    /// An answer that says why.
    #[error(transparent)]
    Own(#[from] OwnError),
}

impl WriteError {
    /// A bounded label for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Late => "unavailable",
            Self::Own(error) => error.category(),
        }
    }

    /// Whether the same write may succeed a moment later.
    pub fn retry(&self) -> bool {
        match self {
            Self::Late => true,
            Self::Own(error) => error.category() == "conflict" || cause(error).is_some_and(passes),
        }
    }

    /// Whether it is the next leader's to write.
    pub fn left(&self) -> bool {
        self.category() == "not_leading"
    }

    /// Whether there is no such object.
    pub fn gone(&self) -> bool {
        self.category() == "gone"
    }
}

fn cause(error: &OwnError) -> Option<&kube::Error> {
    std::error::Error::source(error)?.downcast_ref::<kube::Error>()
}

/// Writes an own object, unless that takes too long.
pub async fn within<T>(write: impl Future<Output = Result<T, OwnError>>) -> Result<T, WriteError> {
    match tokio::time::timeout(WITHIN, write).await {
        Ok(ended) => Ok(ended?),
        Err(_elapsed) => Err(WriteError::Late),
    }
}

/// Performs an action, a few times where it got no answer.
///
/// # Errors
/// When it was not performed; [`JobError::Stopped`] where it is left to the next leader.
pub async fn apply(bench: &Bench, action: &Action) -> Result<Applied, JobError> {
    for _try in 1..TRIES {
        match bench.apply(action).await.ok_or(JobError::Stopped)? {
            Err(error) if error.retry() => tracing::info!(%error, "an action is tried again"),
            ended => return Ok(ended?),
        }
        tokio::time::sleep(PAUSE).await;
    }
    let ended = bench.apply(action).await.ok_or(JobError::Stopped)?;
    Ok(ended?)
}

/// Actions that failed, by kind and object, and when each may be tried again.
#[derive(Debug, Default)]
pub struct Failures(BTreeMap<(&'static str, ObjectKey), Timestamp>);

impl Failures {
    /// Whether the same failed too short a time ago.
    pub fn wait(&self, action: &Action, now: Timestamp) -> bool {
        let again = self.0.get(&named(action));
        again.is_some_and(|again| now < *again)
    }

    /// Takes down a failure; one that does not pass by itself is not tried again for longer.
    pub fn failed(&mut self, action: &Action, retry: bool, now: Timestamp) {
        let pause = if retry { UNANSWERED } else { REFUSED };
        self.0.insert(named(action), now + pause);
    }

    /// Forgets an action that was answered.
    pub fn answered(&mut self, action: &Action) {
        self.0.remove(&named(action));
    }

    /// Forgets all about objects that are not there any more.
    pub fn keep(&mut self, there: impl Fn(&ObjectKey) -> bool) {
        self.0.retain(|(_, object), _| there(object));
    }
}

fn named(action: &Action) -> (&'static str, ObjectKey) {
    (action.kind(), action.target().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn sweep(name: &str) -> Action {
        Action::DeletePod {
            pod: ObjectKey::new("shop", name),
            uid: None,
        }
    }

    #[test]
    fn a_refused_action_rests_and_another_object_does_not_wait_for_it() {
        let mut failures = Failures::default();
        failures.failed(&sweep("a"), false, at(100));
        failures.failed(&sweep("b"), true, at(100));
        let patch = Action::PatchDeployment {
            target: ObjectKey::new("shop", "a"),
            patch: Vec::new(),
        };
        for (action, second, wanted) in [
            (&sweep("a"), 100, true),
            (&sweep("a"), 129, true),
            (&sweep("a"), 130, false),
            (&sweep("b"), 100, true),
            (&sweep("b"), 101, false),
            (&sweep("c"), 100, false),
            (&patch, 100, false),
        ] {
            let found = failures.wait(action, at(second));
            assert_eq!(found, wanted, "{action:?} at {second}");
        }
        failures.keep(|object| object.name == "b");
        assert!(!failures.wait(&sweep("a"), at(100)), "it is gone");
        failures.answered(&sweep("b"));
        assert!(failures.0.is_empty());
    }

    #[test]
    fn unreadable_answers_do_not_pass() {
        let error = serde_json::from_str::<u8>("x").unwrap_err();
        assert!(!passes(&kube::Error::SerdeError(error)));
    }
}
