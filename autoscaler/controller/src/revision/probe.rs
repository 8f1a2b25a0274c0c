//! Driving a copy: size, warm-up, window, point by point.

use std::collections::BTreeSet;
use std::time::Duration;

use msars_domain::load::{RunRequest, RunResult};
use msars_domain::{MilliCpu, Millis, ObjectKey, Rate, authority};
use msars_llp::{Done, Next, Plan, Point, next_probe};
use tokio::sync::watch;

use super::answers::turned_away;
use super::counters::{Counters, Waited, times};
use super::cpu::CpuLog;
use super::driven::{Verdict, in_flight, intended_and_lost, stable, verdict};
use super::measure::{Bench, Subject};
use super::size::{Resized, resize, without};
use super::task::{Job, JobError, Progress};

/// Shortest length of a measured window in seconds.
const WINDOW_S: f64 = 4.0;
/// Length of one warm-up in seconds.
const WARM_S: f64 = 1.8;
/// Spans of a warm-up whose p50 is compared.
const WARM_SPANS: f64 = 3.0;
/// Warm-ups before a window, at most.
const WARM_UPS: u64 = 2;
/// Share of the requests that CPU samples must cover before the fit: the mean work of that many is about as sure as
/// that of all, and samples come up to 15 s late.
const COVERED: f64 = 0.6;
/// How long probing waits for the first samples of CPU, in seconds.
const KNOW_S: f64 = 12.0;
/// What is kept of the time budget for the fit, in seconds.
const FIT_S: f64 = 6.0;

/// What probing is to take in seconds, so that a rollout waits less than a minute.
const GOAL_S: f64 = 52.0;

/// Whether probing is behind its goal after so many seconds, when of so many windows some are to come and each takes so
/// long at least. A plan that takes longer anyway, as with many rates of the user's, has no goal.
fn behind(elapsed: f64, (to_come, all): (usize, usize), least: f64) -> bool {
    let after = |windows: usize| windows as f64 * least;
    after(all) <= GOAL_S && elapsed + after(to_come) > GOAL_S
}

/// How long probing may wait for samples of CPU with so many seconds left, of which a window needs some.
fn patience(left: f64, needed: f64) -> Duration {
    Duration::from_secs_f64((left - needed).clamp(0.0, KNOW_S))
}

/// What is said where CPU was found neither on the copy's own page nor on that of its node's kubelet.
fn unread(metrics: Option<&(u16, String)>, node: &str) -> String {
    let own = match metrics {
        Some((port, path)) => format!("its metrics page :{port}{path} shows none"),
        None => "its template names no metrics page".to_owned(),
    };
    format!(
        "the CPU of the copy could not be read: {own}, and the kubelet's cadvisor page of node {node} gave no two samples of it; export the process's CPU seconds on the page that the template's prometheus.io annotations name, or see that the controller may get nodes/metrics and reaches the kubelet"
    )
}

/// A copy that is being driven.
pub(super) struct Run<'a> {
    pub bench: &'a Bench,
    pub job: &'a Job,
    pub subject: Subject,
    pub load_url: String,
    pub size: MilliCpu,
    /// The most that callees have room for, and which of them bounds it.
    pub most: Option<(Rate, ObjectKey)>,
    pub log: CpuLog,
    pub own_cpu: bool,
    /// The points whose CPU is the guess: good enough for the plan, never for the fit.
    pub guessed: BTreeSet<usize>,
    /// The points for which the driver was late: good enough for the plan, for the fit only where nothing else is.
    pub late: BTreeSet<usize>,
    pub points: Vec<Point>,
}

