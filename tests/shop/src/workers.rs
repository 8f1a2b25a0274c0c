//! Worker threads: real CPU work by the thread's own CPU clock, and the limit on requests
//! in work.

use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::clock;

/// Requests that may wait for a worker; more are refused with 503.
const QUEUE: usize = 512;
/// Rounds between two looks at the clock: a few microseconds.
const ROUNDS: u64 = 2_000;

struct Job {
    work: Duration,
    done: oneshot::Sender<Duration>,
}

/// A fixed number of threads, first come first served.
pub(crate) struct Workers {
    idle: Mutex<Vec<Sender<Job>>>,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// One thread, held until dropped.
pub(crate) struct Worker {
    thread: Option<Sender<Job>>,
    home: Arc<Workers>,
    _permit: OwnedSemaphorePermit,
}

/// Spends that much CPU time of the calling thread; returns what was spent. Time in which
/// the thread does not run, throttled or preempted, does not count.
pub(crate) fn burn(work: Duration) -> Duration {
    let start = clock::thread_cpu();
    let mut state = 1_u64;
    loop {
        let spent = clock::thread_cpu().saturating_sub(start);
        if spent >= work {
            return spent;
        }
        for round in 0..ROUNDS {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(round);
        }
        black_box(state);
    }
}

fn work_off(jobs: &Receiver<Job>) {
    while let Ok(Job { work, done }) = jobs.recv() {
        // The asker is gone when the process is stopping.
        let _ = done.send(burn(work));
    }
}

impl Workers {
    /// Starts that many threads.
    pub(crate) fn start(count: usize) -> io::Result<Arc<Self>> {
        let mut idle = Vec::with_capacity(count);
        for number in 0..count {
            let (sender, jobs) = channel();
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .stack_size(128 * 1024)
                .spawn(move || work_off(&jobs))?;
            idle.push(sender);
        }
        Ok(Arc::new(Self {
            idle: Mutex::new(idle),
            free: Arc::new(Semaphore::new(count)),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// A worker, as soon as one is free and it is this caller's turn. `None` when the queue
    /// is full.
    pub(crate) async fn take(self: &Arc<Self>) -> Option<Worker> {
        let waiting = Waiting(&self.waiting);
        if waiting.0.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            return None;
        }
        let permit = self.free.clone().acquire_owned().await.ok()?;
        let thread = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()?;
        Some(Worker {
            thread: Some(thread),
            home: self.clone(),
            _permit: permit,
        })
    }
}

/// One place in the queue, given back however the wait ends.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    /// Spends CPU time on this worker's thread; returns what was spent, `None` when the
    /// thread is gone.
    pub(crate) async fn burn(&self, work: Duration) -> Option<Duration> {
        let (done, spent) = oneshot::channel();
        self.thread.as_ref()?.send(Job { work, done }).ok()?;
        spent.await.ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.home
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(thread);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::{QUEUE, Workers, burn};

    #[test]
    fn what_is_burned_is_what_was_asked_for() {
        let asked = Duration::from_millis(20);
        let spent = burn(asked);
        assert!(spent >= asked);
        assert!(spent.as_secs_f64() / asked.as_secs_f64() < 1.1, "{spent:?}");
    }

    #[tokio::test]
    async fn a_worker_is_held_until_dropped_and_the_queue_has_an_end() {
        let workers = Workers::start(2).unwrap();
        let first = workers.take().await.unwrap();
        let second = workers.take().await.unwrap();
        let mut queue: Vec<_> = (0..QUEUE).map(|_| Box::pin(workers.take())).collect();
        for waiting in &mut queue {
            assert!(waiting.now_or_never().is_none());
        }
        assert!(workers.take().await.is_none(), "the queue is full");
        drop(first);
        assert!(queue.remove(0).await.is_some(), "first come, first served");
        drop(queue);
        assert!(second.burn(Duration::from_millis(1)).await.is_some());
        drop(second);
        assert!(workers.take().await.is_some());
    }
}
