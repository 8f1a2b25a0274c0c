//! What is asked of the load driver and what it answers: pure data, written as JSON between controller and load pod.
//!
//! Latency counts from the *intended* send time, so a stall of the target shows in every request that should have
//! been sent during it. Latencies hold all requests answered with a status below 500, and timed out ones with the
//! time they waited; other failures are counted only. Arrivals that were dropped have none: where there are any, the
//! slowest are missing, and whoever judges by the latencies counts them as lost.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Millis, Rate, RequestMix};

/// Hard upper bounds of one run over HTTP.
pub const LIMITS: Limits = Limits {
    duration_s: 120.0,
    requests: 100_000,
    rate: 2_000.0,
    in_flight: 2_000,
    windows: 1_000.0,
    timeout_ms: 60_000.0,
};

/// Upper bounds of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Seconds of sending.
    pub duration_s: f64,
    /// Requests sent.
    pub requests: u64,
    /// Requests per second.
    pub rate: f64,
    /// Requests waiting for their answer at once.
    pub in_flight: u32,
    /// Windows reported.
    pub windows: f64,
    /// Milliseconds a request may wait: the histogram's upper end.
    pub timeout_ms: f64,
}

/// One run: Poisson arrivals at a constant rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// `http://host:port`, without a path.
    pub target: String,
    /// What to send.
    pub requests: RequestMix,
    /// Mean arrivals per second.
    pub rate: Rate,
    /// Seconds of sending.
    pub duration_s: f64,
    /// Seconds per reported window.
    #[serde(default = "five_seconds")]
    pub windows_s: f64,
    /// Sending ends after so many requests.
    #[serde(default = "most_requests")]
    pub max_requests: u64,
    /// Requests waiting for their answer at once; an arrival above it is dropped and counted.
    #[serde(default = "usual_in_flight")]
    pub in_flight: u32,
    /// Seed of arrivals and choices: the same seed sends the same requests at the same offsets.
    #[serde(default)]
    pub seed: u64,
    /// A request without a full answer after so long has failed.
    #[serde(default = "usual_timeout")]
    pub timeout_ms: f64,
}

/// Why a run is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} is {found}, expected above 0 and at most {most}")]
pub struct OutOfBounds {
    /// Name of the field.
    pub field: &'static str,
    /// Its value.
    pub found: f64,
    /// The upper bound.
    pub most: f64,
}

fn five_seconds() -> f64 {
    5.0
}
fn most_requests() -> u64 {
    LIMITS.requests
}
fn usual_in_flight() -> u32 {
    200
}
fn usual_timeout() -> f64 {
    5_000.0
}

impl RunRequest {
    /// Checks every number against `limits`; the first one out of bounds is named.
    pub fn check(&self, limits: &Limits) -> Result<(), OutOfBounds> {
        let rows = [
            ("rate", self.rate.get(), limits.rate),
            ("duration_s", self.duration_s, limits.duration_s),
            (
                "windows_s",
                self.windows_s,
                self.duration_s.max(self.windows_s),
            ),
            ("windows", self.duration_s / self.windows_s, limits.windows),
            (
                "max_requests",
                self.max_requests as f64,
                limits.requests as f64,
            ),
            (
                "in_flight",
                f64::from(self.in_flight),
                f64::from(limits.in_flight),
            ),
            ("timeout_ms", self.timeout_ms, limits.timeout_ms),
        ];
        let bad = rows
            .iter()
            .find(|(_, found, most)| !(*found > 0.0 && found <= most));
        match bad {
            Some(&(field, found, most)) => Err(OutOfBounds { field, found, most }),
            None => Ok(()),
        }
    }
}

/// Why sending ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The duration or the trace is over.
    Time,
    /// The wanted number of requests was sent.
    Count,
    /// The program was told to stop.
    Stop,
}

/// How requests ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Status below 300.
    pub success: u64,
    /// Status 300 to 399; redirects are not followed.
    pub redirect: u64,
    /// Status 400 to 499; not failed: the service answered as it should.
    pub client_error: u64,
    /// Status 500 and above; failed.
    pub server_error: u64,
    /// No connection, or it broke before the full answer; failed.
    pub connection: u64,
    /// No full answer in time; failed.
    pub timeout: u64,
}

impl Outcomes {
    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.server_error + self.connection + self.timeout
    }
}

/// Latencies in milliseconds, to three digits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Requests counted.
    pub count: u64,
    /// Mean.
    #[serde(rename = "mean_ms")]
    pub mean: Millis,
    /// Median.
    #[serde(rename = "p50_ms")]
    pub p50: Millis,
    /// 90th percentile.
    #[serde(rename = "p90_ms")]
    pub p90: Millis,
    /// 95th percentile.
    #[serde(rename = "p95_ms")]
    pub p95: Millis,
    /// 99th percentile.
    #[serde(rename = "p99_ms")]
    pub p99: Millis,
    /// Largest.
    #[serde(rename = "max_ms")]
    pub max: Millis,
}