impl Run<'_> {
    /// Probes until the plan, the time, or a callee ends it.
    pub async fn probe(&mut self, progress: &watch::Sender<Progress>) -> Result<Done, JobError> {
        let mut plan = Plan {
            sizes: self.job.sizes.clone(),
            rates: self.job.rates.clone(),
            most: self.most.as_ref().map(|(rate, _)| *rate),
            work_guess_ms: self.job.work_guess_ms,
            window_seconds: WINDOW_S,
            settle_seconds: WARM_S * 1.5 + 0.7,
            budget_seconds: self.left(),
        };
        let begin = tokio::time::Instant::now();
        self.read_cpu().await;
        loop {
            progress.send_replace(Progress::Probing(self.points.len() as u32));
            let needed = plan.settle_seconds + plan.window_seconds;
            let patience = patience(self.left(), needed);
            self.know_work(plan.sizes.len(), patience).await;
            // The plan counts planned seconds; the clock has the last word.
            if self.left() < needed {
                return Ok(Done::TimeBudget);
            }
            let (size, rate, seconds) = match next_probe(&plan, &self.points) {
                Next::Done { reason } => return Ok(reason),
                Next::Probe {
                    size,
                    rate,
                    seconds,
                } => (size, rate.get(), seconds),
            };
            if size != self.size {
                let change = (self.size, size);
                match resize(self.bench, &self.job.blueprint, &self.subject, change).await? {
                    Resized::Done => self.size = size,
                    Resized::NoRoom(why) => {
                        plan.sizes = without(&plan.sizes, change);
                        tracing::info!(
                            workload = %self.job.blueprint.workload, %size, why, left = ?plan.sizes,
                            "there is no room for this size of the copy"
                        );
                        continue;
                    }
                }
            }
            let all = plan.steps() * plan.sizes.len();
            let to_come = all.saturating_sub(self.points.len());
            let hurried = behind(begin.elapsed().as_secs_f64(), (to_come, all), needed);
            let most = if hurried { 1 } else { WARM_UPS };
            self.warm_up(rate, most).await?;
            // The clock cuts a longer window, not the shortest.
            let longest = if hurried { WINDOW_S } else { self.left() };
            let seconds = seconds.min(longest).max(WINDOW_S);
            let point = self.window(rate, seconds).await?;
            tracing::info!(
                workload = %self.job.blueprint.workload, revision = self.job.blueprint.revision,
                size = %point.size, rate, requests = point.requests, errors = point.errors,
                p50 = point.p50_ms, p90 = point.p90_ms, p99 = point.p99_ms, cpu = point.cpu_seconds,
                "measured a point"
            );
            self.points.push(point);
        }
    }

    /// Seconds for probing: what is left of the job but for the fit.
    fn left(&self) -> f64 {
        let left = self.job.until.duration_since((self.bench.now)());
        left.as_secs_f64() - FIT_S
    }

    async fn drive(
        &mut self,
        rate: f64,
        seconds: f64,
        span: f64,
        seed: u64,
    ) -> Result<RunResult, JobError> {
        let request = RunRequest {
            target: format!("http://{}", authority(&self.subject.ip, self.job.port)),
            requests: self.job.mix.clone(),
            rate: Rate::new(rate).map_err(|error| JobError::Nothing(error.to_string()))?,
            duration_s: seconds,
            windows_s: span,
            max_requests: 20_000,
            in_flight: in_flight(rate),
            seed,
            timeout_ms: 4_000.0,
        };
        let body = serde_json::to_vec(&request).map_err(|error| JobError::Read {
            step: "asking the load pod",
            message: error.to_string(),
        })?;
        let within = Duration::from_secs_f64(seconds + 8.0);
        let answer = self
            .bench
            .plain
            .post(&self.load_url, &self.job.blueprint.token, body, within)
            .await
            .map_err(|error| JobError::Read {
                step: "driving the copy",
                message: error.to_string(),
            })?;
        let result: RunResult = serde_json::from_str(&answer).map_err(|error| JobError::Read {
            step: "reading the load pod's answer",
            message: error.to_string(),
        })?;
        self.log
            .sent(result.started, result.ended, result.total.sent);
        Ok(result)
    }

    /// Drives until p50 is stable over three spans, or it was driven so many times.
    async fn warm_up(&mut self, rate: f64, most: u64) -> Result<(), JobError> {
        for round in 0..most {
            let result = self
                .drive(rate, WARM_S, WARM_S / WARM_SPANS, 100 + round)
                .await?;
            // A failing copy does not get better by being warmed.
            let (intended, lost) = intended_and_lost(&result.total);
            if stable(&result) || lost * 2 > intended {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Drives one window, and once more where the driver was late; one that was late again does not count.
    async fn window(&mut self, rate: f64, seconds: f64) -> Result<Point, JobError> {
        let seed = 1 + self.points.len() as u64;
        let mut tried = false;
        loop {
            let before = self.read_cpu().await;
            let result = self.drive(rate, seconds, seconds, seed).await?;
            let after = self.read_cpu().await;
            if let Some(why) = turned_away(&result.total.outcomes) {
                return Err(JobError::Nothing(why));
            }
            let mut point = self.point(&result, seconds, (before.as_ref(), after.as_ref()));
            let again = !tried && self.left() >= seconds;
            let lag = result.driver.lag_p99.get();
            match verdict(&point, lag, again) {
                Verdict::Counts => return Ok(point),
                Verdict::Again => {
                    tracing::info!(lag, "driver was late: the window is measured again");
                    tried = true;
                }
                Verdict::Late => {
                    tracing::warn!(
                        lag,
                        p99 = point.p99_ms,
                        "driver was late: the window does not count"
                    );
                    self.late.insert(self.points.len());
                    // What a late driver dropped is its own doing.
                    point.errors = result.total.failed;
                    return Ok(point);
                }
            }
        }
    }

    /// What a run showed between two readings of the copy's counters.
    fn point(
        &mut self,
        result: &RunResult,
        seconds: f64,
        (before, after): (Option<&Counters>, Option<&Counters>),
    ) -> Point {
        let sent = result.total.sent;
        let (requests, errors) = intended_and_lost(&result.total);
        let per_request = self
            .log
            .per_request_between(result.started, result.ended)
            .or_else(|| self.log.per_request());
        let place = self.points.len();
        if per_request.is_none() {
            self.guessed.insert(place);
        } else {
            self.guessed.remove(&place);
        }
        let per_request = per_request.unwrap_or(self.job.work_guess_ms / 1000.0);
        let latency = result.total.latency;
        let read = |pick: fn(&msars_domain::load::Latency) -> Millis| {
            latency
                .as_ref()
                .map_or(f64::NAN, |latency| pick(latency).get())
        };
        let latencies = [read(|l| l.p50), read(|l| l.p90), read(|l| l.p99)];
        let waited = Waited::between(before, after);
        let (times, waits, [p50_ms, p90_ms, p99_ms]) = times(before, after, sent, latencies);
        Point {
            size: self.size,
            rate: result.offered,
            window_seconds: seconds,
            requests,
            errors,
            cpu_seconds: per_request * requests as f64,
            times,
            waits,
            p50_ms,
            p90_ms,
            p99_ms,
            callee_in_trouble: waited.errors_rose(sent) || self.bench.strained(&self.job.spared),
        }
    }

    /// After the first, low round over all sizes, higher loads need the work per request: a guess from another version
    /// would drive a slower one far past its knee. Waits for the counter's samples, a little, and gives every point
    /// the mean known so far.
    async fn know_work(&mut self, sizes: usize, patience: Duration) {
        if self.own_cpu || self.points.len() < sizes {
            return;
        }
        let patience = tokio::time::Instant::now() + patience;
        while self.log.per_request().is_none() && tokio::time::Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(500)).await;
            self.read_cpu().await;
        }
        self.spread_work();
    }

    /// Gives the mean to every point without CPU of its own: to all, or to those that were guessed.
    fn spread_work(&mut self) {
        let Some(per_request) = self.log.per_request() else {
            return;
        };
        for (index, point) in self.points.iter_mut().enumerate() {
            if !self.own_cpu || self.guessed.contains(&index) {
                point.cpu_seconds = per_request * point.requests as f64;
            }
        }
    }

    /// Why the CPU of no point was measured, should that be so: a guess must not be fitted.
    pub fn unread_cpu(&self) -> Option<String> {
        let unknown = !self.points.is_empty() && self.log.per_request().is_none();
        unknown.then(|| unread(self.job.metrics.as_ref(), &self.subject.host_ip))
    }

    async fn read_cpu(&mut self) -> Option<Counters> {
        let counters = self
            .bench
            .counters(&self.subject, self.job.metrics.as_ref())
            .await;
        if let Some(counters) = &counters {
            self.own_cpu |= counters.own_cpu;
            if let Some((at, seconds)) = counters.cpu {
                self.log.sample(at, seconds);
            }
        }
        counters
    }

    /// Waits, a little, until CPU samples cover most requests, and gives every point that has none of its own the mean
    /// of the whole run: requests count by their overlap with the samples, so that windows without a sample cost
    /// precision and not truth.
    pub async fn settle_cpu(&mut self) {
        let own = self.own_cpu;
        let patience = tokio::time::Instant::now() + Duration::from_secs(8);
        while !own
            && self.log.covered() < COVERED
            && tokio::time::Instant::now() < patience
            && (self.bench.now)() < self.job.until
        {
            tokio::time::sleep(Duration::from_millis(500)).await;
            self.read_cpu().await;
        }
        self.spread_work();
    }
}

