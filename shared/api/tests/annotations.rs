//! Accepted and rejected annotation values.
use msars_api::annotations::{self as a, parse};
use std::collections::BTreeMap;

fn warnings(name: &str, value: &str) -> usize {
    parse(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
        .1
        .len()
}

#[test]
fn table() {
    for (name, good, bad) in [
        (a::MODE, "auto", "on"),
        (a::GATE, "hold", "Hold"),
        (a::GATE_DEADLINE, "90s", "0s"),
        (a::SKIP_GATE, "true", "yes"),
        (a::MIN_REPLICAS, "2", "0"),
        (a::MAX_REPLICAS, "9", "-1"),
        (a::PAUSE, "false", ""),
        (a::PAUSE_SCALE_DOWN, "true", "1"),
    ] {
        assert_eq!(warnings(name, good), 0, "{name}");
        assert_eq!(warnings(name, bad), 1, "{name}");
    }
}

#[test]
fn a_warning_names_annotation_value_accepted_form_and_default() {
    let given = BTreeMap::from([(a::GATE_DEADLINE.to_owned(), "2m".to_owned())]);
    let (settings, warnings) = parse(&given);
    let wanted = a::Warning {
        annotation: a::GATE_DEADLINE,
        value: "2m".into(),
        accepted: "whole seconds, as 120s",
        default_used: "120s",
    };
    assert_eq!(warnings, [wanted]);
    assert_eq!(settings.gate_deadline_s, 120);
}
