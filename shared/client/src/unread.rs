//! How many objects of our kinds cannot be read: a metric of whoever watches them.

use msars_api::crd::{LoadLatencyProfile, ServiceLevelObjective, SloAutoscaler};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::{family::Family, gauge::Gauge};
use prometheus_client::registry::Registry;

use crate::watched::Watched;

/// A kind of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Kind {
    /// Profiles.
    LoadLatencyProfile,
    /// Objectives.
    ServiceLevelObjective,
    /// Autoscalers.
    SloAutoscaler,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: Kind,
}

/// The gauge, of one name in every program; clones share their values.
#[derive(Clone, Debug, Default)]
pub struct UnreadObjects(Family<Labels, Gauge>);

impl UnreadObjects {
    /// Registers the gauge in `registry`; every series begins at 0.
    pub fn register(registry: &mut Registry) -> Self {
        let it = Self::default();
        for kind in [
            Kind::LoadLatencyProfile,
            Kind::ServiceLevelObjective,
            Kind::SloAutoscaler,
        ] {
            it.set(kind, 0);
        }
        registry.sub_registry_with_prefix("msars").register(
            "unreadable_objects",
            "Objects of our kinds that are stored and cannot be read, by kind",
            it.0.clone(),
        );
        it
    }

    /// Takes what the copies lack now.
    pub fn look(
        &self,
        profiles: &Watched<LoadLatencyProfile>,
        objectives: &Watched<ServiceLevelObjective>,
        autoscalers: &Watched<SloAutoscaler>,
    ) {
        self.set(Kind::LoadLatencyProfile, profiles.unread());
        self.set(Kind::ServiceLevelObjective, objectives.unread());
        self.set(Kind::SloAutoscaler, autoscalers.unread());
    }

    /// How many of a kind could not be read at the last look.
    pub fn count(&self, kind: Kind) -> i64 {
        self.0.get_or_create(&Labels { kind }).get()
    }

    fn set(&self, kind: Kind, objects: usize) {
        let objects = i64::try_from(objects).unwrap_or(i64::MAX);
        self.0.get_or_create(&Labels { kind }).set(objects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_exported_from_the_start() {
        let mut registry = Registry::default();
        let unread = UnreadObjects::register(&mut registry);
        unread.set(Kind::SloAutoscaler, 2);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "msars_unreadable_objects{kind=\"LoadLatencyProfile\"} 0",
            "msars_unreadable_objects{kind=\"ServiceLevelObjective\"} 0",
            "msars_unreadable_objects{kind=\"SloAutoscaler\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
