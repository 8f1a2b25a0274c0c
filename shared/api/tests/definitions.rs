//! The generated definitions are what is checked in, and say what users rely on.

#![allow(clippy::unwrap_used, reason = "a test: a panic is its way to fail")]

use msars_api::crd;

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
