//! Who else may decide: a second autoscaler, a foreign writer; and workloads of which too little is known.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::audit::Mark;
use crate::bed::Bed;
use crate::patience::{SOON, TICK, slowly, stays};
use crate::yard::{FOREIGN, IDLE, Plot, RIVALLED, SILENT};
use crate::{Case, beside};

pub const BESIDE: &[Case] = &[
    beside(
        "scaling: beside an HPA, a VPA, then a ScaledObject, recommend shows and auto keeps its hands off until it is gone",
        rivalled,
    ),
    beside(
        "scaling: replicas forced down are restored once, and left alone the second time; declared ones by the told way",
        foreign,
    ),
    beside(
        "scaling: without metrics or a profile only the reason is told and nothing is written",
        unknown,
    ),
];

/// What the product wrote to a plot, in words.
fn written(bed: &Bed, since: Mark, plot: &Plot) -> Result<Vec<String>> {
    let all = bed.ours(since, plot.namespace, plot.name())?;
    Ok(all.iter().map(crate::audit::Write::words).collect())
}

/// That nothing is written to a plot for so long.
pub fn untouched(bed: &Bed, since: Mark, plot: &Plot, seconds: u64) -> Result<()> {
    let what = format!("nothing is written to {}", plot.name());
    stays(&what, seconds, || {
        let all = written(bed, since, plot)?;
        Ok(all.is_empty().then_some(()).ok_or(format!("{all:?}")))
    })
}

fn rivalled(bed: &Bed) -> Result<()> {
    bed.yard()?;
    let before = bed.replicas(&RIVALLED)?;
    let wanted = before + 1;
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": RIVALLED.name()});
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}});
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "e2e-old", "namespace": RIVALLED.namespace},
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 4, "metrics": [cpu]},
    });
    bed.apply(&hpa)?;
    let outcome = beside_hpa(bed, wanted);
    bed.at(&RIVALLED, &["delete", "hpa", "e2e-old"])?;
    outcome?;
    bed.until_says(&RIVALLED, "ScalingActive", true, "ValidMetricFound", SOON)?;
    bed.until_replicas(&RIVALLED, wanted, SOON)?;
    bed.annotate(&RIVALLED, &["msars.io/min-replicas-"])?;
    let outcome = beside_vpa(bed).and_then(|()| beside_keda(bed));
    for kind in [&VPA, &KEDA] {
        bed.must(&["delete", "crd", &kind.name(), "--ignore-not-found"])?;
    }
    outcome
}

/// A kind that a cluster may have or not.
struct Definition {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static str,
}

const VPA: Definition = Definition {
    group: "autoscaling.k8s.io",
    version: "v1",
    kind: "VerticalPodAutoscaler",
    plural: "verticalpodautoscalers",
    short: "vpa",
};
const KEDA: Definition = Definition {
    group: "keda.sh",
    version: "v1alpha1",
    kind: "ScaledObject",
    plural: "scaledobjects",
    short: "so",
};
/// The product looks for kinds that came later, or went, once a minute.
const FOUND: u64 = 60 + SOON;

/// A kind that the cluster gets now, without its schema and its programs.
impl Definition {
    fn name(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    /// Makes the kind, and one of it with this name and spec for the rivalled workload; the condition's words about it.
    fn rivals(&self, bed: &Bed, name: &str, spec: &Value) -> Result<String> {
        let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let approved = "unapproved, a test's own";
        bed.apply(&json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": self.name(), "annotations": {"api-approved.kubernetes.io": approved}},
            "spec": {
                "group": self.group, "scope": "Namespaced",
                "names": {"kind": self.kind, "plural": self.plural, "shortNames": [self.short]},
                "versions": [{
                    "name": self.version, "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": any},
                }],
            },
        }))?;
        let rival = json!({
            "apiVersion": format!("{}/{}", self.group, self.version), "kind": self.kind,
            "metadata": {"name": name, "namespace": RIVALLED.namespace},
            "spec": spec,
        });
        slowly("the new kind is served", SOON, || {
            Ok(bed.apply(&rival).map_err(|error| error.to_string()))
        })?;
        let why = bed.until_says(
            &RIVALLED,
            "ScalingActive",
            false,
            "AmbiguousSelector",
            FOUND,
        )?;
        println!("      {why}");
        let told = format!("{} {name}", self.kind);
        ensure!(
            why.contains(&told),
            "expected: a condition that names {told}; found: {why}"
        );
        Ok(why)
    }
}

