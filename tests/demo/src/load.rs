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
use crate::story::{ENTRY, LOAD_LIMIT, PERCENTILE, STEP_S, TARGET_MS, trace};

/// What the driver may take to end after it was told.
const END: Duration = Duration::from_secs(20);
/// The first windows answer soon after the start, or the load is no load.
const FIRST: Duration = Duration::from_mins(1);

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
    pub fn start(stage: &Stage<'_>, day_s: f64) -> Result<Self> {
        let service = stage.object(&["service", ENTRY.name()])?;
        let address = service.pointer("/spec/clusterIP").and_then(Value::as_str);
        let address = address.context("the front end's Service has no address")?;
        let file = stage.out.join("trace.txt");
        std::fs::write(&file, trace(day_s))
            .with_context(|| format!("writing {}", file.display()))?;
        let (report, log) = (stage.out.join("load.json"), stage.out.join("load.log"));
        let errors = File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        let mut command = stage.cluster.enter(stage.programs.join(DRIVER));
        command
            .arg("run")
            .args(["--target", &format!("http://{address}:80")])
            .args(["--requests", FRONT_MIX])
            .arg("--trace")
            .arg(&file)
            .args(["--step", &format!("{STEP_S}s"), "--window", "5s"])
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

/// Counts and windows of the load, in seconds since `zero`.
pub fn seen(result: &RunResult, zero: Timestamp) -> (Requests, Vec<Seen>) {
    let requests = Requests {
        sent: result.total.sent,
        failed: result.total.failed,
        dropped: result.total.dropped,
    };
    let windows = result.windows.iter().map(|window| {
        let seconds = window.end.duration_since(window.start).as_secs_f64();
        Seen {
            at_s: window.start.duration_since(zero).as_secs_f64() + seconds / 2.0,
            rate: window.tally.sent as f64 / seconds.max(0.001),
            p99_ms: window.tally.latency.map(|latency| latency.p99.get()),
            failed: window.tally.failed,
        }
    });
    (requests, windows.collect())
}

/// How the objective was met: what was answered in time, of all that was intended.
///
/// # Errors
/// When the histogram cannot be read.
pub fn slo(result: &RunResult) -> Result<Slo> {
    let bytes = STANDARD
        .decode(&result.histogram)
        .context("the load's histogram")?;
    let histogram: Histogram<u64> = Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| anyhow::anyhow!("the load's histogram: {error:?}"))?;
    let target_us = (TARGET_MS * 1000.0) as u64;
    let within = histogram.count_between(0, target_us);
    let intended = (result.total.sent + result.total.dropped).max(1);
    Ok(Slo {
        target_ms: TARGET_MS,
        percentile: PERCENTILE,
        attainment: within as f64 / intended as f64,
        found_ms: histogram.value_at_quantile(PERCENTILE / 100.0) as f64 / 1000.0,
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
        let slo = slo(&result(&[1_000, 399_000, 500_000, 5_000_000])).unwrap();
        assert!((slo.attainment - 0.5).abs() < 1e-9);
        assert!(slo.found_ms > 4_900.0);
    }

    #[test]
    fn windows_are_told_in_seconds_since_the_start() {
        let zero = "2026-03-01T10:00:00Z".parse().unwrap();
        let (requests, windows) = seen(&result(&[1, 1, 1, 1, 1]), zero);
        assert_eq!((requests.sent, requests.failed), (5, 1));
        assert!((windows[0].at_s - 12.5).abs() < 1e-9 && (windows[0].rate - 1.0).abs() < 1e-9);
        assert_eq!(windows[0].p99_ms, None);
    }
}