#[cfg(test)]
mod tests {
    use super::{behind, patience, unread};

    #[test]
    fn a_profile_hurries_once_it_is_behind_its_goal() {
        for (elapsed, windows, wanted) in [
            (0.0, (6, 6), false),
            (20.0, (4, 6), false),
            // A slow node: four windows of 7.4 s no longer fit.
            (23.0, (4, 6), true),
            (44.0, (1, 6), false),
            (45.0, (1, 6), true),
            // Sixteen rates at two sizes take four minutes in any case.
            (100.0, (20, 32), false),
        ] {
            assert_eq!(
                behind(elapsed, windows, 7.4),
                wanted,
                "{elapsed} s, {windows:?}"
            );
        }
    }

    #[test]
    fn the_wait_for_cpu_leaves_time_for_a_window() {
        for (left, wanted) in [(60.0, 12.0), (12.5, 5.0), (7.5, 0.0), (-3.0, 0.0)] {
            let found = patience(left, 7.5).as_secs_f64();
            assert!((found - wanted).abs() < 1e-9, "{left}: {found}");
        }
    }

    #[test]
    fn cpu_that_cannot_be_read_is_told_with_what_was_tried() {
        let page = (9100, "/metrics".to_owned());
        for (metrics, tried) in [
            (Some(&page), ":9100/metrics shows none"),
            (None, "names no metrics page"),
        ] {
            let told = unread(metrics, "10.0.0.5");
            assert!(
                told.contains(tried) && told.contains("node 10.0.0.5"),
                "{told}"
            );
        }
    }
}