fn beside_keda(bed: &Bed) -> Result<()> {
    // Without an HPA, as while it is paused.
    let target = json!({"scaleTargetRef": {"name": RIVALLED.name()}});
    let why = KEDA.rivals(bed, "e2e-queue", &target)?;
    let command = format!(
        "kubectl -n {} delete scaledobject e2e-queue",
        RIVALLED.namespace
    );
    ensure!(
        why.contains(&command),
        "expected: a condition that says {command}; found: {why}"
    );
    bed.at(&RIVALLED, &["delete", "scaledobject", "e2e-queue"])?;
    bed.until_says(&RIVALLED, "ScalingActive", true, "ValidMetricFound", SOON)
        .map(drop)
}

fn beside_vpa(bed: &Bed) -> Result<()> {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": RIVALLED.name()});
    let spec = json!({"targetRef": target, "updatePolicy": {"updateMode": "Initial"}});
    let why = VPA.rivals(bed, "e2e-sizes", &spec)?;
    // The condition's own command, so far as it is one.
    let command = "patch vpa e2e-sizes --type merge -p '{\"spec\":{\"updatePolicy\":{\"updateMode\":\"Off\"}}}'";
    ensure!(
        why.contains(command),
        "expected: a condition that says {command}; found: {why}"
    );
    let events = bed.events(&RIVALLED, RIVALLED.name())?;
    ensure!(
        events
            .iter()
            .any(|event| event.starts_with("AmbiguousSelector: ") && event.contains("e2e-sizes")),
        "expected: an event that names the VPA; found: {events:?}"
    );
    let off = json!({"spec": {"updatePolicy": {"updateMode": "Off"}}}).to_string();
    bed.at(
        &RIVALLED,
        &["patch", "vpa", "e2e-sizes", "--type=merge", "-p", &off],
    )?;
    bed.until_says(&RIVALLED, "ScalingActive", true, "ValidMetricFound", SOON)
        .map(drop)
}

fn beside_hpa(bed: &Bed, wanted: u64) -> Result<()> {
    // One more than there are, so that there is something to show and to write.
    let least = format!("msars.io/min-replicas={wanted}");
    bed.annotate(&RIVALLED, &["msars.io/mode=recommend", &least])?;
    slowly("recommend shows what it would do", SOON, || {
        let status = bed.status(&RIVALLED)?;
        let shown = &status["desiredReplicas"];
        Ok((shown.as_u64() == Some(wanted))
            .then_some(())
            .ok_or(format!("{shown} wanted")))
    })?;
    let mark = bed.mark_audit()?;
    let told = bed.says(&RIVALLED, "ScalingActive")?;
    ensure!(
        told.as_ref().is_some_and(|told| told.holds),
        "expected: recommend decides beside an HPA; found: {told:?}"
    );
    bed.annotate(&RIVALLED, &["msars.io/mode=auto"])?;
    let why = bed.until_says(&RIVALLED, "ScalingActive", false, "AmbiguousSelector", SOON)?;
    println!("      {why}");
    ensure!(
        why.contains("HorizontalPodAutoscaler e2e-old"),
        "expected: a condition that names the HPA; found: {why}"
    );
    untouched(bed, mark, &RIVALLED, TICK)?;
    let replicas = bed.replicas(&RIVALLED)?;
    ensure!(
        replicas < wanted,
        "expected: replicas as the HPA left them; found: {replicas}"
    );
    Ok(())
}

