//! The jobs that run. A slot is taken as long as its task lives; however that ends, it is free again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use msars_api::names;
use msars_domain::{ObjectKey, Rate};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

use super::Key;
use super::queue::Running;
use super::task::Progress;

/// Running jobs by workload and revision.
#[derive(Debug)]
pub(super) struct Slots<T> {
    tasks: JoinSet<T>,
    running: BTreeMap<Key, Slot>,
}

/// One that runs.
#[derive(Debug)]
struct Slot {
    task: Id,
    times: Running,
    wished: Option<Rate>,
    progress: watch::Receiver<Progress>,
    stop: watch::Sender<bool>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
        }
    }
}

impl<T: Send + 'static> Slots<T> {
    /// Starts a job, which wishes that callees have room for a rate. It is to end soon after `stop` turns true.
    pub fn start<F>(
        &mut self,
        key: Key,
        (times, wished): (Running, Option<Rate>),
        job: impl FnOnce(watch::Sender<Progress>, watch::Receiver<bool>) -> F,
    ) where
        F: Future<Output = T> + Send + 'static,
    {
        let (progress, progress_seen) = watch::channel(Progress::Starting);
        let (stop, stop_seen) = watch::channel(false);
        let task = self.tasks.spawn(job(progress, stop_seen)).id();
        let slot = Slot {
            task,
            times,
            wished,
            progress: progress_seen,
            stop,
        };
        self.running.insert(key, slot);
    }

    /// The next job that ends, with what came of it; `None` at once when none runs. Nothing is lost when it is dropped
    /// before it is ready.
    pub async fn ended(&mut self) -> Option<(Key, Result<T, JoinError>)> {
        loop {
            let (task, outcome) = match self.tasks.join_next_with_id().await? {
                Ok((task, outcome)) => (task, Ok(outcome)),
                Err(error) => (error.id(), Err(error)),
            };
            let found = self.running.iter().find(|(_, slot)| slot.task == task);
            if let Some(key) = found.map(|(key, _)| key.clone()) {
                self.running.remove(&key);
                return Some((key, outcome));
            }
        }
    }

    /// How far a job is, and when it began; `None` where none runs.
    pub fn progress(&self, key: &Key) -> Option<(Progress, Timestamp)> {
        let slot = self.running.get(key)?;
        let progress = *slot.progress.borrow();
        Some((progress, slot.times.since))
    }

    /// When each began and must end.
    pub fn times(&self) -> Vec<Running> {
        self.running.values().map(|slot| slot.times).collect()
    }

    /// The workloads that are profiled, and what callees should have room for.
    pub fn workloads(&self) -> BTreeMap<ObjectKey, Option<Rate>> {
        let running = self.running.iter();
        let one = |((workload, _), slot): (&Key, &Slot)| (workload.clone(), slot.wished);
        running.map(one).collect()
    }

    /// Tells every job to end whose revision is none of `kept`.
    pub fn keep(&self, kept: impl Fn(&Key) -> bool) {
        for (key, slot) in &self.running {
            if !kept(key) {
                slot.stop.send_replace(true);
            }
        }
    }

    /// The shadow pods that belong to running jobs.
    pub fn pods(&self) -> BTreeSet<ObjectKey> {
        let keys = self.running.keys();
        keys.flat_map(|(workload, revision)| {
            ["subject", "load"].map(|role| {
                ObjectKey::new(
                    &workload.namespace,
                    names::shadow_name(&workload.name, revision, role),
                )
            })
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (ObjectKey::new("shop", name), "r2".into())
    }

    fn times() -> Running {
        Running {
            since: Timestamp::UNIX_EPOCH,
            until: Timestamp::UNIX_EPOCH,
        }
    }

    async fn broken() {
        tokio::task::yield_now().await;
        panic!("a defect")
    }

    #[tokio::test]
    async fn a_job_that_panics_frees_its_slot_and_its_pods_are_nobodys() {
        let mut slots = Slots::default();
        slots.start(key("carts"), (times(), None), |_progress, _stop| broken());
        assert_eq!((slots.times().len(), slots.pods().len()), (1, 2));
        let (ended, outcome) = slots.ended().await.unwrap();
        assert_eq!(ended, key("carts"));
        assert!(outcome.is_err_and(|error| error.to_string().contains("a defect")));
        assert_eq!((slots.times().len(), slots.pods().len()), (0, 0));
        assert_eq!(slots.progress(&key("carts")), None);
        assert!(slots.ended().await.is_none(), "nothing is waited for");
    }

    #[tokio::test]
    async fn a_job_whose_hold_is_over_is_told_to_end_and_no_other() {
        let mut slots = Slots::default();
        for name in ["carts", "orders"] {
            slots.start(
                key(name),
                (times(), None),
                |progress, mut stop| async move {
                    progress.send_replace(Progress::Probing(2));
                    drop(stop.wait_for(|stop| *stop).await);
                },
            );
        }
        slots.keep(|held| *held == key("orders"));
        let (ended, outcome) = slots.ended().await.unwrap();
        assert!(outcome.is_ok());
        assert_eq!(ended, key("carts"));
        assert_eq!(slots.workloads(), [(key("orders").0, None)].into());
        slots.keep(|_| false);
        assert!(
            slots
                .ended()
                .await
                .is_some_and(|(ended, _)| ended == key("orders"))
        );
        assert!(slots.ended().await.is_none());
    }
}
