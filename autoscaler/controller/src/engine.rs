//! The thread that decides: engines live on it, requests are bounded, and a defect in one workload's decision stops no
//! other workload's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use msars_plan::{Analytic, Decision, Engines, LastPeak, Limits, Tick, decide};
use tokio::sync::oneshot;

/// Why a tick gave no decisions.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The thread could not be started.
    #[error("starting the thread that decides: {0}")]
    Thread(#[from] std::io::Error),
    /// The last tick is still being decided.
    #[error("the last tick is still being decided")]
    Busy,
    /// No answer in time; the thread is left behind and a new one is started.
    #[error("no decision within {0:?}")]
    Time(Duration),
    /// The thread is gone.
    #[error("the thread that decides is gone")]
    Gone,
}

impl EngineError {
    /// A bounded label for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Thread(_) => "thread",
            Self::Busy => "busy",
            Self::Time(_) => "time",
            Self::Gone => "gone",
        }
    }
}

/// The engines that need nothing but their input: the last peak and the inverse of the profile.
pub fn analytic(limits: &Limits) -> Engines {
    Engines {
        forecaster: Box::new(LastPeak::default()),
        policy: Box::new(Analytic {
            limits: limits.clone(),
        }),
    }
}

/// Makes engines, on the thread that uses them.
pub type Build = fn(&Limits) -> Engines;

struct Job {
    tick: Arc<Tick>,
    answer: oneshot::Sender<Vec<Option<Decision>>>,
}

/// The owner of the thread.
#[derive(Debug)]
pub struct Engine {
    jobs: SyncSender<Job>,
    build: Build,
    limits: Limits,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Engine {
    /// Starts the thread.
    pub fn start(build: Build, limits: Limits) -> Result<Self, EngineError> {
        let jobs = spawn(build, limits.clone())?;
        Ok(Self {
            jobs,
            build,
            limits,
        })
    }

    /// The planner's settings.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Decides, in the order of the tick's observations; `None` where deciding failed, which is logged.
    pub async fn decide(
        &mut self,
        tick: Arc<Tick>,
        within: Duration,
    ) -> Result<Vec<Option<Decision>>, EngineError> {
        let (answer, answered) = oneshot::channel();
        match self.jobs.try_send(Job { tick, answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(EngineError::Busy),
            Err(TrySendError::Disconnected(_)) => {
                self.jobs = spawn(self.build, self.limits.clone())?;
                return Err(EngineError::Gone);
            }
        }
        match tokio::time::timeout(within, answered).await {
            Ok(Ok(decisions)) => Ok(decisions),
            Ok(Err(_gone)) => Err(EngineError::Gone),
            Err(_elapsed) => {
                self.jobs = spawn(self.build, self.limits.clone())?;
                Err(EngineError::Time(within))
            }
        }
    }
}

fn spawn(build: Build, limits: Limits) -> Result<SyncSender<Job>, std::io::Error> {
    let (jobs, received) = sync_channel(1);
    std::thread::Builder::new()
        .name("tick".into())
        .spawn(move || work(build, &limits, &received))?;
    Ok(jobs)
}

fn work(build: Build, limits: &Limits, jobs: &Receiver<Job>) {
    let mut engines = build(limits);
    while let Ok(Job { tick, answer }) = jobs.recv() {
        let decisions = all(&mut engines, build, limits, &tick);
        // Nobody waits any more: the deadline has passed.
        let _late = answer.send(decisions);
    }
}

/// All at once; after a panic fresh engines, and one by one.
fn all(engines: &mut Engines, build: Build, limits: &Limits, tick: &Tick) -> Vec<Option<Decision>> {
    if let Some(decisions) = guarded(engines, limits, tick) {
        return decisions.into_iter().map(Some).collect();
    }
    tracing::error!("deciding failed; every workload is decided alone");
    *engines = build(limits);
    let one = |(index, seen): (usize, &msars_domain::Observation)| {
        let alone = Tick {
            now: tick.now,
            seed: tick.seed,
            observations: vec![seen.clone()],
            states: tick.states.get(index).cloned().into_iter().collect(),
        };
        let decided = guarded(engines, limits, &alone).and_then(|mut made| made.pop());
        if decided.is_none() {
            tracing::error!(workload = %seen.signals.workload, "no decision");
            *engines = build(limits);
        }
        decided
    };
    tick.observations.iter().enumerate().map(one).collect()
}

fn guarded(engines: &mut Engines, limits: &Limits, tick: &Tick) -> Option<Vec<Decision>> {
    catch_unwind(AssertUnwindSafe(|| decide(tick, engines, limits))).ok()
}
