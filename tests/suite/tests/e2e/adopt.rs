//! A workload's own HorizontalPodAutoscaler: left alone, taken over, handed back.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::audit::{Mark, OURS, Write};
use crate::bed::{Bed, until};
use crate::owners::untouched;
use crate::patience::{SOON, TICK, slowly, stays};
use crate::yard::ADOPTED;
use crate::{Case, beside};

pub const BESIDE: &[Case] = &[beside(
    "scaling: an HPA is taken over once its whole spec is stored, and comes back as it was",
    adopted,
)];

/// The autoscaler of the workload's team.
const HPA: &str = "e2e-team";
/// Who writes for all of them.
const CONTROLLER: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";
/// Its fewest replicas.
const LEAST: u64 = 2;
/// Its most.
const MOST: u64 = 6;
/// Replicas at the takeover: more than the load and the minimum ask for.
const LEFT: u64 = 3;
/// Its window downward, seconds: longer than the case, and not the usual one.
const WINDOW: u64 = 1800;

fn hpa() -> Value {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": ADOPTED.name()});
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}});
    let policy = json!({"type": "Pods", "value": 1, "periodSeconds": 60});
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": HPA, "namespace": ADOPTED.namespace,
            "labels": {"team": "queue"}, "annotations": {"example.com/note": "tuned by hand"},
        },
        "spec": {
            "scaleTargetRef": target, "minReplicas": LEAST, "maxReplicas": MOST, "metrics": [cpu],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": WINDOW, "policies": [policy]}},
        },
    })
}

/// The autoscaler as it is stored; none when it is not there.
fn found(bed: &Bed) -> Result<Option<Value>> {
    let text = bed.at(
        &ADOPTED,
        &["get", "hpa", HPA, "--ignore-not-found", "-o", "json"],
    )?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&text)?))
}

/// What of it belongs to its team.
fn theirs(hpa: &Value) -> Value {
    let meta = &hpa["metadata"];
    json!({"labels": meta["labels"], "annotations": meta["annotations"], "spec": hpa["spec"]})
}

fn scale(bed: &Bed, replicas: u64) -> Result<()> {
    let target = format!("deployment/{}", ADOPTED.name());
    let wish = format!("--replicas={replicas}");
    bed.at(&ADOPTED, &["scale", &target, &wish]).map(drop)
}

fn adopted(bed: &Bed) -> Result<()> {
    bed.yard()?;
    bed.apply(&hpa())?;
    let outcome = beside_it(bed)
        .and_then(|before| taken(bed, &before).map(|()| before))
        .and_then(|before| outlived(bed).map(|()| before))
        .and_then(|before| returned(bed, &before));
    bed.annotate(&ADOPTED, &["msars.io/mode=auto", "msars.io/adopt-"])?;
    // Where the case failed while it was taken over, it comes back first.
    let gone = slowly("nothing taken over", SOON, || {
        let kept = bed.status(&ADOPTED)?["adopted"].take();
        Ok(kept.is_null().then_some(()).ok_or(kept.to_string()))
    });
    bed.at(&ADOPTED, &["delete", "hpa", HPA, "--ignore-not-found"])?;
    outcome.and(gone)
}

