//! The snapshot that reviews are decided on: copies kept by watches, and what is made of them at every change.

mod build;
mod copies;
mod grants;
mod heard;
mod objectives;
mod revisions;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use msars_client::connect::Clients;
use msars_client::unread::UnreadObjects;
use msars_gate::Snapshot;
use msars_gate::snapshot::Holds;
use msars_ops::readiness::ReadyHandle;
use msars_ops::shutdown::{Tasks, stopped};
use serde_json::Value;
use tokio::sync::watch;

use self::build::build;
use self::copies::Copies;
use self::grants::{Grants, ask};
use self::heard::Heard;

/// A burst of events makes one snapshot.
const AT_MOST_EVERY: Duration = Duration::from_millis(100);
/// Without events: the age of the watches is seen again.
const AT_LEAST_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at which grants are to be asked for.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The copies and the snapshot made from them.
#[derive(Debug)]
pub struct Source {
    namespace: String,
    copies: Copies,
    grants: Mutex<Grants>,
    now: RwLock<Arc<Snapshot>>,
}

impl Source {
    /// Starts all watches as tasks; `namespace` is the installation's.
    pub fn start(clients: &Clients, namespace: &str, tasks: &mut Tasks) -> Self {
        Self {
            namespace: namespace.to_owned(),
            copies: Copies::start(clients, namespace, tasks),
            grants: Mutex::default(),
            now: RwLock::default(),
        }
    }

    /// The snapshot to decide on.
    pub fn read(&self) -> Arc<Snapshot> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the copy of Deployments is up to date: the end of a hold rests on nothing else but the Lease, and without
    /// a copy of that nobody leads.
    pub fn deployments_healthy(&self) -> bool {
        self.copies.deployments_healthy()
    }

    /// Counts what is stored of our kinds and cannot be read.
    pub fn count_unread(&self, unread: &UnreadObjects) {
        self.copies.count_unread(unread);
    }

    /// Every Deployment with annotations of ours, as stored.
    pub fn deployments(&self) -> Vec<Value> {
        self.copies.workloads()
    }

    /// Keeps the snapshot until `stop`.
    pub async fn keep(
        self: Arc<Self>,
        synced: ReadyHandle,
        mut stop: watch::Receiver<bool>,
        now: fn() -> Timestamp,
    ) {
        let (mut heard, mut told) = (Heard::default(), None);
        loop {
            let (snapshot, odd) = self.look(&mut heard, now());
            if let Some(value) = &odd
                && odd != told
            {
                tracing::warn!(
                    value,
                    "the switch of holds has an unknown value, taken as off"
                );
            }
            told = odd;
            synced.set(snapshot.synced.is_some());
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
            // A lone change is known at once.
            let next = tokio::time::Instant::now() + AT_MOST_EVERY;
            let ended = async {
                // An error says that the sender is gone: the end, too.
                drop(stop.wait_for(|stop| *stop).await);
            };
            tokio::select! {
                () = ended => return,
                () = tokio::time::sleep(AT_LEAST_EVERY) => {}
                () = async {
                    self.copies.changed.notified().await;
                    tokio::time::sleep_until(next).await;
                } => {}
            }
        }
    }

    /// What is known now, and the value of the switch of holds where nobody knows it.
    fn look(&self, heard: &mut Heard, now: Timestamp) -> (Snapshot, Option<String>) {
        let seen = self.copies.seen();
        let switches = seen.switches.first().and_then(|map| map.data.as_ref());
        let odd = Holds::unknown(switches).map(str::to_owned);
        let heard = heard.take(&seen.leases, now);
        let snapshot = build(&seen, heard, &self.grants(), &self.namespace, now);
        (snapshot, odd)
    }

    fn grants(&self) -> MutexGuard<'_, Grants> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks until `stop` which namespaces grant our writes: of one where they are missing every few seconds, of
    /// another every minute.
    pub async fn ask_for_grants(
        self: Arc<Self>,
        client: Client,
        stop: watch::Receiver<bool>,
        now: fn() -> Timestamp,
    ) {
        let stopped = stopped(stop);
        tokio::pin!(stopped);
        loop {
            let round = async {
                self.ask_round(&client, now).await;
                tokio::time::sleep(ASK_EVERY).await;
            };
            tokio::select! {
                () = round => {}
                () = &mut stopped => return,
            }
        }
    }

    async fn ask_round(&self, client: &Client, now: fn() -> Timestamp) {
        let due = self.grants().due(&self.copies.acting(), now());
        for namespace in due {
            let answer = ask(client, &namespace).await;
            if let Err(error) = &answer {
                tracing::warn!(
                    namespace, %error,
                    "asking whether writes are granted failed; it is tried again"
                );
            }
            if self.grants().take(&namespace, answer.ok(), now()) {
                self.copies.changed.notify_one();
            }
        }
    }
}
