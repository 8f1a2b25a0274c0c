//! What each kind accepts and refuses, at the bounds of every rule.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use msars_api::crd;
use msars_suite::{Bed, REACHED};
use serde_json::{Value, json};

use crate::Check;

pub const CHECKS: &[Check] = &[
    ("every_rule_has_a_row", complete),
    ("values_at_the_bounds_are_accepted", accepted),
    (
        "values_past_the_bounds_are_refused_with_the_message",
        refused,
    ),
];

/// Kind, place, value, and the message that refuses it.
type Row = (Kind, &'static str, &'static str, Option<&'static str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Slo,
    Llp,
    Slas,
}
use Kind::{Llp, Slas, Slo};

/// A complete object of the kind.
pub fn object(kind: Kind, name: &str) -> Value {
    let (word, spec) = match kind {
        Slo => (
            "ServiceLevelObjective",
            json!({
                "application": "shop", "entry": "front-end", "percentile": 99, "latencyMs": 400,
                "attainment": 0.99, "windowHours": 24,
                "chains": [{"name": "browse", "share": 1, "calls": [
                    {"caller": "front-end", "callee": "catalogue", "visits": 1.5, "way": "Sequential"},
                ]}],
            }),
        ),
        Llp => (
            "LoadLatencyProfile",
            json!({
                "workload": "catalogue", "revision": "0123456789abcdef0123", "shape": "0123456789abcdef0123",
                "requests": "GET /catalogue", "sizesMilli": [200, 400], "rates": [10, 20.5],
            }),
        ),
        Slas => (
            "SloAutoscaler",
            json!({
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "catalogue"},
                "mode": "auto", "minReplicas": 2, "maxReplicas": 8,
                "cpu": {"minMilli": 50, "maxMilli": 1000, "stepMilli": 50},
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
            }),
        ),
    };
    json!({
        "apiVersion": "msars.io/v1alpha1", "kind": word,
        "metadata": {"namespace": REACHED, "name": name}, "spec": spec,
    })
}

const APPLICATION: Option<&str> = Some("application must have 1 to 63 characters");
const ENTRY: Option<&str> = Some("entry must name a Deployment");
const PERCENTILE: Option<&str> =
    Some("percentile is in percent, from 50 to below 100, such as 99 or 99.9");
const LATENCY: Option<&str> = Some("latencyMs must be above 0 and at most 600000");
const ATTAINMENT: Option<&str> = Some("attainment is a share between 0 and 1, such as 0.99");
const WINDOW: Option<&str> = Some("windowHours must be from 1 to 2160");
const SHARE: Option<&str> = Some("share is a part of the entry's requests, above 0 and at most 1");
const VISITS: Option<&str> = Some("visits are mean calls per request of the caller, above 0");
const WORKLOAD: Option<&str> = Some("workload must name a Deployment");
const REVISION: Option<&str> =
    Some("revision is the hash of a pod template: 20 hexadecimal digits");
const SIZES: Option<&str> = Some("sizes are thousandths of a core, from 1 to 1000000");
const RATES: Option<&str> = Some("rates are requests per second, above 0 and at most 2000");
const MODE: Option<&str> = Some("mode is off, recommend or auto");
const MIN: Option<&str> = Some("minReplicas must be at least 1");
const MAX: Option<&str> = Some("maxReplicas must be from 1 to 10000");
const MIN_MAX: Option<&str> = Some("minReplicas must not be above maxReplicas");
const CPU: Option<&str> = Some("cpu.minMilli must not be above cpu.maxMilli");
const STEP: Option<&str> = Some("cpu.stepMilli must be at least 1");
const SMALL: Option<&str> = Some("cpu.minMilli must be from 1 to 1000000");
const LARGE: Option<&str> = Some("cpu.maxMilli must be from 1 to 1000000");
const MOST_VISITS: Option<&str> = Some("maxVisits must be from 1 to 10000");
const TARGET_VERSION: Option<&str> = Some("targetRef.apiVersion must be apps/v1");
const TARGET_KIND: Option<&str> = Some("targetRef.kind must be Deployment");
/// Refused by the schema, before any rule is asked; the schema's own words.
const MANY: Option<&str> = Some("must have at most 16 items");
/// Likewise.
const EMPTY: Option<&str> = Some("should be at least 1 chars long");
/// Likewise.
const NONE_SUCH: Option<&str> = Some("Unsupported value");
/// Likewise.
const TYPE: Option<&str> = Some("must be of type");
/// Likewise.
const FORM: Option<&str> = Some("should match");
/// Likewise.
const MOST: Option<&str> = Some("should be less than or equal to");
/// Likewise.
const LEAST: Option<&str> = Some("should be greater than or equal to");