/// Without `adopt` hands off; in `recommend` only words. Answers with the autoscaler as it is stored.
fn beside_it(bed: &Bed) -> Result<Value> {
    let why = bed.until_says(&ADOPTED, "ScalingActive", false, "AmbiguousSelector", SOON)?;
    for words in [HPA, "msars.io/adopt=hpa"] {
        ensure!(
            why.contains(words),
            "expected: a condition with {words}; found: {why}"
        );
    }
    // It scales without metrics: fewer than its minimum are too few.
    bed.until_replicas(&ADOPTED, LEAST, SOON)?;
    scale(bed, LEFT)?;
    bed.annotate(&ADOPTED, &["msars.io/mode=recommend", "msars.io/adopt=hpa"])?;
    let why = bed.until_says(&ADOPTED, "Adopted", false, "Recommending", SOON)?;
    println!("      {why}");
    let bounds = format!("from {LEAST} to {MOST} replicas as HorizontalPodAutoscaler {HPA}");
    ensure!(why.contains(&bounds), "expected: {bounds}; found: {why}");
    // The tick after it stopped acting is the first to recommend.
    let what = format!("Ready with {LEAST} to {MOST} replicas recommended");
    let (shown, message) = slowly(&what, SOON, || {
        let told = bed.says(&ADOPTED, "Ready")?.context("no Ready")?;
        let shown = bed.status(&ADOPTED)?["desiredReplicas"].as_u64();
        let shown = shown.filter(|shown| told.holds && (LEAST..=MOST).contains(shown));
        Ok(shown
            .map(|shown| (shown, told.message.clone()))
            .ok_or(format!("{told:?}")))
    })?;
    println!("      {shown} replicas recommended: {message}");
    let mark = bed.mark_audit()?;
    untouched(bed, mark, &ADOPTED, TICK)?;
    let replicas = bed.replicas(&ADOPTED)?;
    ensure!(
        replicas == LEFT,
        "expected: {LEFT} replicas, as they were; found: {replicas}"
    );
    found(bed)?.with_context(|| format!("expected: {HPA} as it was; found: none"))
}

/// With `auto` it goes, but not before it is stored.
fn taken(bed: &Bed, before: &Value) -> Result<()> {
    let mark = bed.mark_audit()?;
    bed.annotate(&ADOPTED, &["msars.io/mode=auto"])?;
    until(&format!("{HPA} is gone"), SOON + TICK, || {
        kept(bed)?;
        Ok(match found(bed)? {
            None => Ok(()),
            Some(_) => Err(format!("{:?}", bed.says(&ADOPTED, "Adopted")?)),
        })
    })?;
    let why = bed.until_says(&ADOPTED, "Adopted", true, "Adopted", SOON)?;
    println!("      {why}");
    let stored = bed.status(&ADOPTED)?["adopted"].take();
    same(before, &stored)?;
    ensure!(
        stored["name"] == HPA && stored["uid"] == before["metadata"]["uid"],
        "expected: {HPA} stored with its uid; found: {stored}"
    );
    ordered(&bed.writes(mark, ADOPTED.namespace)?, before)?;
    let events = bed.events(&ADOPTED, ADOPTED.name())?;
    for reason in ["AutoscalerStored: ", "AutoscalerAdopted: "] {
        ensure!(
            events
                .iter()
                .any(|event| event.starts_with(reason) && event.contains(HPA)),
            "expected: an event {reason}with {HPA}; found: {events:?}"
        );
    }
    in_force(bed, mark)
}

/// No fewer replicas than before.
fn kept(bed: &Bed) -> Result<()> {
    let replicas = bed.replicas(&ADOPTED)?;
    if replicas < LEFT {
        bail!("expected: {LEFT} replicas, as they were; found: {replicas}");
    }
    Ok(())
}

/// That the wish of the team is the same in both, the one as it was stored, the other as it was kept.
fn same(before: &Value, kept: &Value) -> Result<()> {
    for part in ["labels", "annotations", "spec"] {
        let was = &theirs(before)[part];
        ensure!(
            *was == kept[part],
            "expected: {part} as before, {was}; found: {}",
            kept[part]
        );
    }
    Ok(())
}

/// That the whole spec was stored before the autoscaler was deleted.
fn ordered(writes: &[Write], before: &Value) -> Result<()> {
    let ours = |write: &&Write| write.by == OURS && write.accepted();
    let stores = |write: &Write| {
        write.resource == "sloautoscalers/status"
            && write.name == ADOPTED.name()
            && write.body["status"]["adopted"]["spec"] == before["spec"]
    };
    let deletes = |write: &Write| {
        write.resource == "horizontalpodautoscalers" && write.verb == "delete" && write.name == HPA
    };
    let all: Vec<&Write> = writes.iter().filter(ours).collect();
    let store = all.iter().position(|write| stores(write));
    let delete = all.iter().position(|write| deletes(write));
    let words: Vec<String> = all
        .iter()
        .map(|write| format!("{} {}", write.verb, write.words()))
        .collect();
    ensure!(
        store
            .zip(delete)
            .is_some_and(|(store, delete)| store < delete),
        "expected: a status with the whole spec, then the delete of {HPA}; found: {words:?}"
    );
    Ok(())
}

