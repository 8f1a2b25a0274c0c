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

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;

/// All definitions in the order of their names.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut all = vec![
        LoadLatencyProfile::crd(),
        ServiceLevelObjective::crd(),
        SloAutoscaler::crd(),
    ];
    for definition in &mut all {
        for version in &mut definition.spec.versions {
            if let Some(schema) = version.schema.as_mut() {
                schema.open_api_v3_schema.iter_mut().for_each(bound);
            }
        }
    }
    all
}

/// Writes the range of its type beside every whole number: the API server checks neither `int32` nor `uint32`, and one
/// stored number that the type can't hold makes every list of the kind unreadable.
fn bound(schema: &mut JSONSchemaProps) {
    let range = match schema.format.as_deref() {
        Some("int32") => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
        Some("uint32") => Some((0.0, f64::from(u32::MAX))),
        _ => None,
    };
    if let Some((least, most)) = range {
        schema.minimum.get_or_insert(least);
        schema.maximum.get_or_insert(most);
    }
    schema
        .properties
        .iter_mut()
        .flatten()
        .for_each(|(_, inner)| bound(inner));
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(inner)) => bound(inner),
        Some(JSONSchemaPropsOrArray::Schemas(all)) => all.iter_mut().for_each(bound),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(inner)) = &mut schema.additional_properties {
        bound(inner);
    }
}
