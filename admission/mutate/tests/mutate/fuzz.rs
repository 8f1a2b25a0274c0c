//! Reviews cut short, of wrong types, huge, deep or random: never a panic, always "allowed", always the same uid.

use std::sync::LazyLock;

use msars_gate::snapshot::Snapshot;
use msars_mutate::{Outcome, decide};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::sent::{ask, now, pod_create, set_image, snapshot};

/// Decides and checks the envelope; returns the uid answered.
fn answered(bytes: &[u8], snapshot: &Snapshot) -> (String, Outcome) {
    let answer = decide(bytes, snapshot, now());
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(body["kind"], "AdmissionReview");
    assert_eq!(body["response"]["allowed"], json!(true));
    (
        body["response"]["uid"].as_str().unwrap().to_owned(),
        answer.outcome,
    )
}

/// Reviews that reach every rule: a hold, a held object, an undo-like write, a creation, a pod.
static CORPUS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut held = set_image();
    let stored = ask(&held, &snapshot()).object;
    held["request"]["oldObject"] = stored.clone();
    held["request"]["object"] = stored;
    let mut undo = set_image();
    undo["request"]["object"]["spec"]["template"] =
        undo["request"]["oldObject"]["spec"]["template"].clone();
    undo["request"]["object"]["metadata"]["annotations"] = json!({"msars.io/mode": "off"});
    undo["request"]["oldObject"]["spec"]["template"]["spec"]["containers"][0]["image"] = json!("x");
    undo["request"]["options"] = Value::Null;
    let mut created = set_image();
    created["request"]["operation"] = json!("CREATE");
    created["request"]["oldObject"] = Value::Null;
    vec![set_image(), held, undo, created, pod_create()]
});

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(snapshot);

fn paths(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let step = |key: &str| format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, inner)| paths(inner, &step(key), found)),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .for_each(|(i, inner)| paths(inner, &step(&i.to_string()), found)),
        _ => {}
    }
}

#[test]
fn cut_at_every_byte() {
    for review in [set_image(), pod_create()] {
        let uid = review["request"]["uid"].as_str().unwrap();
        let bytes = review.to_string().into_bytes();
        let known_from = String::from_utf8_lossy(&bytes).find(uid).unwrap() + uid.len() + 1;
        for end in 0..bytes.len() {
            let (found, outcome) = answered(&bytes[..end], &SNAPSHOT);
            assert_eq!(found, if end < known_from { "" } else { uid }, "{end}");
            assert_eq!(outcome, Outcome::Unreadable, "{end}");
        }
    }
}

#[test]
fn a_wrong_type_at_every_path() {
    let wrong = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(1e308),
        json!(""),
        json!("\u{0}msars.io/~1é"),
        json!([]),
        json!([[{}]]),
        json!({}),
        json!({"a": {"b": [null]}}),
    ];
    for review in CORPUS.iter() {
        let mut all = Vec::new();
        paths(review, "", &mut all);
        for path in &all {
            for value in &wrong {
                let mut broken = review.clone();
                *broken.pointer_mut(path).unwrap() = value.clone();
                let uid = broken.pointer("/request/uid").and_then(Value::as_str);
                let found = ask(&broken, &SNAPSHOT).body["response"]["uid"].clone();
                if let Some(uid) = uid {
                    assert_eq!(found, uid, "{path}");
                }
            }
        }
    }
}

#[test]
fn a_missing_field_at_every_path() {
    for review in CORPUS.iter() {
        let mut all = Vec::new();
        paths(review, "", &mut all);
        for path in all.iter().skip(1) {
            let (parent, key) = path.rsplit_once('/').unwrap();
            let key = key.replace("~1", "/").replace("~0", "~");
            let mut broken = review.clone();
            match broken.pointer_mut(parent).unwrap() {
                Value::Object(map) => drop(map.shift_remove(&key)),
                Value::Array(list) => drop(list.remove(key.parse::<usize>().unwrap())),
                _ => {}
            }
            ask(&broken, &SNAPSHOT);
        }
    }
}

#[test]
fn unknown_fields_are_kept_and_harmless() {
    for mut review in CORPUS.clone() {
        let plain = ask(&review, &SNAPSHOT);
        let mut all = Vec::new();
        paths(&review, "", &mut all);
        for path in all
            .iter()
            .filter(|path| !path.contains("/template") && !path.contains("abels"))
        {
            if let Some(map) = review.pointer_mut(path).and_then(Value::as_object_mut) {
                map.insert("fieldOfTheFuture".into(), json!({"x": [1]}));
            }
        }
        let answered = ask(&review, &SNAPSHOT);
        assert_eq!(answered.outcome, plain.outcome);
        assert_eq!(answered.patch, plain.patch);
        assert_eq!(
            answered.object["spec"]["fieldOfTheFuture"],
            json!({"x": [1]})
        );
    }
}

#[test]
fn huge_and_deep() {
    let uid = set_image()["request"]["uid"].clone();
    let mut huge = set_image();
    huge["request"]["object"]["metadata"]["annotations"]["blob"] = json!("é".repeat(500_000));
    huge["request"]["object"]["metadata"]["annotations"]["msars.io/slo"] =
        json!("p".repeat(100_000));
    let answered_huge = ask(&huge, &SNAPSHOT);
    assert_eq!(answered_huge.outcome, "Patched Hold NewRevision");
    for warning in answered_huge.body["response"]["warnings"]
        .as_array()
        .unwrap()
    {
        assert!(warning.as_str().unwrap().chars().count() < 256);
    }
    let mut wide = set_image();
    let entry = wide["request"]["object"]["metadata"]["managedFields"][0].clone();
    wide["request"]["object"]["metadata"]["managedFields"] = Value::Array(vec![entry; 3000]);
    assert_eq!(ask(&wide, &SNAPSHOT).outcome, "Patched Hold NewRevision");
    let mut deep = set_image();
    let mut nest = json!(1);
    for _ in 0..100 {
        nest = json!({"n": [nest]});
    }
    deep["request"]["object"]["spec"]["nest"] = nest;
    let (found, outcome) = answered(deep.to_string().as_bytes(), &SNAPSHOT);
    assert_eq!((Value::from(found), outcome), (uid, Outcome::Unreadable));
    let bottomless = "[".repeat(1_000_000);
    assert_eq!(
        answered(bottomless.as_bytes(), &SNAPSHOT).1,
        Outcome::Unreadable
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        answered(&bytes, &Snapshot::default());
    }

    #[test]
    fn random_damage(which in 0..4_usize, places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = CORPUS[which].clone().to_string().into_bytes();
        for (place, byte) in places {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        answered(&bytes, &SNAPSHOT);
    }

    #[test]
    fn two_wrong_values_at_once(which in 0..4_usize, first in any::<prop::sample::Index>(), second in any::<prop::sample::Index>(), value in prop_oneof![Just(json!(null)), Just(json!([])), Just(json!({})), Just(json!(3)), Just(json!("true"))]) {
        let mut review = CORPUS[which].clone();
        for place in [first, second] {
            let mut all = Vec::new();
            paths(&review, "", &mut all);
            let path = &all[place.index(all.len())];
            *review.pointer_mut(path).unwrap() = value.clone();
        }
        ask(&review, &SNAPSHOT);
    }
}
