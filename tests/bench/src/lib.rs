//! Figures that are published, measured on the real cluster.
//!
//! What this crate does **not** do: it decides nothing, corrects no figure and drops no run. What a run's own driver
//! or the machine's other work adds stands beside the result.
//!
//! Order of reading: `bed` (the cluster with product and shop on it) → `webhook` (reviews at a rate, against the
//! deployed replicas); `peers` (a trace under each policy); `resplit` (a slower version with and without new budgets).

pub mod bed;
pub mod metrics;
pub mod peers;
pub mod proc;
pub mod resplit;
pub mod spread;
pub mod webhook;

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

/// Where results are written: `target/bench` of this workspace.
pub fn folder() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    );
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// Writes a result as JSON and says where.
pub fn save(name: &str, result: &impl Serialize) -> Result<()> {
    let path = folder()?.join(name);
    std::fs::write(&path, serde_json::to_string_pretty(result)? + "\n")
        .with_context(|| format!("writing {}", path.display()))?;
    println!("written: {}", path.display());
    Ok(())
}