fn foreign(bed: &Bed) -> Result<()> {
    bed.yard()?;
    bed.until_replicas(&FOREIGN, 2, SOON)?;
    let target = format!("deployment/{}", FOREIGN.name());
    let force = || bed.at(&FOREIGN, &["scale", &target, "--replicas=1"]);
    let mark = bed.mark_audit()?;
    force()?;
    bed.until_replicas(&FOREIGN, 2, SOON)?;
    let events = bed.events(&FOREIGN, FOREIGN.name())?;
    let told = events
        .iter()
        .find(|event| event.contains("somebody took replicas down"));
    ensure!(
        told.is_some_and(|event| event.starts_with("SuccessfulRescale")),
        "expected: an event that says why it is restored; found: {events:?}"
    );
    force()?;
    let why = bed.until_says(&FOREIGN, "ReplicasConflict", true, "ForeignWriter", SOON)?;
    println!("      {why}");
    stays("the second time it is left alone", TICK, || {
        let now = bed.replicas(&FOREIGN)?;
        Ok((now == 1).then_some(()).ok_or(format!("{now} replicas")))
    })?;
    let scales = bed.ours(mark, FOREIGN.namespace, FOREIGN.name())?;
    let scales: Vec<u64> = scales
        .iter()
        .filter_map(crate::audit::Write::replicas)
        .collect();
    ensure!(
        scales == [2],
        "expected: replicas written once, to 2; found: {scales:?}"
    );
    // The foreign writer takes it back: nobody fights any more.
    bed.at(&FOREIGN, &["scale", &target, "--replicas=2"])?;
    bed.until_says(&FOREIGN, "ReplicasConflict", false, "NoConflict", SOON)?;
    declared(bed)
}

/// What a tool would have in Git: the whole object, since kubectl gives a tool all that it had applied itself before.
fn manifest(bed: &Bed) -> Result<Value> {
    let live = bed.get_at(&FOREIGN, &["deployment", FOREIGN.name()])?;
    let mut annotations = live["metadata"]["annotations"].clone();
    if let Some(all) = annotations.as_object_mut() {
        all.retain(|name, _| name.starts_with("msars.io/"));
    }
    Ok(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "namespace": FOREIGN.namespace, "name": FOREIGN.name(),
            "labels": live["metadata"]["labels"], "annotations": annotations,
        },
        "spec": live["spec"],
    }))
}

/// A tool of GitOps declares replicas and, by the condition's own command, gives them up without a fall to one.
fn declared(bed: &Bed) -> Result<()> {
    let mut object = manifest(bed)?;
    let apply = |object: &Value| {
        let how = "apply --server-side --force-conflicts --field-manager=kustomize-controller --validate=false -f -";
        let how: Vec<&str> = how.split(' ').collect();
        bed.must_with(&object.to_string(), &how)
    };
    apply(&object)?;
    let why = bed.until_says(&FOREIGN, "ReplicasConflict", true, "DeclaredReplicas", SOON)?;
    let command = why.split_once("echo '").and_then(|(_, rest)| {
        let (object, rest) = rest.split_once("' | kubectl ")?;
        Some((object, rest.split_once(" ;")?.0))
    });
    let (fields, command) =
        command.with_context(|| format!("expected: a command in the condition; found: {why}"))?;
    println!("      kubectl {command}");
    bed.must_with(fields, &command.split(' ').collect::<Vec<_>>())?;
    // The next sync, without the field.
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.remove("replicas");
    }
    apply(&object)?;
    let replicas = bed.replicas(&FOREIGN)?;
    ensure!(
        replicas == 2,
        "expected: 2 replicas after the field left the manifest; found: {replicas}"
    );
    bed.until_says(&FOREIGN, "ReplicasConflict", false, "NoConflict", SOON)
        .map(drop)
}

fn unknown(bed: &Bed) -> Result<()> {
    let mark = bed.mark_audit()?;
    bed.yard()?;
    for plot in [&SILENT, &IDLE] {
        let name = plot.name();
        let told = slowly(&format!("why {name} is not scaled"), SOON, || {
            let told = bed.says(plot, "ScalingActive")?;
            Ok(match told {
                Some(told) if !told.holds => Ok(told),
                other => Err(format!("{other:?}")),
            })
        })?;
        let why = format!("{}: {}", told.reason, told.message);
        println!("      {name}: {why}");
        ensure!(
            ["NoProfile", "NoObjective", "FailedGetPodsMetric"].contains(&told.reason.as_str()),
            "expected: the reason why {name} is not scaled; found: {why}"
        );
        let summary = bed.says(plot, "Ready")?;
        ensure!(
            summary
                .as_ref()
                .is_some_and(|told| !told.holds && told.message.contains("stays at")),
            "expected: Ready False with what is decided; found: {summary:?}"
        );
    }
    // Both are below their minimum: there is something that could be written.
    for plot in [&SILENT, &IDLE] {
        untouched(bed, mark, plot, TICK / 2)?;
        let replicas = bed.replicas(plot)?;
        ensure!(replicas == 1, "expected: 1 replica; found: {replicas}");
    }
    Ok(())
}
