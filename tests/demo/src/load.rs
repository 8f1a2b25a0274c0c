//! Live load from outside the pods: the load driver as a child process, and what it reports.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use jiff::Timestamp;
use msars_domain::load::RunResult;
use msars_shop::FRONT_MIX;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::images::DRIVER;
use crate::report::{Requests, Seen, Slo};
use crate::stage::Stage;
use crate::story::{
    ENTRY, LOAD_LIMIT, PERCENTILE, STEP_S, SURGE_STEP_S, TARGET_MS, surge_trace, trace,
};

/// What the driver may take to end after it was told.
const END: Duration = Duration::from_secs(20);
/// The first windows answer soon after the start, or the load is no load.
const FIRST: Duration = Duration::from_mins(1);

/// A stretch of the load: one driver at a time, so that every request is in one report.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    name: &'static str,
    trace: String,
    step_s: f64,
}

impl Part {
    /// Days of a length.
    pub fn days(day_s: f64) -> Self {
        Self {
            name: "load",
            trace: trace(day_s),
            step_s: STEP_S,
        }
    }

    /// The sudden load.
    pub fn surge() -> Self {
        Self {
            name: "surge",
            trace: surge_trace(),
            step_s: SURGE_STEP_S,
        }
    }
}

/// The running load; ended when dropped.
#[derive(Debug)]
pub struct Load {
    child: Child,
    report: PathBuf,
    log: PathBuf,
}

impl Load {
    /// Starts the load on the front end's Service, and waits for its first answers.
    ///
    /// # Errors
    /// When the driver does not start or gets no answer.
    pub fn start(stage: &Stage<'_>, part: &Part) -> Result<Self> {
        let service = stage.object(&["service", ENTRY.name()])?;
        let address = service.pointer("/spec/clusterIP").and_then(Value::as_str);
        let address = address.context("the front end's Service has no address")?;
        let place = |kind: &str| stage.out.join(format!("{}.{kind}", part.name));
        let (file, report, log) = (place("trace.txt"), place("json"), place("log"));
        std::fs::write(&file, &part.trace)
            .with_context(|| format!("writing {}", file.display()))?;
        let errors = File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        let mut command = stage.cluster.enter(stage.programs.join(DRIVER));
        command
            .arg("run")
            .args(["--target", &format!("http://{address}:80")])
            .args(["--requests", FRONT_MIX])
            .arg("--trace")
            .arg(&file)
            .args(["--step", &format!("{}s", part.step_s), "--window", "5s"])
            .args(["--duration", &format!("{}s", LOAD_LIMIT.as_secs())])
            .arg("--report")
            .arg(&report)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors);
        let load = Self {
            child: spawn(&mut command)?,
            report,
            log,
        };
        stage.until("answers to the live load", FIRST, || {
            let last = load.last();
            Ok(if last.contains(" p99 ") {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(last)
            })
        })?;
        Ok(load)
    }

    /// The driver's last line.
    pub fn last(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().last().unwrap_or("nothing yet").to_owned()
    }

    fn tell(&self, signal: Signal) {
        if let Ok(id) = i32::try_from(self.child.id())
            && let Some(pid) = Pid::from_raw(id)
        {
            // Gone already is what is wanted.
            let _gone = kill_process(pid, signal);
        }
    }

    /// Stops the load and reads its report.
    ///
    /// # Errors
    /// When the driver ended by itself before, does not end, or leaves no report.
    pub fn finish(mut self, stage: &Stage<'_>) -> Result<RunResult> {
        if let Some(status) = self.child.try_wait()? {
            bail!(
                "the load ended before the scenario, {status}: {}",
                self.last()
            );
        }
        self.tell(Signal::TERM);
        stage.until("the end of the load", END, || {
            Ok(match self.child.try_wait()? {
                Some(status) if status.success() => ControlFlow::Break(()),
                Some(status) => ControlFlow::Continue(format!("{status}: {}", self.last())),
                None => ControlFlow::Continue("it runs".to_owned()),
            })
        })?;
        let text = std::fs::read_to_string(&self.report)
            .with_context(|| format!("reading {}", self.report.display()))?;
        serde_json::from_str(&text).context("the load's report")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.tell(Signal::KILL);
            // Reaped, so that its entry goes too; nothing can be done about a failure here.
            drop(self.child.wait());
        }
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().context("starting the load driver")
}

/// Counts and windows of all parts of the load, in seconds since `zero`.
pub fn seen(parts: &[RunResult], zero: Timestamp) -> (Requests, Vec<Seen>) {
    let mut requests = Requests::default();
    for total in parts.iter().map(|part| &part.total) {
        requests.sent += total.sent;
        requests.failed += total.failed;
        requests.dropped += total.dropped;
    }
    let windows = parts.iter().flat_map(|part| &part.windows).map(|window| {
        let seconds = window.end.duration_since(window.start).as_secs_f64();
        Seen {
            at_s: window.start.duration_since(zero).as_secs_f64() + seconds / 2.0,
            rate: window.tally.sent as f64 / seconds.max(0.001),
            p99_ms: window.tally.latency.map(|latency| latency.p99.get()),
            failed: window.tally.failed,
            asked: window.tally.sent + window.tally.dropped,
            lost: window.tally.failed + window.tally.dropped,
        }
    });
    (requests, windows.collect())
}

