//! The documents of a kustomization, read from our own files without any program.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// A folder below `manifests`.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../manifests")
        .join(name)
}

fn all(path: &Path) -> Result<Vec<Value>> {
    let text = read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_saphyr::from_multiple(&text).with_context(|| format!("parsing {}", path.display()))
}

/// Every document that the kustomization in `folder` lists, those of other folders included.
pub fn documents(folder: &Path) -> Result<Vec<Value>> {
    let mut list = Vec::new();
    for kustomization in all(&folder.join("kustomization.yaml"))? {
        let resources = kustomization["resources"].as_array();
        for resource in resources.into_iter().flatten() {
            let path = folder.join(resource.as_str().context("a resource is a path")?);
            list.extend(if path.is_dir() {
                documents(&path)?
            } else {
                all(&path)?
            });
        }
    }
    Ok(list)
}

/// Every alerting rule, by its name.
pub fn alerts() -> Result<BTreeMap<String, Value>> {
    let mut rules = BTreeMap::new();
    for file in all(&folder("alerts/msars.rules.yaml"))? {
        let groups = file["groups"].as_array().context("no groups")?;
        let all = groups.iter().filter_map(|group| group["rules"].as_array());
        for rule in all.flatten() {
            let name = rule["alert"].as_str().context("a rule names its alert")?;
            rules.insert(name.to_owned(), rule.clone());
        }
    }
    Ok(rules)
}
