//! A team changes what it asks for, under a steady load.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::patience::{SOON, slowly};
use crate::{Case, case};

pub const CASES: &[Case] = &[
    case(
        "objective: a tighter one is split anew at once, and the old one as it was asked for again",
        changed,
    ),
    case(
        "objective: requests by none of its chains are counted",
        half,
    ),
    case(
        "objective: one whose annotation is removed stays, and how to end it is told",
        unasked,
    ),
];

const ENTRY: &str = "front-end";
const USUAL: u64 = 400;
/// A tighter one over the largest budget: that may have half of the whole at most.
const TIGHTER: f64 = 1.5;

/// What the objective says: its bound, and the budget in ms of every service that has one to keep, by the splits made for
/// that bound.
fn stated(bed: &Bed) -> Result<(u64, BTreeMap<String, f64>)> {
    let slo = bed.get(&["slo", ENTRY])?;
    let bound = slo["spec"]["latencyMs"].as_f64().context("no latencyMs")?;
    let chains = slo["status"]["chains"].as_array().into_iter().flatten();
    let chains = chains.filter(|chain| chain["objectiveMs"].as_f64() == Some(bound));
    let services = chains.flat_map(|chain| chain["services"].as_array().into_iter().flatten());
    let budget = |service: &Value| {
        if service["source"] == "observed" {
            return None;
        }
        let name = service["workload"].as_str()?.to_owned();
        Some((name, service["budgetMs"].as_f64()?))
    };
    Ok((bound as u64, services.filter_map(budget).collect()))
}

fn largest(budgets: &BTreeMap<String, f64>) -> f64 {
    budgets.values().copied().fold(0.0, f64::max)
}

/// Asks for another bound, and waits until it is split.
fn ask(bed: &Bed, ms: u64) -> Result<BTreeMap<String, f64>> {
    let pair = format!("msars.io/slo=p99<{ms}ms");
    bed.shopped(&["annotate", "--overwrite", "deployment/front-end", &pair])?;
    slowly(&format!("a split for {ms} ms"), SOON, || {
        let (bound, budgets) = stated(bed)?;
        // No service alone may have more than the whole.
        let split = bound == ms && !budgets.is_empty() && largest(&budgets) <= ms as f64;
        Ok(if split {
            Ok(budgets)
        } else {
            Err(format!("{bound} ms, {budgets:?}"))
        })
    })
}

fn changed(bed: &Bed) -> Result<()> {
    bed.settle(ENTRY)?;
    let (bound, before) = stated(bed)?;
    ensure!(
        bound == USUAL,
        "expected: an objective of {USUAL} ms; found: {bound} ms"
    );
    let tighter = (TIGHTER * largest(&before)).round() as u64;
    let tight = ask(bed, tighter);
    let back = ask(bed, USUAL);
    let (tight, back) = (tight?, back?);
    println!(
        "      largest budget {:.0} ms, within {tighter} ms {:.0} ms, again {:.0} ms",
        largest(&before),
        largest(&tight),
        largest(&back)
    );
    ensure!(
        largest(&tight) < largest(&before),
        "expected: less than {before:?}; found: {tight:?}"
    );
    ensure!(
        largest(&back) > largest(&tight),
        "expected: more than {tight:?}; found: {back:?}"
    );
    Ok(())
}

/// Why a chain of the objective is split as it is.
fn reason(bed: &Bed, chain: &str) -> Result<Option<String>> {
    let slo = bed.get(&["slo", ENTRY])?;
    let mut chains = slo["status"]["chains"].as_array().into_iter().flatten();
    let found = chains.find(|found| found["name"] == chain);
    let reason = found.and_then(|chain| chain["reason"].as_str());
    Ok(reason.map(ToOwned::to_owned))
}

/// Declares chains, and waits until one of a name is split; its reason.
fn declare(bed: &Bed, chains: &Value, name: &str) -> Result<String> {
    let patch = json!({"spec": {"chains": chains}}).to_string();
    bed.shopped(&["patch", "slo", ENTRY, "--type=merge", "-p", &patch])?;
    slowly(&format!("a split of chain {name}"), SOON, || {
        let told = reason(bed, name)?;
        Ok(told.ok_or("none".to_owned()))
    })
}

fn half(bed: &Bed) -> Result<()> {
    bed.settle(ENTRY)?;
    let calls = json!([{"caller": ENTRY, "callee": "catalogue", "visits": 1.0}]);
    let half = json!([{"name": "half", "share": 0.5, "calls": calls}]);
    let told = declare(bed, &half, "half");
    // Discovered ones again.
    let back = declare(bed, &json!([]), ENTRY);
    let (told, back) = (told?, back?);
    println!("      {told}");
    let counted = told.split_once("by none of these chains are counted: ");
    let (_, counted) =
        counted.with_context(|| format!("expected: the other half is counted; found: {told}"))?;
    ensure!(
        counted.contains(&format!("{ENTRY} ")),
        "expected: {ENTRY} gets more than the chain brings; found: {counted}"
    );
    ensure!(
        !back.contains(&format!("counted: {ENTRY}")),
        "expected: every request of {ENTRY} is one of its own chain; found: {back}"
    );
    Ok(())
}

fn unasked(bed: &Bed) -> Result<()> {
    bed.settle(ENTRY)?;
    bed.shopped(&["annotate", "deployment/front-end", "msars.io/slo-"])?;
    let told = slowly("a word about the objective", SOON, || {
        let notes = bed.notes(ENTRY, "ObjectiveStays")?;
        Ok(notes.last().cloned().ok_or("none".to_owned()))
    });
    let (bound, budgets) = stated(bed)?;
    ask(bed, USUAL)?;
    let told = told?;
    println!("      {told}");
    ensure!(
        bound == USUAL && !budgets.is_empty(),
        "expected: the objective of {USUAL} ms and its budgets; found: {bound} ms, {budgets:?}"
    );
    Ok(())
}
