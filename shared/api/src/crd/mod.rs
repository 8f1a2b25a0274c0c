//! The three kinds of `msars.io/v1alpha1`, and their YAML.

#![allow(
    clippy::duplicated_attributes,
    clippy::struct_field_names,
    reason = "printer columns repeat their type, and the API names the unit in every field"
)]

mod autoscaler;
mod objective;
mod profile;

pub use autoscaler::{
    AdoptedAutoscaler, CpuBounds, LastChange, SloAutoscaler, SloAutoscalerSpec,
    SloAutoscalerStatus, TargetRef, WantedSize,
};
pub use objective::{
    ChainSpec, ChainSplit, EdgeSpec, EdgeWay, ErrorBudget, Observed, ServiceBudget,
    ServiceLevelObjective, ServiceLevelObjectiveSpec, ServiceLevelObjectiveStatus,
};
pub use profile::{
    FittedMechanism, LoadLatencyProfile, LoadLatencyProfileSpec, LoadLatencyProfileStatus,
    MeasuredPoint, Phase, PhaseSeconds, ProfileSource, SizeTable, TableKnot,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// All definitions in the order of their names.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        LoadLatencyProfile::crd(),
        ServiceLevelObjective::crd(),
        SloAutoscaler::crd(),
    ]
}
