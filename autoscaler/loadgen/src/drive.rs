//! One run: the loop that sends on schedule, and the result.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use msars_domain::load::{Driver, EndedBy, RunResult, Window};
use msars_domain::{Millis, Rate};
use tokio::task::JoinSet;

use crate::plan::{Choice, Prepared};
use crate::pool::Pool;
use crate::record::{Outcome, Recorder};
use crate::timer::Timer;
use crate::{Plan, PlanError, clock};

/// Why a run has no result. A target that fails is no error: its failures are the result.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The plan holds something that can't be sent.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The system gave no timer.
    #[error("timer: {0}")]
    Timer(#[from] std::io::Error),
    /// A histogram could not be made or written.
    #[error("histogram: {0}")]
    Histogram(String),
}

impl From<hdrhistogram::CreationError> for DriveError {
    fn from(error: hdrhistogram::CreationError) -> Self {
        Self::Histogram(error.to_string())
    }
}

/// What every request of a run shares.
struct Run {
    pool: Pool,
    recorder: Mutex<Recorder>,
    timeout: Duration,
}

impl Run {
    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, intended: Instant, window: usize, prepared: Prepared) {
        let lag = intended.elapsed();
        let Prepared { class, message } = prepared;
        let sending = self.pool.send(message);
        let outcome = match tokio::time::timeout(self.timeout, sending).await {
            Ok(Ok(status)) => Outcome::Status(status.as_u16()),
            Ok(Err(_)) => Outcome::Connection,
            Err(_) => Outcome::Timeout,
        };
        let latency = intended.elapsed();
        self.recorder().end((window, class), outcome, lag, latency);
    }
}

/// Runs `plan` to its end, or until `stop` resolves, then waits for the requests under way (at most the timeout).
/// `on_window` sees every window once, in order, some time after its end.
///
/// Requests are sent on schedule whatever the target does. An arrival is dropped, and counted, when `in_flight`
/// requests wait for their answer or when the driver itself comes later than the timeout. Dropping the future ends
/// the run at once and closes its connections.
pub async fn drive(
    plan: &Plan,
    stop: impl Future<Output = ()>,
    mut on_window: impl FnMut(&Window),
) -> Result<RunResult, DriveError> {
    let mut choice = Choice::new(plan)?;
    let mut timer = Timer::new()?;
    let cpu = clock::cpu_time();
    let (start, started) = (Instant::now(), clock::now());
    let run = Arc::new(Run {
        pool: Pool::new(plan.target.clone(), plan.connection_age, plan.spread),
        recorder: Mutex::new(Recorder::new(started, plan.window, choice.classes.len())?),
        timeout: plan.timeout,
    });
    let mut stop = pin!(stop);
    let mut requests = JoinSet::new();
    let length = plan.length();
    let mut arrivals = plan
        .schedule
        .arrivals(plan.seed)
        .take_while(|o| *o < length);
    let mut sent = 0;
    let ended_by = loop {
        if sent >= plan.max_requests {
            break EndedBy::Count;
        }
        let arrival = arrivals.next();
        let intended = start + arrival.unwrap_or(length);
        tokio::select! {
            biased;
            () = &mut stop => break EndedBy::Stop,
            waited = timer.until(intended) => waited?,
        }
        let (Some(offset), Some(prepared)) = (arrival, choice.draw()) else {
            break EndedBy::Time;
        };
        while requests.try_join_next().is_some() {}
        let late = intended.elapsed() > plan.timeout;
        let fits = !late && requests.len() < plan.in_flight;
        let window = {
            let mut recorder = run.recorder();
            let window = recorder.window_of(offset);
            recorder
                .close_before(window)
                .iter()
                .for_each(&mut on_window);
            recorder.arrive(window, prepared.class, fits)?;
            window
        };
        if fits {
            sent += 1;
            let run = Arc::clone(&run);
            requests.spawn(async move { run.send(intended, window, prepared).await });
        }
    };
    let ended_s = match ended_by {
        EndedBy::Time => length.as_secs_f64(),
        EndedBy::Count | EndedBy::Stop => start.elapsed().min(length).as_secs_f64(),
    };
    while requests.join_next().await.is_some() {}
    let spent = Spent {
        cpu_s: clock::cpu_time().saturating_sub(cpu).as_secs_f64(),
        wall_s: start.elapsed().as_secs_f64(),
        connections: run.pool.opened(),
    };
    let mut recorder = run.recorder();
    let seen = recorder.finish(ended_s)?;
    recorder.windows()[seen..].iter().for_each(&mut on_window);
    result(
        &recorder,
        &choice.classes,
        &spent,
        (started, ended_s, ended_by),
    )
}

/// What a run took of the machine.
struct Spent {
    cpu_s: f64,
    wall_s: f64,
    connections: u64,
}

fn result(
    recorder: &Recorder,
    classes: &[String],
    spent: &Spent,
    (started, ended_s, ended_by): (jiff::Timestamp, f64, EndedBy),
) -> Result<RunResult, DriveError> {
    let total = recorder.total();
    let [lag_p50, lag_p99, lag_max]: [Millis; 3] = recorder.lag();
    let offered = (total.sent + total.dropped) as f64 / ended_s;
    let offered = Rate::new(offered).or_else(|_| Rate::new(0.0));
    Ok(RunResult {
        started,
        ended: clock::after(started, ended_s),
        ended_by,
        offered: offered.map_err(|error| DriveError::Histogram(error.to_string()))?,
        total,
        windows: recorder.windows().to_vec(),
        classes: recorder.classes(classes),
        histogram: recorder.histogram().map_err(DriveError::Histogram)?,
        driver: Driver {
            cpu_us_per_request: spent.cpu_s * 1e6 / (total.sent.max(1) as f64),
            cpu_cores: spent.cpu_s / spent.wall_s.max(1e-9),
            lag_p50,
            lag_p99,
            lag_max,
            connections: spent.connections,
        },
    })
}
