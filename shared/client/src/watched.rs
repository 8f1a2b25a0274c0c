//! A guarded watch: a local copy of objects that knows whether it was ever complete, and whether it hears from the API
//! server now.

mod unreadable;

use std::{
    fmt::Debug,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Resource,
    core::DeserializeGuard,
    runtime::{
        reflector::{Store, store::Writer},
        watcher::{self, DefaultBackoff, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use self::unreadable::Unreadable;

/// After an error, a watch that is silent for so long since its list counts as well: one that is refused says so sooner.
const QUIET: Duration = Duration::from_secs(2);
/// Longest pause between two tries: holds and scaling wait for a watch that failed. Lists are paged and few.
const LONGEST: Duration = Duration::from_secs(5);

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
    unreadable: AtomicU64,
    unread: AtomicUsize,
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

    /// Changes since the start to what cannot be read ([`guarded`]).
    pub fn unreadable(&self) -> u64 {
        self.state.unreadable.load(Ordering::Relaxed)
    }

    /// Objects that are stored now and cannot be read ([`guarded`]).
    pub fn unread(&self) -> usize {
        self.state.unread.load(Ordering::Relaxed)
    }

    /// All objects.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.store.state()
    }
}

/// Of each object stays what `slim` leaves ([`crate::slim`]).
///
/// Starts nothing yet: returns the copy and the task that keeps it until `stop` turns true. `changed` is told of
/// every event and of every change of health. Failures back off (from about a second to
/// five), are logged and counted.
///
/// After an error the kind is listed anew: kube's watcher would resume by itself, but without a word, so that nobody
/// could tell a quiet kind that is watched again from one that is not.
pub fn watched<K>(
    name: &'static str,
    api: Api<K>,
    (dynamic, slim): (K::DynamicType, fn(&mut K)),
    config: watcher::Config,
    changed: Arc<Notify>,
    stop: watch::Receiver<bool>,
) -> (Watched<K>, impl Future<Output = ()> + Send + 'static)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Hash + Eq + Clone + Send + Sync + 'static,
{
    let (writer, copy) = made::<K>(dynamic);
    let state = Arc::clone(&copy.state);
    let read = move |event: Event<K>| Some(event.modify(slim));
    let task = kept(name, (api, config), (writer, state), read, (changed, stop));
    (copy, task)
}

/// The same for a kind of ours. An object that is stored and cannot be read, such as one with a number that the type
/// cannot hold, would make every list of its kind fail: here it counts as absent, is told and counted. Other kinds are
/// the API server's own, which stores nothing that their types do not hold, and reading with a guard takes each object
/// twice.
pub fn guarded<K>(
    name: &'static str,
    api: Api<DeserializeGuard<K>>,
    (dynamic, slim): (K::DynamicType, fn(&mut K)),
    config: watcher::Config,
    changed: Arc<Notify>,
    stop: watch::Receiver<bool>,
) -> (Watched<K>, impl Future<Output = ()> + Send + 'static)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Hash + Eq + Clone + Send + Sync + 'static,
{
    let (writer, copy) = made::<K>(dynamic.clone());
    let state = Arc::clone(&copy.state);
    let mut unreadable = Unreadable::new(name, dynamic, copy.clone());
    let read = move |event: Event<DeserializeGuard<K>>| {
        let event = unreadable.read(event)?;
        Some(event.modify(slim))
    };
    let task = kept(name, (api, config), (writer, state), read, (changed, stop));
    (copy, task)
}

fn made<K>(dynamic: K::DynamicType) -> (Writer<K>, Watched<K>)
where
    K: Resource + Clone + 'static,
    K::DynamicType: Hash + Eq + Clone,
{
    let writer = Writer::<K>::new(dynamic);
    let copy = Watched {
        store: writer.as_reader(),
        state: Arc::default(),
    };
    (writer, copy)
}

/// Keeps a copy by what is `read` of the events.
fn kept<E, K>(
    name: &'static str,
    (api, config): (Api<E>, watcher::Config),
    (mut writer, state): (Writer<K>, Arc<State>),
    mut read: impl FnMut(Event<E>) -> Option<Event<K>> + Send + 'static,
    (changed, stop): (Arc<Notify>, watch::Receiver<bool>),
) -> impl Future<Output = ()> + Send + 'static
where
    E: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K: Resource + Clone + Send + Sync + 'static,
    K::DynamicType: Hash + Eq + Clone + Send + Sync + 'static,
{
    let keeps = async move {
        // Resets itself after two minutes without an error.
        let mut pauses = DefaultBackoff::default();
        loop {
            let events = watcher::watcher(api.clone(), config.clone());
            let error = state.follow(events, &mut read, &mut writer, &changed).await;
            state.failing.store(true, Ordering::Release);
            state.errors.fetch_add(1, Ordering::Relaxed);
            changed.notify_one();
            let error = error.as_ref().map(tracing::field::display);
            tracing::warn!(watch = name, error, "watch failed; it is tried again");
            sleep(pauses.next().map_or(LONGEST, |pause| pause.min(LONGEST))).await;
        }
    };
    until(stop, keeps)
}

async fn until(mut stop: watch::Receiver<bool>, keeps: impl Future) {
    tokio::select! {
        _never = keeps => {}
        _ended = stop.wait_for(|stop| *stop) => {}
    }
}

impl State {
    /// Keeps the copy by what is `read` of the events of one watcher until its first error; `None` when it just ended.
    async fn follow<E, K>(
        &self,
        events: impl Stream<Item = watcher::Result<Event<E>>>,
        read: &mut impl FnMut(Event<E>) -> Option<Event<K>>,
        writer: &mut Writer<K>,
        changed: &Notify,
    ) -> Option<watcher::Error>
    where
        K: Resource + Clone + 'static,
        K::DynamicType: Hash + Eq + Clone,
    {
        let mut events = std::pin::pin!(events);
        let mut listed = false;
        loop {
            let next = events.next();
            let event = if listed && self.failing.load(Ordering::Acquire) {
                let Ok(event) = timeout(QUIET, next).await else {
                    self.failing.store(false, Ordering::Release);
                    changed.notify_one();
                    continue;
                };
                event
            } else {
                next.await
            };
            match event {
                Some(Ok(event)) => {
                    let complete = matches!(event, Event::InitDone);
                    // The others come before anything was asked, or of a list. What cannot be read is heard as well.
                    let heard = matches!(event, Event::Apply(_) | Event::Delete(_));
                    if let Some(event) = read(event) {
                        writer.apply_watcher_event(&event);
                    }
                    if complete {
                        listed = true;
                        self.synced.store(true, Ordering::Release);
                    }
                    if heard {
                        self.failing.store(false, Ordering::Release);
                    }
                    changed.notify_one();
                }
                Some(Err(error)) => return Some(error),
                None => return None,
            }
        }
    }
}