#[rustfmt::skip]
const ROWS: &[Row] = &[
    (Slo, "application", r#""a""#, None),
    (Slo, "application", r#""""#, APPLICATION),
    (Slo, "application", r#""0123456789012345678901234567890123456789012345678901234567890123""#, APPLICATION),
    (Slo, "entry", r#""e""#, None),
    (Slo, "entry", r#""""#, ENTRY),
    (Slo, "percentile", "50", None),
    (Slo, "percentile", "99.99", None),
    (Slo, "percentile", "49.9", PERCENTILE),
    (Slo, "percentile", "100", PERCENTILE),
    (Slo, "percentile", "0.99", PERCENTILE),
    (Slo, "latencyMs", "0.5", None),
    (Slo, "latencyMs", "600000", None),
    (Slo, "latencyMs", "0", LATENCY),
    (Slo, "latencyMs", "600001", LATENCY),
    (Slo, "latencyMs", r#""400ms""#, TYPE),
    (Slo, "attainment", "0.999", None),
    (Slo, "attainment", "null", None),
    (Slo, "attainment", "1", ATTAINMENT),
    (Slo, "attainment", "99", ATTAINMENT),
    (Slo, "windowHours", "1", None),
    (Slo, "windowHours", "2160", None),
    (Slo, "windowHours", "0", WINDOW),
    (Slo, "windowHours", "2161", WINDOW),
    (Slo, "chains", "[]", None),
    (Slo, "chains", "17", MANY),
    (Slo, "chains", r#"[{"name":"","share":1,"calls":[]}]"#, EMPTY),
    (Slo, "chains", r#"[{"name":"a","share":1,"calls":[{"caller":"a","callee":"b","visits":1,"way":"Parallel"}]}]"#, None),
    (Slo, "chains", r#"[{"name":"a","share":1,"calls":[{"caller":"a","callee":"b","visits":1,"way":"Sometimes"}]}]"#, NONE_SUCH),
    (Slo, "chains", r#"[{"name":"a","share":0.001,"calls":[]},{"name":"b","share":1,"calls":[]}]"#, None),
    (Slo, "chains", r#"[{"name":"a","share":0,"calls":[]}]"#, SHARE),
    (Slo, "chains", r#"[{"name":"a","share":1.5,"calls":[]}]"#, SHARE),
    (Slo, "chains", r#"[{"name":"a","share":1,"calls":[{"caller":"a","callee":"b","visits":0.001}]}]"#, None),
    (Slo, "chains", r#"[{"name":"a","share":1,"calls":[{"caller":"a","callee":"b","visits":0}]}]"#, VISITS),
    (Slo, "chains", r#"[{"name":"a","share":1,"calls":[{"caller":"a","callee":"b","visits":-1}]}]"#, VISITS),
    (Slo, "chains", r#"[{"name":"a","share":1,"calls":[{"caller":"a","callee":"b","visits":1,"maxVisits":10000}]}]"#, None),
    (Slo, "chains", r#"[{"name":"a","share":1,"calls":[{"caller":"a","callee":"b","visits":1,"maxVisits":10001}]}]"#, MOST_VISITS),
    (Slo, "chains", r#"[{"name":"a","share":1,"calls":[{"caller":"a","callee":"b","visits":1,"maxVisits":5000000000}]}]"#, MOST),
    (Llp, "workload", r#""w""#, None),
    (Llp, "workload", r#""""#, WORKLOAD),
    (Llp, "revision", r#""fedcba9876543210fedc""#, None),
    (Llp, "revision", r#""FEDCBA9876543210FEDC""#, REVISION),
    (Llp, "revision", r#""fedcba9876543210fed""#, REVISION),
    (Llp, "sizesMilli", "[1, 1000000]", None),
    (Llp, "sizesMilli", "[100, 0]", SIZES),
    (Llp, "sizesMilli", "[1000001]", SIZES),
    (Llp, "rates", "[0.1, 2000]", None),
    (Llp, "rates", "[0]", RATES),
    (Llp, "rates", "[2000.5]", RATES),
    (Llp, "rates", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", MANY),
    (Slas, "mode", r#""off""#, None),
    (Slas, "mode", r#""recommend""#, None),
    (Slas, "mode", r#""on""#, MODE),
    (Slas, "minReplicas", "1", None),
    (Slas, "minReplicas", "8", None),
    (Slas, "minReplicas", "0", MIN),
    (Slas, "minReplicas", "9", MIN_MAX),
    (Slas, "maxReplicas", "10000", None),
    (Slas, "maxReplicas", "0", MAX),
    (Slas, "maxReplicas", "10001", MAX),
    (Slas, "cpu", r#"{"minMilli":100,"maxMilli":100}"#, None),
    (Slas, "cpu", r#"{"minMilli":101,"maxMilli":100}"#, CPU),
    (Slas, "cpu", r#"{"minMilli":100,"maxMilli":200,"stepMilli":1}"#, None),
    (Slas, "cpu", r#"{"minMilli":100,"maxMilli":200,"stepMilli":0}"#, STEP),
    (Slas, "cpu", r#"{"minMilli":0,"maxMilli":100}"#, SMALL),
    (Slas, "cpu", r#"{"minMilli":1,"maxMilli":1000000}"#, None),
    (Slas, "cpu", r#"{"minMilli":1,"maxMilli":1000001}"#, LARGE),
    // Past what the type holds: one such object would make the kind unreadable.
    (Slas, "cpu", r#"{"minMilli":1,"maxMilli":5000000000}"#, MOST),
    (Slas, "maxReplicas", "5000000000", MOST),
    (Slas, "minReplicas", "-1", LEAST),
    (Slas, "behavior", r#"{"scaleUp":{"policies":[{"type":"Pods","value":1,"periodSeconds":1800}],"tolerance":"50m"}}"#, None),
    (Slas, "behavior", r#"{"scaleDown":{"selectPolicy":"Disabled","stabilizationWindowSeconds":3600}}"#, None),
    (Slas, "behavior", r#"{"scaleUp":{"tolerance":0},"scaleDown":{"tolerance":"0.05"}}"#, None),
    (Slas, "behavior", r#"{"scaleUp":{"tolerance":"-0.1"}}"#, FORM),
    (Slas, "behavior", r#"{"scaleUp":{"tolerance":-1}}"#, LEAST),
    (Slas, "behavior", r#"{"scaleDown":{"selectPolicy":"disabled"}}"#, NONE_SUCH),
    (Slas, "behavior", r#"{"scaleDown":{"policies":[{"type":"pods","value":1,"periodSeconds":15}]}}"#, NONE_SUCH),
    (Slas, "behavior", r#"{"scaleDown":{"stabilizationWindowSeconds":3000000000}}"#, MOST),
    (Slas, "behavior", r#"{"scaleDown":{"stabilizationWindowSeconds":-1}}"#, LEAST),
    (Slas, "behavior", r#"{"scaleUp":{"policies":[{"type":"Percent","value":0,"periodSeconds":15}]}}"#, LEAST),
    (Slas, "behavior", r#"{"scaleUp":{"policies":[{"type":"Percent","value":1,"periodSeconds":1801}]}}"#, MOST),
    (Slas, "targetRef", r#"{"apiVersion":"apps/v1","kind":"Deployment","name":"x"}"#, None),
    (Slas, "targetRef", r#"{"apiVersion":"apps/v1beta1","kind":"Deployment","name":"x"}"#, TARGET_VERSION),
    (Slas, "targetRef", r#"{"apiVersion":"apps/v1","kind":"StatefulSet","name":"x"}"#, TARGET_KIND),
    (Slas, "targetRef", r#"{"apiVersion":"apps/v1","kind":"Deployment","name":""}"#, EMPTY),
];

/// Each message of a rule refuses a row, and the same place accepts another.
fn complete(_: &Bed) -> Result<()> {
    let mut messages = BTreeSet::new();
    for definition in crd::all() {
        collect(&serde_json::to_value(&definition)?, &mut messages);
    }
    ensure!(messages.len() > 15, "the rules are found");
    for message in messages {
        // The schema's own bound refuses first.
        if message == "at most 16 chains" {
            continue;
        }
        let Some(row) = ROWS.iter().find(|row| row.3 == Some(message.as_str())) else {
            anyhow::bail!("no row is refused with {message:?}");
        };
        ensure!(
            ROWS.iter()
                .any(|other| other.0 == row.0 && other.1 == row.1 && other.3.is_none()),
            "no row at {} is accepted",
            row.1
        );
    }
    Ok(())
}

fn collect(value: &Value, messages: &mut BTreeSet<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| collect(value, messages)),
        Value::Object(map) => {
            for (key, value) in map {
                let rules = value
                    .as_array()
                    .filter(|_| key == "x-kubernetes-validations");
                for rule in rules.into_iter().flatten() {
                    messages.extend(rule["message"].as_str().map(str::to_owned));
                }
                collect(value, messages);
            }
        }
        _ => {}
    }
}

fn name(index: usize) -> String {
    format!("row-{index:03}")
}

/// The objects of the rows whose verdict is `refused`, as one document for one kubectl call.
fn objects(refused: bool) -> Result<String> {
    let mut items = Vec::new();
    for (index, (kind, place, value, message)) in ROWS.iter().enumerate() {
        if message.is_some() != refused {
            continue;
        }
        let mut object = object(*kind, &name(index));
        object["spec"][*place] = if *value == "17" {
            let chain = json!({"name": "a", "share": 1, "calls": []});
            Value::Array(vec![chain; 17])
        } else {
            serde_json::from_str(value)?
        };
        items.push(object);
    }
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())
}

/// Not validated by kubectl, which would stop at the first wrong type: the API server's word counts.
const CREATE: [&str; 5] = ["create", "--dry-run=server", "--validate=ignore", "-f", "-"];

fn accepted(bed: &Bed) -> Result<()> {
    let said = bed.kubectl_with(&objects(false)?, &CREATE)?;
    ensure!(said.good && said.err.is_empty(), "{}", said.err);
    Ok(())
}

fn refused(bed: &Bed) -> Result<()> {
    let said = bed.kubectl_with(&objects(true)?, &CREATE)?;
    ensure!(said.out.is_empty(), "accepted: {}", said.out);
    // One paragraph per object: "The <kind> "<name>" is invalid: …".
    let paragraphs: Vec<&str> = said.err.split("The ").collect();
    let mut wrong = Vec::new();
    for (index, (_, place, value, message)) in ROWS.iter().enumerate() {
        let Some(message) = message else { continue };
        let quoted = format!("\"{}\"", name(index));
        let found = paragraphs
            .iter()
            .find(|paragraph| paragraph.contains(&quoted));
        if !found.is_some_and(|paragraph| paragraph.contains(message)) {
            wrong.push(format!("{place} = {value}: {message}; found {found:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}\n{}", said.err);
    Ok(())
}
