//! Objects that are stored and cannot be read.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;

use super::Watched;

/// Namespace and name.
type Place = (String, String);

/// What turns events of what may be unreadable into events of what is there to read.
///
/// An object that cannot be read counts as absent, also where it could be before. Its last copy could be kept no longer
/// than this program lives: so what the change does shows at once, and not at some later start.
pub(super) struct Unreadable<K>
where
    K: Resource + 'static,
    K::DynamicType: Hash + Eq,
{
    name: &'static str,
    dynamic: K::DynamicType,
    copy: Watched<K>,
    /// Versions that were told, of what cannot be read now.
    told: BTreeMap<Place, String>,
    /// Those told before the list that is under way: what it does not have any more is forgotten.
    before: BTreeMap<Place, String>,
}

fn place(meta: &ObjectMeta) -> Place {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    (part(&meta.namespace), part(&meta.name))
}

impl<K> Unreadable<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Hash + Eq + Clone,
{
    pub(super) fn new(name: &'static str, dynamic: K::DynamicType, copy: Watched<K>) -> Self {
        Self {
            name,
            dynamic,
            copy,
            told: BTreeMap::new(),
            before: BTreeMap::new(),
        }
    }

    /// What follows from an event for what is there to read. While a list is under way, what was counted before stands.
    pub(super) fn read(&mut self, event: Event<DeserializeGuard<K>>) -> Option<Event<K>> {
        let listing = matches!(event, Event::Init | Event::InitApply(_));
        let event = self.turned(event);
        if !listing {
            let unread = self.told.len();
            self.copy.state.unread.store(unread, Ordering::Relaxed);
        }
        event
    }

    fn turned(&mut self, event: Event<DeserializeGuard<K>>) -> Option<Event<K>> {
        match event {
            Event::Init => {
                self.before.append(&mut self.told);
                Some(Event::Init)
            }
            Event::InitDone => {
                self.before.clear();
                Some(Event::InitDone)
            }
            Event::InitApply(DeserializeGuard(Ok(object))) => Some(Event::InitApply(object)),
            Event::InitApply(DeserializeGuard(Err(wrong))) => {
                self.tell(&wrong);
                None
            }
            Event::Apply(DeserializeGuard(Ok(object))) => {
                self.told.remove(&place(object.meta()));
                Some(Event::Apply(object))
            }
            Event::Apply(DeserializeGuard(Err(wrong))) => {
                self.tell(&wrong);
                self.stored(&wrong.metadata).map(Event::Delete)
            }
            Event::Delete(DeserializeGuard(Ok(object))) => {
                self.told.remove(&place(object.meta()));
                Some(Event::Delete(object))
            }
            Event::Delete(DeserializeGuard(Err(wrong))) => {
                self.tell(&wrong);
                self.told.remove(&place(&wrong.metadata));
                self.stored(&wrong.metadata).map(Event::Delete)
            }
        }
    }

    /// Tells of one version once, however often it is listed.
    fn tell(&mut self, wrong: &InvalidObject) {
        let meta = &wrong.metadata;
        let place = place(meta);
        let version = meta.resource_version.clone().unwrap_or_default();
        let last = self.told.get(&place).or_else(|| self.before.get(&place));
        let known = last == Some(&version);
        self.told.insert(place, version);
        if known {
            return;
        }
        self.copy.state.unreadable.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            watch = self.name,
            namespace = meta.namespace.as_deref(),
            name = meta.name.as_deref(),
            error = wrong.error.as_str(),
            "an object cannot be read: it counts as absent"
        );
    }

    /// The copy of an object from when it could be read.
    fn stored(&self, meta: &ObjectMeta) -> Option<K> {
        let named = ObjectRef::<K>::new_with(meta.name.as_deref()?, self.dynamic.clone());
        let found = match meta.namespace.as_deref() {
            Some(namespace) => named.within(namespace),
            None => named,
        };
        self.copy.store.get(&found).map(Arc::unwrap_or_clone)
    }
}
