//! The generated definitions are what is checked in, and say what users rely on.

#![allow(clippy::unwrap_used, reason = "a test: a panic is its way to fail")]

use std::path::PathBuf;

use msars_api::crd;

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
        let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
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

#[test]
fn short_names_are_those_of_the_documentation() {
    let short: Vec<String> = crd::all()
        .into_iter()
        .flat_map(|definition| definition.spec.names.short_names.unwrap())
        .collect();
    assert_eq!(short, ["llp", "slo", "slas"]);
}
