//! Which workloads are asked about, and over which windows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use msars_domain::{ObjectKey, Percentile};

/// A serving pod: no shadow pod, not being deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its Deployment, in the pod's namespace.
    pub workload: String,
    /// Value of its `pod-template-hash` label.
    pub revision: String,
    /// Since when it is Ready; `None` while it is not: it then counts for nothing.
    pub ready_since: Option<Timestamp>,
    /// The container whose CPU counts; all of them unless given.
    pub container: Option<String>,
}

/// Windows and intervals of all queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Scrape interval of Prometheus.
    pub scrape: Duration,
    /// How long after its start a scrape may take to be seen.
    pub late: Duration,
    /// Longest interval between two cAdvisor samples of one container (the kubelet's housekeeping).
    pub housekeeping: Duration,
    /// Wanted short window of rates.
    pub short: Duration,
    /// Wanted window of quantiles and means.
    pub tail: Duration,
    /// How far back the peak rate looks.
    pub peak: Duration,
    /// Age from which a sample is stale.
    pub stale: Duration,
}

impl Default for Windows {
    /// Prometheus' and the kubelet's usual 15 s and 10 s; 30 s, 2 min, 10 min, and stale after a minute.
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            scrape: s(15),
            late: s(2),
            housekeeping: s(10),
            short: s(30),
            tail: s(120),
            peak: s(600),
            stale: s(60),
        }
    }
}

impl Windows {
    /// The short window as used: at least two and a half scrapes, so that two samples lie within it even if a scrape
    /// is late, rounded up to a second.
    pub fn rate(&self) -> Duration {
        ceil(self.short.max(self.scrape.mul_f64(2.5)))
    }
    /// The quantile window as used: no shorter than the rate's.
    pub fn tail(&self) -> Duration {
        ceil(self.tail).max(self.rate())
    }
    /// The CPU window as used. cAdvisor's samples carry their own time: the newest is up to a scrape and a
    /// housekeeping interval old, and so is the one before it.
    pub fn cpu(&self) -> Duration {
        ceil(self.short.max((self.scrape + self.housekeeping) * 2))
    }
    /// The stale limit of request metrics as used: no shorter than the rate's window.
    pub fn stale(&self) -> Duration {
        self.stale.max(self.rate())
    }
    /// Age up to which a counter's newest sample gives its true rate. Where the newest sample is more than 1.1 intervals
    /// old, Prometheus extrapolates by half an interval only, so that rates of a pod that misses scrapes fall.
    pub fn prompt(&self) -> Duration {
        self.scrape.mul_f64(1.1) + self.late
    }
    /// The stale limit of cAdvisor's samples as used.
    pub fn stale_cpu(&self) -> Duration {
        self.stale() + self.housekeeping
    }
}

fn ceil(duration: Duration) -> Duration {
    let up = u64::from(duration.subsec_nanos() > 0);
    Duration::from_secs(duration.as_secs() + up)
}

/// What one round of observation covers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scope {
    /// Windows.
    pub windows: Windows,
    /// Workloads, each with the percentile of its objective.
    pub workloads: BTreeMap<ObjectKey, Percentile>,
    /// Serving pods by namespace and name. A workload without pods has no signals.
    pub pods: BTreeMap<ObjectKey, Pod>,
}

/// From this many namespaces on, queries name none.
const NAMED_NAMESPACES: usize = 500;

/// Those of some namespaces that queries name; `None` for all.
pub(crate) fn named<'a, 'n>(all: &'a BTreeSet<&'n str>) -> Option<&'a BTreeSet<&'n str>> {
    (all.len() < NAMED_NAMESPACES).then_some(all)
}

impl Scope {
    /// The namespaces of all workloads.
    pub(crate) fn namespaces(&self) -> BTreeSet<&str> {
        self.workloads
            .keys()
            .map(|k| k.namespace.as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_two_samples_whatever_was_asked() {
        let usual = Windows::default();
        assert_eq!(usual.rate(), Duration::from_secs(38));
        assert_eq!(usual.cpu(), Duration::from_secs(50));
        assert_eq!(usual.tail(), Duration::from_mins(2));
        let quick = Windows {
            scrape: Duration::from_secs(5),
            ..usual
        };
        assert_eq!(quick.rate(), Duration::from_secs(30));
        assert_eq!(quick.cpu(), Duration::from_secs(30));
        let slow = Windows {
            scrape: Duration::from_mins(1),
            ..usual
        };
        assert_eq!(slow.rate(), Duration::from_secs(150));
        assert_eq!(slow.tail(), Duration::from_secs(150));
        assert_eq!(slow.stale(), Duration::from_secs(150));
    }
}
