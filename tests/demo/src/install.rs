//! The product and the shop on an empty cluster.

use std::ops::ControlFlow;

use anyhow::Result;
use msars_shop::{Options, Version, manifests};
use serde_json::Value;

use crate::images;
use crate::stage::Stage;
use crate::stored::{condition, items, name};
use crate::story::{INSTALL_LIMIT, NAMESPACE, SHOP_LIMIT, SYSTEM, slo};

/// Namespaces of an earlier run; its revisions are known already, so that nothing would be held.
///
/// # Errors
/// When kubectl fails.
pub fn leftovers(stage: &Stage<'_>) -> Result<Vec<String>> {
    let found = stage.cluster.ask([
        "get",
        "namespace",
        NAMESPACE,
        SYSTEM,
        "--ignore-not-found",
        "-o",
        "name",
    ])?;
    Ok(found.split_whitespace().map(str::to_owned).collect())
}

/// Images, product, shop, grant; ends when all of it is Available and the webhooks are reachable.
///
/// # Errors
/// When something does not get there in time.
pub fn install(stage: &Stage<'_>) -> Result<()> {
    let images = images::all(&stage.programs)?;
    stage.cluster.load_images(&images)?;
    stage.say(&format!("{} images loaded", images.len()));

    let folder = |name: &str| {
        stage
            .root
            .join("manifests")
            .join(name)
            .display()
            .to_string()
    };
    stage
        .timeline
        .say("kubectl", "$ kubectl apply -k manifests/overlays/shop");
    stage
        .cluster
        .ask(["apply", "-k", &folder("overlays/shop")])?;
    let options = Options {
        namespace: NAMESPACE.to_owned(),
        version: Version::V1,
        slo: slo(),
        mode: "auto".to_owned(),
        gate: "hold".to_owned(),
        ..Options::default()
    };
    stage.cluster.apply(&manifests(&options).to_string())?;
    stage.say(&format!(
        "the shop is applied, version v1, objective {}",
        slo()
    ));
    stage.timeline.say(
        "kubectl",
        &format!("$ kubectl apply -k manifests/namespace -n {NAMESPACE}"),
    );
    stage
        .cluster
        .ask(["apply", "-k", &folder("namespace"), "-n", NAMESPACE])?;
    stage.command(&format!(
        "label namespace {NAMESPACE} msars.io/enabled=true --overwrite"
    ))?;

    available(stage, NAMESPACE, SHOP_LIMIT)?;
    stage.say("the shop is Available");
    available(stage, SYSTEM, INSTALL_LIMIT)?;
    trusted(stage)?;
    stage.say("webhook and controller are Available");
    Ok(())
}

fn available(stage: &Stage<'_>, namespace: &str, limit: std::time::Duration) -> Result<()> {
    let what = format!("every Deployment in {namespace} Available");
    stage.until(&what, limit, || {
        let list = stage.object_in(namespace, &["deployments"])?;
        let missing: Vec<&str> = items(&list)
            .iter()
            .filter(|one| condition(one, "Available").is_none_or(|(status, _, _)| status != "True"))
            .map(name)
            .collect();
        Ok(match (items(&list).len(), missing.is_empty()) {
            (0, _) => ControlFlow::Continue("none at all".to_owned()),
            (_, true) => ControlFlow::Break(()),
            (_, false) => ControlFlow::Continue(format!("not yet {}", missing.join(", "))),
        })
    })
}

/// Waits until the API server knows the webhooks' authority.
fn trusted(stage: &Stage<'_>) -> Result<()> {
    stage.until("an authority in both webhooks", INSTALL_LIMIT, || {
        let found = stage.object(&["mutatingwebhookconfiguration", "msars-admission"])?;
        let hooks = found.get("webhooks").and_then(Value::as_array);
        let all = hooks.is_some_and(|hooks| {
            hooks.iter().all(|hook| {
                let bundle = hook
                    .pointer("/clientConfig/caBundle")
                    .and_then(Value::as_str);
                bundle.is_some_and(|bundle| !bundle.is_empty())
            })
        });
        Ok(if all {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue("none yet".to_owned())
        })
    })
}