/// That its bounds and its behaviour are ours now.
fn in_force(bed: &Bed, since: Mark) -> Result<()> {
    slowly("its bounds in the spec", SOON, || {
        let spec = bed.get_at(&ADOPTED, &["sloautoscaler", ADOPTED.name()])?["spec"].take();
        let fits = spec["minReplicas"] == LEAST && spec["maxReplicas"] == MOST;
        Ok(fits.then_some(()).ok_or(spec.to_string()))
    })?;
    // The load needs fewer; what it left stays for its window.
    let window = format!("within the last {WINDOW} s");
    let why = slowly(&format!("Ready with `{window}`"), SOON, || {
        let told = bed.says(&ADOPTED, "Ready")?;
        Ok(match told {
            Some(told) if told.holds && told.message.contains(&window) => Ok(told.message),
            other => Err(format!("{other:?}")),
        })
    })?;
    println!("      {why}");
    stays("replicas stay as it left them", TICK, || {
        let now = bed.replicas(&ADOPTED)?;
        Ok((now == LEFT).then_some(()).ok_or(format!("{now} replicas")))
    })?;
    let all = bed.ours(since, ADOPTED.namespace, ADOPTED.name())?;
    let scales: Vec<u64> = all.iter().filter_map(Write::replicas).collect();
    ensure!(
        scales.is_empty(),
        "expected: replicas not written; found: {scales:?}"
    );
    Ok(())
}

/// Whoever deletes the object that stores it loses nothing: the one that takes its place stores it.
fn outlived(bed: &Bed) -> Result<()> {
    let stored = bed.status(&ADOPTED)?["adopted"].take();
    bed.at(&ADOPTED, &["delete", "slas", ADOPTED.name()])?;
    until("what was taken over is stored anew", SOON, || {
        // Until it is made again, there is none to read.
        let found = bed.status(&ADOPTED).unwrap_or_default()["adopted"].take();
        let same = found["spec"] == stored["spec"] && found["name"] == stored["name"];
        Ok(same.then_some(()).ok_or(found.to_string()))
    })
}

/// With `off` it is there again as it was, and scales.
fn returned(bed: &Bed, before: &Value) -> Result<()> {
    bed.annotate(&ADOPTED, &["msars.io/mode=off"])?;
    let back = until(&format!("{HPA} is there again"), SOON, || {
        let told = || -> Result<String> { Ok(format!("{:?}", bed.says(&ADOPTED, "Adopted")?)) };
        Ok(match found(bed)? {
            Some(back) => Ok(back),
            None => Err(told()?),
        })
    })?;
    same(before, &theirs(&back))?;
    ensure!(
        back["metadata"]["uid"] != before["metadata"]["uid"],
        "expected: another object than before; found: the same uid"
    );
    let why = bed.until_says(&ADOPTED, "Adopted", false, "HandedBack", SOON)?;
    println!("      {why}");
    let kept = bed.status(&ADOPTED)?["adopted"].take();
    ensure!(
        kept.is_null(),
        "expected: nothing stored any more; found: {kept}"
    );
    let events = bed.events(&ADOPTED, ADOPTED.name())?;
    ensure!(
        events.iter().any(|event| event.starts_with("HandedBack: ")),
        "expected: an event HandedBack; found: {events:?}"
    );
    let replicas = bed.replicas(&ADOPTED)?;
    ensure!(
        replicas >= LEAST,
        "expected: no fewer replicas than its minimum when it came back; found: {replicas}"
    );
    // It acts: fewer than its minimum are too few, again.
    let mark = bed.mark_audit()?;
    scale(bed, LEAST - 1)?;
    bed.until_replicas(&ADOPTED, LEAST, SOON)?;
    let writes = bed.writes(mark, ADOPTED.namespace)?;
    let raised: Vec<&str> = writes
        .iter()
        .filter(|write| write.accepted() && write.name == ADOPTED.name())
        .filter(|write| write.resource == "deployments/scale" && write.replicas() == Some(LEAST))
        .map(|write| write.by.as_str())
        .collect();
    ensure!(
        raised == [CONTROLLER],
        "expected: replicas raised to {LEAST} by the autoscaler; found: {raised:?}"
    );
    Ok(())
}
