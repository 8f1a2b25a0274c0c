//! What people see of the three kinds: short names, columns, defaults, status.

use anyhow::{Result, ensure};
use msars_suite::{Bed, REACHED};
use serde_json::{Value, json};

use crate::Check;
use crate::rows::{Kind, object};

pub const CHECKS: &[Check] = &[
    ("short_names_columns_and_values", columns),
    ("what_is_left_out_gets_its_default", defaults),
    (
        "the_spec_is_no_place_for_a_status_and_unknown_fields_are_refused",
        strict,
    ),
];

struct Case {
    kind: Kind,
    short: &'static str,
    columns: &'static [&'static str],
    status: Value,
    values: &'static [&'static str],
}

fn ready() -> Value {
    json!([{
        "type": "Ready", "status": "True", "reason": "Met", "message": "all is well",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }])
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            kind: Kind::Slo,
            short: "slo",
            columns: &[
                "NAME",
                "APPLICATION",
                "ENTRY",
                "PERCENTILE",
                "TARGET-MS",
                "OBSERVED-MS",
                "ATTAINMENT",
                "BUDGET-LEFT",
                "READY",
                "AGE",
            ],
            status: json!({
                "observed": {"quantileMs": 312.5, "attainment": 0.995, "requests": 2000, "at": "2026-01-01T00:00:00Z"},
                "errorBudget": {
                    "target": 0.99, "attainment": 0.9975, "requests": 200_000, "left": 0.75, "hours": 24,
                    "at": "2026-01-01T00:00:00Z",
                },
                "conditions": ready(),
            }),
            values: &[
                "seen",
                "shop",
                "front-end",
                "99",
                "400",
                "312.5",
                "0.995",
                "0.75",
                "True",
            ],
        },
        Case {
            kind: Kind::Llp,
            short: "llp",
            columns: &[
                "NAME", "WORKLOAD", "REVISION", "PHASE", "SOURCE", "WORK-MS", "POINTS", "AGE",
            ],
            status: json!({
                "phase": "Done", "source": "Shadow", "pointCount": 6, "conditions": ready(),
                "mechanism": {
                    "workMs": 3.2, "workError": 0.02, "sigma": 0.6, "workers": 8, "cores": 2, "correction": 1,
                },
            }),
            values: &[
                "seen",
                "catalogue",
                "0123456789abcdef0123",
                "Done",
                "Shadow",
                "3.2",
                "6",
            ],
        },
        Case {
            kind: Kind::Slas,
            short: "slas",
            columns: &[
                "NAME", "TARGET", "MODE", "MIN", "MAX", "REPLICAS", "WANTED", "SIZE-M", "READY",
                "AGE",
            ],
            status: json!({
                "currentReplicas": 3, "desiredReplicas": 4, "sizeMilli": 250, "conditions": ready(),
            }),
            values: &[
                "seen",
                "catalogue",
                "auto",
                "2",
                "8",
                "3",
                "4",
                "250",
                "True",
            ],
        },
    ]
}

fn columns(bed: &Bed) -> Result<()> {
    for case in cases() {
        let object = object(case.kind, "seen");
        bed.must_with(&object.to_string(), &["apply", "-f", "-"])?;
        let patch = json!({"status": case.status}).to_string();
        bed.must(&[
            "-n",
            REACHED,
            "patch",
            case.short,
            "seen",
            "--subresource=status",
            "--type",
            "merge",
            "-p",
            &patch,
        ])?;
        let out = bed.must(&["-n", REACHED, "get", case.short, "seen"])?;
        let mut lines = out
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let (head, line) = (
            lines.next().unwrap_or_default(),
            lines.next().unwrap_or_default(),
        );
        ensure!(head == case.columns, "{}: {head:?}", case.short);
        ensure!(
            line.len() == head.len() && line.starts_with(case.values),
            "{}: {line:?}",
            case.short
        );
    }
    let all = bed.must(&["-n", REACHED, "get", "msars", "-o", "name"])?;
    for kind in [
        "loadlatencyprofile",
        "servicelevelobjective",
        "sloautoscaler",
    ] {
        let wanted = format!("{kind}.msars.io/seen");
        ensure!(
            all.lines().any(|line| line == wanted),
            "kubectl get msars: {all}"
        );
    }
    Ok(())
}

fn answer(bed: &Bed, object: &Value) -> Result<Value> {
    let args = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
    Ok(serde_json::from_str(
        &bed.must_with(&object.to_string(), &args)?,
    )?)
}

fn defaults(bed: &Bed) -> Result<()> {
    let mut slas = object(Kind::Slas, "defaults");
    slas["spec"] = json!({
        "targetRef": slas["spec"]["targetRef"], "cpu": {"minMilli": 50, "maxMilli": 100},
    });
    let spec = &answer(bed, &slas)?["spec"];
    for (place, wanted) in [
        ("/mode", json!("recommend")),
        ("/minReplicas", json!(1)),
        ("/maxReplicas", json!(10)),
        ("/cpu/stepMilli", json!(50)),
    ] {
        ensure!(spec.pointer(place) == Some(&wanted), "{place}: {spec}");
    }
    let mut slo = object(Kind::Slo, "defaults");
    slo["spec"] = json!({"application": "a", "entry": "e", "percentile": 99.9, "latencyMs": 10});
    let spec = &answer(bed, &slo)?["spec"];
    ensure!(spec["windowHours"] == 720, "windowHours: {spec}");
    let mut llp = object(Kind::Llp, "defaults");
    if let Some(spec) = llp["spec"].as_object_mut() {
        spec.remove("rates");
        spec.remove("requests");
        spec.remove("sizesMilli");
    }
    answer(bed, &llp).map(drop)
}

fn strict(bed: &Bed) -> Result<()> {
    let mut object = object(Kind::Slas, "strict");
    object["status"] = json!({"currentReplicas": 7});
    let made = answer(bed, &object)?;
    ensure!(
        made["status"].is_null(),
        "a status in a create is dropped: {made}"
    );
    object["spec"]["replicas"] = json!(3);
    let said = bed.kubectl_with(
        &object.to_string(),
        &["create", "--dry-run=server", "-f", "-"],
    )?;
    ensure!(
        !said.good && said.err.contains("unknown field \"spec.replicas\""),
        "{}",
        said.err
    );
    Ok(())
}