/// Share of the windows with requests whose p99 is over `target_ms`, that have no answer, or that lost a larger share of
/// their requests than the percentile leaves.
pub fn violation_rate(windows: &[Seen], target_ms: f64) -> f64 {
    let asked = || windows.iter().filter(|window| window.asked > 0);
    let over = asked().filter(|window| {
        let spared = window.asked as f64 * (1.0 - PERCENTILE / 100.0);
        window.lost as f64 > spared || window.p99_ms.is_none_or(|p99| p99 > target_ms)
    });
    over.count() as f64 / asked().count().max(1) as f64
}

fn histogram(part: &RunResult) -> Result<Histogram<u64>> {
    let bytes = STANDARD
        .decode(&part.histogram)
        .context("the load's histogram")?;
    Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| anyhow::anyhow!("the load's histogram: {error:?}"))
}

/// How the objective was met over all parts: what was answered in time, of all that was intended.
///
/// # Errors
/// When a histogram cannot be read, or they do not fit together.
pub fn slo(parts: &[RunResult]) -> Result<Slo> {
    let (first, rest) = parts.split_first().context("no load has run")?;
    let mut all = histogram(first)?;
    for part in rest {
        all.add(histogram(part)?)
            .map_err(|error| anyhow::anyhow!("the load's histograms: {error:?}"))?;
    }
    let target_us = (TARGET_MS * 1000.0) as u64;
    let within = all.count_between(0, target_us);
    let intended: u64 = parts
        .iter()
        .map(|part| part.total.sent + part.total.dropped)
        .sum();
    Ok(Slo {
        target_ms: TARGET_MS,
        percentile: PERCENTILE,
        attainment: within as f64 / intended.max(1) as f64,
        found_ms: all.value_at_quantile(PERCENTILE / 100.0) as f64 / 1000.0,
    })
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

    use super::*;

    fn result(latencies_us: &[u64]) -> RunResult {
        let mut histogram = Histogram::<u32>::new_with_bounds(1, 60_000_000, 3).unwrap();
        for us in latencies_us {
            histogram.saturating_record(*us);
        }
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&histogram, &mut bytes)
            .unwrap();
        let count = latencies_us.len() as u64;
        let tally = serde_json::json!({
            "sent": count, "failed": 1, "dropped": 0, "latency": null,
            "outcomes": {"success": count, "redirect": 0, "client_error": 0, "server_error": 0, "connection": 0, "timeout": 0},
        });
        let mut window = tally.clone();
        window["start"] = "2026-03-01T10:00:10Z".into();
        window["end"] = "2026-03-01T10:00:15Z".into();
        window["lag_p99_ms"] = 0.1.into();
        let whole = serde_json::json!({
            "started": "2026-03-01T10:00:10Z", "ended": "2026-03-01T10:00:15Z", "ended_by": "stop", "offered": 1.0,
            "total": tally, "windows": [window], "classes": [], "histogram": STANDARD.encode(bytes),
            "driver": {"cpu_us_per_request": 1.0, "cpu_cores": 0.1, "lag_p50_ms": 0.1, "lag_p99_ms": 0.1, "lag_max_ms": 0.1, "connections": 1},
        });
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn attainment_is_the_share_answered_in_time() {
        let parts = [result(&[1_000, 399_000, 500_000]), result(&[5_000_000])];
        let slo = slo(&parts).unwrap();
        assert!((slo.attainment - 0.5).abs() < 1e-9);
        assert!(slo.found_ms > 4_900.0);
        assert!(super::slo(&[]).is_err());
    }

    #[test]
    fn windows_are_told_in_seconds_since_the_start() {
        let zero = "2026-03-01T10:00:00Z".parse().unwrap();
        let parts = [result(&[1, 1, 1, 1, 1]), result(&[1])];
        let (requests, windows) = seen(&parts, zero);
        assert_eq!((requests.sent, requests.failed), (6, 2));
        assert_eq!(windows.len(), 2);
        assert!((windows[0].at_s - 12.5).abs() < 1e-9 && (windows[0].rate - 1.0).abs() < 1e-9);
        assert_eq!(windows[0].p99_ms, None);
    }

    #[test]
    fn a_window_over_the_objective_or_without_an_answer_violates_it() {
        let window = |asked, lost, p99_ms| Seen {
            at_s: 0.0,
            rate: 5.0,
            p99_ms,
            failed: 0,
            asked,
            lost,
        };
        let windows = [
            window(200, 2, Some(400.0)),
            window(200, 0, Some(400.1)),
            window(200, 0, None),
            window(0, 0, None),
            window(200, 3, Some(1.0)),
            // All of them were dropped.
            window(200, 200, None),
            window(200, 0, Some(1.0)),
        ];
        assert!((violation_rate(&windows, 400.0) - 4.0 / 6.0).abs() < 1e-9);
        assert!(violation_rate(&[], 400.0).abs() < 1e-9);
    }
}
