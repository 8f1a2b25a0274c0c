//! A guarded watch: a local copy of objects that knows whether it was ever complete, and since when it hears nothing
//! but errors.

use std::{
    fmt::Debug,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures::StreamExt as _;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _, reflector,
        reflector::Store,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};

/// The local copy.
pub struct Watched<K>
where
    K: Resource + 'static,
    K::DynamicType: Hash + Eq,
{
    /// The objects.
    pub store: Store<K>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    synced: AtomicBool,
    failing: AtomicBool,
    errors: AtomicU64,
}

impl<K> Clone for Watched<K>
where
    K: Resource + 'static,
    K::DynamicType: Hash + Eq,
{
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            state: Arc::clone(&self.state),
        }
    }
}

impl<K> Debug for Watched<K>
where
    K: Resource + 'static,
    K::DynamicType: Hash + Eq,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.state.fmt(f)
    }
}

impl<K> Watched<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Hash + Eq + Clone,
{
    /// Whether the copy was complete once and the watch is not failing now.
    pub fn healthy(&self) -> bool {
        self.state.synced.load(Ordering::Acquire) && !self.state.failing.load(Ordering::Acquire)
    }

    /// Whether the copy was complete once.
    pub fn synced(&self) -> bool {
        self.state.synced.load(Ordering::Acquire)
    }

    /// Errors of the watch since the start.
    pub fn errors(&self) -> u64 {
        self.state.errors.load(Ordering::Relaxed)
    }

    /// All objects.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.store.state()
    }
}

/// Starts nothing yet: returns the copy and the task that keeps it until `stop` turns true. `changed` is told of
/// every event. Failures back off (0.8 s to 30 s) and are logged and counted.
pub fn watched<K>(
    name: &'static str,
    api: Api<K>,
    dynamic: K::DynamicType,
    config: watcher::Config,
    changed: Arc<Notify>,
    mut stop: watch::Receiver<bool>,
) -> (Watched<K>, impl Future<Output = ()> + Send + 'static)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Hash + Eq + Clone + Send + Sync + 'static,
{
    let writer = reflector::store::Writer::<K>::new(dynamic);
    let state = Arc::new(State::default());
    let copy = Watched {
        store: writer.as_reader(),
        state: Arc::clone(&state),
    };
    let task = async move {
        let events = reflector(writer, watcher::watcher(api, config)).default_backoff();
        let mut events = std::pin::pin!(events);
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                _ended = stop.wait_for(|stop| *stop) => return,
            };
            match event {
                Some(Ok(event)) => {
                    if matches!(event, Event::InitDone) {
                        state.synced.store(true, Ordering::Release);
                    }
                    state.failing.store(false, Ordering::Release);
                    changed.notify_one();
                }
                Some(Err(error)) => {
                    state.failing.store(true, Ordering::Release);
                    state.errors.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(watch = name, %error, "watch failed; it is tried again");
                }
                None => return,
            }
        }
    };
    (copy, task)
}
