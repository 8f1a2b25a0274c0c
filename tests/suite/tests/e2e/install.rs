//! What is put on the cluster: images, the product, and how small the shop is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use msars_cluster::Image;
use msars_shop::{ROLES, Role, VERSIONS, Version, image};
use msars_suite::{documents, folder};
use serde_json::{Value, json};

use crate::bed::{Bed, SYSTEM, until};

/// Where the programs lie that cargo built beside this test.
pub fn programs() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("MSARS_E2E_PROGRAMS") {
        return Ok(folder.into());
    }
    let own = std::env::current_exe()?;
    let deps = own.parent().and_then(Path::parent);
    Ok(deps
        .context("a test lies in target/PROFILE/deps")?
        .to_owned())
}

impl Bed {
    /// Gives the node every image.
    pub fn images(&self) -> Result<()> {
        let folder = programs()?;
        let program = |name: &str| {
            Image::of_program("unnamed", &folder.join(name)).with_context(|| {
                format!("{name}: build the programs first, as `cargo xtask test` does")
            })
        };
        let mut all = vec![
            program("msars-admission")?.named("msars/admission:dev"),
            program("msars-autoscaler")?.named("msars/autoscaler:dev"),
            program("msars-profile")?.named("msars/profile:dev"),
        ];
        let shop = program("msars-shop")?;
        for role in ROLES.into_iter().chain([Role::Sidecar]) {
            let wanted = |version: &Version| *version == Version::V1 || role == Role::Catalogue;
            for version in VERSIONS.into_iter().filter(wanted) {
                let image = image(role, version);
                let env = image.env.into_iter();
                all.push(env.fold(shop.named(&image.reference), Image::with_env));
            }
        }
        self.cluster.load_images(&all)
    }

    /// Installs the product with flags for quick learning.
    pub fn install(&self) -> Result<()> {
        let mut all = documents(&folder(""))?;
        for object in &mut all {
            if object["metadata"]["name"] == "msars-settings" {
                object["data"]["MSARS_PRESET"] = json!("shop");
                // Scrapes come every 5 s here.
                object["data"]["MSARS_SCRAPE_SECONDS"] = json!("5");
            }
            let ours =
                object["kind"] == "Deployment" && object["metadata"]["name"] == "msars-autoscaler";
            let args = object.pointer_mut("/spec/template/spec/containers/0/args");
            if let Some(args) = args.and_then(Value::as_array_mut).filter(|_| ours) {
                // What takes minutes elsewhere is learnt in one.
                args.push(json!("--window-seconds=40"));
                // What a decision rested on is read from the log.
                let text = |arg: &Value| arg.as_str().unwrap_or_default().to_owned();
                args.retain(|arg| !text(arg).starts_with("--decisions="));
                args.push(json!("--decisions=-"));
            }
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": all});
        self.must_with(&list.to_string(), &["apply", "-f", "-"])?;
        self.rolled_in(SYSTEM, "msars-autoscaler")?;
        until("the leader makes the certificate", 40, || {
            let said = self.kubectl(&["-n", SYSTEM, "get", "secret", "msars-admission-tls"])?;
            Ok(said.good.then_some(()).ok_or(said.err))
        })?;
        // The kubelet looks at a pod's Secrets about once a minute, and whenever the pod changes.
        let which = "app.kubernetes.io/name=msars-admission";
        self.must(&[
            "-n",
            SYSTEM,
            "annotate",
            "pods",
            "-l",
            which,
            "e2e/certificate=made",
        ])?;
        self.rolled_in(SYSTEM, "msars-admission")
    }
}

/// A quarter of the CPU requests, so that the node has room for a rollout and shadow pods; a Guaranteed pod stays one.
pub fn small(object: &mut Value) {
    let containers = object.pointer_mut("/spec/template/spec/containers");
    for container in containers
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let resources = &mut container["resources"];
        if resources["requests"]["cpu"] == resources["limits"]["cpu"] {
            continue;
        }
        let text = resources["requests"]["cpu"].as_str().unwrap_or_default();
        let milli: u32 = text.trim_end_matches('m').parse().unwrap_or(40);
        resources["requests"]["cpu"] = json!(format!("{}m", (milli / 4).max(10)));
    }
}
