//! A team's own HorizontalPodAutoscaler: recommended beside, taken over, and handed back as it was.

use std::ops::ControlFlow;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::report::Adoption;
use crate::stage::Stage;
use crate::stored;
use crate::story::{
    ADOPT_LIMIT, ADOPTED, BESIDE_LIMIT, HPA_REPLICAS, HPA_WINDOW_S, NAMESPACE, RETURN_LIMIT,
};

/// Where nothing is found.
const NONE: &str = "none";

/// Plays the stage; a wait that passes is told with what was found, and the bars judge.
///
/// # Errors
/// When the run was told to end.
pub fn adoption(stage: &Stage<'_>) -> Result<Adoption> {
    let mut told = Adoption {
        workload: ADOPTED.name().to_owned(),
        from_s: stage.timeline.seconds(),
        ..Adoption::default()
    };
    if let Err(error) = play(stage, &mut told) {
        stage.interrupt.check()?;
        stage.say(&format!("{error:#}"));
    }
    told.to_s = stage.timeline.seconds();
    Ok(told)
}

fn play(stage: &Stage<'_>, told: &mut Adoption) -> Result<()> {
    let name = ADOPTED.name();
    stage
        .timeline
        .say("kubectl", &format!("$ kubectl apply -f hpa-{name}.yaml"));
    stage.cluster.apply(&manifest().to_string())?;
    annotate(stage, "msars.io/mode=recommend")?;
    let recommended = beside(stage)?;
    told.recommended_replicas = Some(recommended);
    stage.say(&format!(
        "HorizontalPodAutoscaler {name} scales; beside it {recommended} replicas of {name} are recommended"
    ));
    let Some(before) = found(stage)? else {
        bail!("expected: HorizontalPodAutoscaler {name} as it was applied; found: {NONE}");
    };
    told.spec = before.get("spec").cloned().unwrap_or_default();

    annotate(stage, "msars.io/adopt=hpa msars.io/mode=auto")?;
    let begun = stage.timeline.seconds();
    gone(stage)?;
    let seconds = stage.timeline.seconds() - begun;
    told.adopted_s = Some(seconds);
    stage.say(&format!(
        "HorizontalPodAutoscaler {name} is taken over after {seconds:.1} s"
    ));

    annotate(stage, "msars.io/mode=off")?;
    let begun = stage.timeline.seconds();
    let back = back(stage)?;
    let seconds = stage.timeline.seconds() - begun;
    told.returned_s = Some(seconds);
    told.returned_identical = theirs(&before) == theirs(&back);
    stage.say(&format!(
        "HorizontalPodAutoscaler {name} is back after {seconds:.1} s, as it was: {}",
        told.returned_identical
    ));
    Ok(())
}

fn annotate(stage: &Stage<'_>, pairs: &str) -> Result<()> {
    let line = format!("-n {NAMESPACE} annotate deploy/{ADOPTED} {pairs} --overwrite");
    stage.command(&line).map(drop)
}

/// The autoscaler that the team keeps.
fn manifest() -> Value {
    let name = ADOPTED.name();
    let (least, most) = HPA_REPLICAS;
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}});
    let policy = json!({"type": "Pods", "value": 1, "periodSeconds": 60});
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": name, "namespace": NAMESPACE,
            "labels": {"team": name}, "annotations": {"example.com/note": "tuned by hand"},
        },
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": least, "maxReplicas": most, "metrics": [cpu],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": HPA_WINDOW_S, "policies": [policy]}},
        },
    })
}

/// The autoscaler as it is stored; none when it is not there.
fn found(stage: &Stage<'_>) -> Result<Option<Value>> {
    stage.find("horizontalpodautoscalers", ADOPTED.name())
}

/// What of it belongs to its team.
fn theirs(hpa: &Value) -> [Option<&Value>; 3] {
    ["/metadata/labels", "/metadata/annotations", "/spec"].map(|part| hpa.pointer(part))
}

fn autoscaler(stage: &Stage<'_>) -> Result<Value> {
    stage.object(&["sloautoscalers.msars.io", ADOPTED.name()])
}

/// A condition in words.
fn told(autoscaler: &Value, type_: &str) -> String {
    stored::condition(autoscaler, type_).map_or(NONE.to_owned(), |(status, reason, message)| {
        format!("{type_}={status} {reason}: {message}")
    })
}

/// Waits until the other one has looked at its target, which has its fewest replicas, and the product only recommends;
/// answers with the replicas that it would want.
fn beside(stage: &Stage<'_>) -> Result<u32> {
    let name = ADOPTED.name();
    let what = format!("{name} scaled by its own autoscaler, with a recommendation beside it");
    stage.until(&what, BESIDE_LIMIT, || {
        let (ours, other) = (autoscaler(stage)?, found(stage)?);
        let deployment = stage.object(&["deployment", name])?;
        let count = |object: &Value, place: &str| {
            let count = object.pointer(place).and_then(Value::as_u64);
            count.and_then(|count| u32::try_from(count).ok())
        };
        let replicas = count(&deployment, "/spec/replicas");
        let looked = other.is_some_and(|hpa| hpa.pointer("/status/conditions").is_some());
        let recommends = stored::condition(&ours, "Ready")
            .is_some_and(|(status, reason, _)| status == "True" && reason == "Recommending");
        let wanted = count(&ours, "/status/desiredReplicas");
        let scaled = looked && replicas.is_some_and(|replicas| replicas >= HPA_REPLICAS.0);
        Ok(match wanted.filter(|_| recommends && scaled) {
            Some(wanted) => ControlFlow::Break(wanted),
            None => ControlFlow::Continue(format!(
                "the autoscaler has looked: {looked}, replicas {replicas:?}, {}",
                told(&ours, "Ready")
            )),
        })
    })
}

/// Waits until the other one is gone.
fn gone(stage: &Stage<'_>) -> Result<()> {
    let what = format!("HorizontalPodAutoscaler {ADOPTED} taken over");
    stage.until(&what, ADOPT_LIMIT, || {
        Ok(match found(stage)? {
            None => ControlFlow::Break(()),
            Some(_) => ControlFlow::Continue(told(&autoscaler(stage)?, "Adopted")),
        })
    })
}

/// Waits until it is there again and nothing of it is stored any more; answers with it.
fn back(stage: &Stage<'_>) -> Result<Value> {
    let what = format!("HorizontalPodAutoscaler {ADOPTED} there again, and nothing stored");
    stage.until(&what, RETURN_LIMIT, || {
        let (ours, hpa) = (autoscaler(stage)?, found(stage)?);
        let kept = ours
            .pointer("/status/adopted")
            .is_some_and(|kept| !kept.is_null());
        Ok(match hpa.filter(|_| !kept) {
            Some(hpa) => ControlFlow::Break(hpa),
            None => ControlFlow::Continue(format!("stored: {kept}, {}", told(&ours, "Adopted"))),
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{manifest, theirs};

    #[test]
    fn what_belongs_to_the_team_tells_two_autoscalers_apart() {
        let stored = |uid: &str| {
            let mut hpa = manifest();
            hpa["metadata"]["uid"] = json!(uid);
            hpa["status"] = json!({"currentReplicas": 2});
            hpa
        };
        let (one, other) = (stored("1"), stored("2"));
        assert_eq!(theirs(&one), theirs(&other));
        for part in [
            "/metadata/labels/team",
            "/metadata/annotations",
            "/spec/maxReplicas",
        ] {
            let mut other = other.clone();
            *other.pointer_mut(part).unwrap() = json!(7);
            assert_ne!(theirs(&one), theirs(&other), "{part}");
        }
    }
}