/// What happened to a set of intended requests. Arrivals intended = sent + dropped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Requests sent.
    pub sent: u64,
    /// Of those, failed.
    pub failed: u64,
    /// Never sent: the in-flight bound was reached, or the driver came later than the timeout.
    pub dropped: u64,
    /// The sent ones by outcome.
    pub outcomes: Outcomes,
    /// Latencies, without what was dropped; none without an answer.
    pub latency: Option<Latency>,
}

/// Requests *intended* within a span of wall time, whenever they were answered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// First instant.
    pub start: Timestamp,
    /// End, excluded; of the last window: when sending ended.
    pub end: Timestamp,
    /// Counts and latencies.
    #[serde(flatten)]
    pub tally: Tally,
    /// How late requests were sent, 99th percentile. It is part of the latencies and the driver's own doing.
    #[serde(rename = "lag_p99_ms")]
    pub lag_p99: Option<Millis>,
}

impl Window {
    /// Whether the driver itself was later than `most` in its 99th percentile, so that the window says little about
    /// the target. False without a request.
    pub fn driver_late(&self, most: Millis) -> bool {
        self.lag_p99.is_some_and(|lag| lag > most)
    }
}

/// One kind of request over the whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// Method and path.
    pub request: String,
    /// Counts and latencies.
    #[serde(flatten)]
    pub tally: Tally,
}

/// What the driver itself cost and how late it was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Driver {
    /// CPU time of the driver's whole process during the run, per sent request, in microseconds.
    pub cpu_us_per_request: f64,
    /// CPU time of the driver's whole process per second of the run, in cores.
    pub cpu_cores: f64,
    /// How late requests were sent, median.
    #[serde(rename = "lag_p50_ms")]
    pub lag_p50: Millis,
    /// How late requests were sent, 99th percentile.
    #[serde(rename = "lag_p99_ms")]
    pub lag_p99: Millis,
    /// How late requests were sent, at most.
    #[serde(rename = "lag_max_ms")]
    pub lag_max: Millis,
    /// Connections opened, failed attempts included.
    pub connections: u64,
}

/// The answer of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// When the first request could be sent.
    pub started: Timestamp,
    /// When sending ended.
    pub ended: Timestamp,
    /// Why it ended.
    pub ended_by: EndedBy,
    /// Arrivals intended per second.
    pub offered: Rate,
    /// The whole run.
    pub total: Tally,
    /// Span by span, in order, without gaps.
    pub windows: Vec<Window>,
    /// By method and path, in the order of the list.
    pub classes: Vec<Class>,
    /// The run's latencies in microseconds: HDR histogram V2, deflated, base64.
    pub histogram: String,
    /// The driver's own cost.
    pub driver: Driver,
}

#[cfg(test)]
mod tests {
    use super::*;

    type Spoil = fn(&mut RunRequest);

    #[test]
    fn a_short_request_gets_defaults_and_bounds_are_named() {
        let text = r#"{"target": "http://a:80", "requests": "GET /", "rate": 10, "duration_s": 4}"#;
        let run: RunRequest = serde_json::from_str(text).unwrap();
        assert_eq!((run.in_flight, run.max_requests), (200, 100_000));
        assert_eq!(run.check(&LIMITS), Ok(()));
        let table: [(&str, Spoil); 7] = [
            ("rate", |r| r.rate = Rate::new(2001.0).unwrap()),
            ("rate", |r| r.rate = Rate::new(0.0).unwrap()),
            ("duration_s", |r| r.duration_s = 120.5),
            ("windows_s", |r| r.windows_s = f64::NAN),
            ("windows", |r| r.windows_s = 1e-9),
            ("in_flight", |r| r.in_flight = 0),
            ("max_requests", |r| r.max_requests = 100_001),
        ];
        for (field, spoil) in table {
            let mut bad = run.clone();
            spoil(&mut bad);
            assert_eq!(bad.check(&LIMITS).unwrap_err().field, field);
        }
    }

    #[test]
    fn results_read_back() {
        let tally = Tally {
            sent: 3,
            failed: 1,
            dropped: 0,
            outcomes: Outcomes {
                success: 2,
                timeout: 1,
                ..Outcomes::default()
            },
            latency: None,
        };
        assert_eq!(tally.outcomes.failed(), 1);
        let window = Window {
            start: Timestamp::UNIX_EPOCH,
            end: Timestamp::UNIX_EPOCH,
            tally,
            lag_p99: Millis::new(2.0).ok(),
        };
        let json = serde_json::to_value(window).unwrap();
        assert_eq!(json["start"], "1970-01-01T00:00:00Z");
        assert_eq!(json["sent"], 3);
        assert_eq!(serde_json::from_value::<Window>(json).unwrap(), window);
        assert!(window.driver_late(Millis::new(1.9).unwrap()));
        assert!(!window.driver_late(Millis::new(2.0).unwrap()));
    }
}
