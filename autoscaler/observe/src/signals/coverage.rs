//! How old and how complete measurements of a workload are.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use msars_domain::Unknown;

use crate::answer::{Sample, instant};
use crate::scope::Pod;

/// When each pod was last read, by namespace and name.
pub(super) type Seen<'a> = HashMap<(&'a str, &'a str), f64>;

/// What part of a workload's pods was measured lately.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Coverage {
    /// The oldest of the pods' newest samples.
    pub(super) at: Timestamp,
    /// Pods measured.
    covered: usize,
    /// Of them, those whose newest sample gives a true rate.
    prompt: usize,
    /// Pods that should be.
    expected: usize,
}

impl Coverage {
    /// The time for a sum of rates over all pods: a missing pod would make it too small, and so would more than one in
    /// ten that missed a scrape.
    pub(super) fn rate(self) -> Result<Timestamp, Unknown> {
        if (self.expected - self.prompt) * 10 <= self.expected {
            self.all()
        } else {
            Err(Unknown::Stale)
        }
    }

    /// The time for a sum of rates that lacks some pods: where there is none over all, it is a lower bound.
    pub(super) fn part(self) -> Option<Timestamp> {
        self.rate().is_err().then_some(self.at)
    }

    /// The time for a sum over all pods that does not depend on how old their newest samples are.
    pub(super) fn all(self) -> Result<Timestamp, Unknown> {
        if self.covered == self.expected {
            Ok(self.at)
        } else {
            Err(Unknown::Stale)
        }
    }

    /// The time for a share, mean or quantile: half of the pods speak for all.
    pub(super) fn share(self) -> Result<Timestamp, Unknown> {
        if self.covered * 2 >= self.expected {
            Ok(self.at)
        } else {
            Err(Unknown::Stale)
        }
    }
}

pub(super) fn seen<'a>(samples: &'a [Sample], namespace: &str, pod: &str) -> Seen<'a> {
    let row = |sample: &'a Sample| {
        let namespace = sample.labels.get(namespace)?;
        let pod = sample.labels.get(pod)?;
        Some(((namespace.as_str(), pod.as_str()), sample.value))
    };
    samples.iter().filter_map(row).collect()
}

/// Whether a pod was Ready all through the last `window`.
pub(super) fn mature(pod: &Pod, now: Timestamp, window: Duration) -> bool {
    pod.ready_since
        .is_some_and(|since| now.duration_since(since).as_secs_f64() >= window.as_secs_f64())
}

/// Coverage of `pods`, the times of each one's newest sample if it has any: `NoSeries` if none has, `Stale` if none is
/// younger than `limits[1]`; rates are true up to `limits[0]`.
pub(super) fn coverage(
    pods: impl IntoIterator<Item = Option<f64>>,
    now: Timestamp,
    limits: [Duration; 2],
) -> Result<Coverage, Unknown> {
    let mut why = Unknown::NoSeries;
    let mut at: Option<Timestamp> = None;
    let (mut covered, mut prompt, mut expected) = (0, 0, 0);
    for seconds in pods {
        expected += 1;
        let Some(seconds) = seconds else { continue };
        let Some(time) = instant(seconds) else {
            why = Unknown::NotANumber;
            continue;
        };
        let age = now.duration_since(time).as_secs_f64();
        if age > limits[1].as_secs_f64() {
            why = Unknown::Stale;
            continue;
        }
        covered += 1;
        prompt += usize::from(age <= limits[0].as_secs_f64());
        at = Some(at.map_or(time, |oldest| oldest.min(time)));
    }
    match at {
        Some(at) => Ok(Coverage {
            at,
            covered,
            prompt,
            expected,
        }),
        None => Err(why),
    }
}
