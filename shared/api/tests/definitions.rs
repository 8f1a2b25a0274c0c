//! The generated definitions are what is checked in, and say what users rely on.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

use std::path::PathBuf;

use msars_api::{annotations as a, crd};
use serde_json::Value;

/// Said on the first line of every generated file.
const HEAD: &str = "# Generated from shared/api/src/crd by `cargo xtask generate`.\n";

#[test]
fn generated_files_are_what_the_types_say() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/crds"));
    let rewrite = std::env::var_os("MSARS_UPDATE_GENERATED").is_some();
    let mut stale = Vec::new();
    for definition in crd::all() {
        let name = definition.metadata.name.clone().unwrap();
        let path = folder.join(format!("{name}.yaml"));
        let text = format!("{HEAD}{}", serde_saphyr::to_string(&definition).unwrap());
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        let read: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(
            read,
            serde_json::to_value(&definition).unwrap(),
            "{name}: the YAML says what the type says"
        );
        if stored == text {
            continue;
        }
        if rewrite {
            std::fs::write(&path, text).unwrap();
        } else {
            stale.push(name);
        }
    }
    assert!(
        stale.is_empty(),
        "stale: {stale:?}; write them anew: cargo xtask generate"
    );
}

#[test]
fn every_kind_has_a_status_columns_and_rules() {
    for definition in crd::all() {
        let version = &definition.spec.versions[0];
        assert!(version.subresources.as_ref().unwrap().status.is_some());
        assert!(version.additional_printer_columns.as_ref().unwrap().len() >= 6);
        let text = serde_json::to_string(version).unwrap();
        assert!(
            text.contains("x-kubernetes-validations"),
            "{}",
            definition.spec.names.kind
        );
        assert_eq!(definition.spec.scope, "Namespaced");
    }
}

/// Paths of whole numbers whose range is not within what the type holds.
fn unbounded(schema: &serde_json::Value, path: &str, out: &mut Vec<String>) {
    let number = |name: &str| schema.get(name).and_then(serde_json::Value::as_f64);
    let (least, most) = match schema["format"].as_str() {
        Some("int32") => (f64::from(i32::MIN), f64::from(i32::MAX)),
        Some("uint32") => (0.0, f64::from(u32::MAX)),
        Some("uint64") => (0.0, f64::INFINITY),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    };
    let within = number("minimum").unwrap_or(f64::NEG_INFINITY) >= least
        && number("maximum").unwrap_or(f64::INFINITY) <= most;
    if schema["type"] == "integer" && !within {
        out.push(path.to_owned());
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        unbounded(inner, &format!("{path}.{name}"), out);
    }
    if let Some(inner) = schema.get("items") {
        unbounded(inner, &format!("{path}[]"), out);
    }
}

#[test]
fn no_stored_number_is_outside_of_its_type() {
    let (mut out, mut seen) = (Vec::new(), 0);
    for definition in crd::all() {
        let value = serde_json::to_value(&definition).unwrap();
        let schema = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        seen += schema.to_string().matches("int32").count();
        unbounded(schema, &definition.spec.names.kind, &mut out);
    }
    assert!(seen > 20, "{seen}");
    assert_eq!(out, Vec::<String>::new());
}

#[test]
fn short_names_are_those_of_the_documentation() {
    let short: Vec<String> = crd::all()
        .into_iter()
        .flat_map(|definition| definition.spec.names.short_names.unwrap())
        .collect();
    assert_eq!(short, ["llp", "slo", "slas"]);
}

/// The rules of a field of a kind's spec.
fn rules(kind: &str, field: &str) -> Vec<String> {
    let mut all = crd::all().into_iter();
    let definition = all.find(|definition| definition.spec.names.kind == kind);
    let schema = serde_json::to_value(&definition.unwrap().spec.versions[0].schema).unwrap();
    let field = format!("/openAPIV3Schema/properties/spec/properties/{field}");
    let field = schema.pointer(&field).unwrap();
    let rules = field["x-kubernetes-validations"].as_array();
    rules
        .into_iter()
        .flatten()
        .map(|rule| rule["rule"].as_str().unwrap().to_owned())
        .collect()
}

/// Whether a number, the length of a text, or an item of a list passes a rule that compares it with others.
fn passes(rule: &str, value: f64) -> bool {
    let item = rule
        .strip_prefix("self.all(s, ")
        .and_then(|of_each| of_each.strip_suffix(')'));
    item.unwrap_or(rule).split("&&").all(|part| {
        let words: Vec<&str> = part.split_whitespace().collect();
        let [what, sign, bound] = words[..] else {
            panic!("no comparison: {rule}");
        };
        assert!(["self", "size(self)", "s"].contains(&what), "{rule}");
        let bound: f64 = bound.parse().unwrap();
        match sign {
            ">" => value > bound,
            ">=" => value >= bound,
            "<" => value < bound,
            "<=" => value <= bound,
            _ => panic!("no comparison: {rule}"),
        }
    })
}

/// What the kinds would refuse is a warning of the annotation: else nothing happens, and nobody says why.
#[test]
fn the_kinds_take_what_annotations_may_say_and_no_more() {
    let (objective, autoscaler) = ("ServiceLevelObjective", "SloAutoscaler");
    let profile = "LoadLatencyProfile";
    let name = a::APPLICATION_MOST as f64;
    let percent = |bound: u32| f64::from(bound) / 1000.0;
    let least = percent(*a::PERCENTILE_BOUNDS.start());
    let most = percent(*a::PERCENTILE_BOUNDS.end());
    let latency = a::LATENCY_MOST_US as f64 / 1000.0;
    let replicas = f64::from(*a::REPLICA_BOUNDS.end());
    let cpu = f64::from(*a::CPU_BOUNDS_M.end());
    // Kind, field, smallest and largest that an annotation may say, what lies beyond.
    for (kind, field, accepted, beyond) in [
        (objective, "application", [1.0, name], vec![0.0, name + 1.0]),
        (
            objective,
            "percentile",
            [least, most],
            vec![least - 0.001, most + 0.001],
        ),
        (
            objective,
            "latencyMs",
            [0.001, latency],
            vec![0.0, latency + 0.001],
        ),
        (autoscaler, "minReplicas", [1.0, replicas], vec![0.0]),
        (
            autoscaler,
            "maxReplicas",
            [1.0, replicas],
            vec![0.0, replicas + 1.0],
        ),
        (autoscaler, "cpu/properties/minMilli", [1.0, cpu], vec![]),
        (autoscaler, "cpu/properties/maxMilli", [1.0, cpu], vec![]),
        (profile, "sizesMilli", [1.0, cpu], vec![0.0, cpu + 1.0]),
    ] {
        let rules = rules(kind, field);
        let taken = |value: f64| rules.iter().all(|rule| passes(rule, value));
        for value in accepted {
            assert!(taken(value), "{field} of {kind}: {value} by {rules:?}");
        }
        for value in beyond {
            assert!(!taken(value), "{field} of {kind}: {value} by {rules:?}");
        }
    }
}
