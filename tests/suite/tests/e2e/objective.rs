//! A team changes what it asks for, under a steady load.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bed::Bed;
use crate::patience::{SOON, slowly};
use crate::{Case, case};

pub const CASES: &[Case] = &[
    case(
        "objective: a tighter one is split anew at once, and the old one as it was asked for again",
        changed,
    ),
    case(
        "objective: a second one in an application counts the requests of the first",
        second,
    ),
];

const ENTRY: &str = "front-end";
const USUAL: u64 = 400;
/// A service behind the entry that calls services which the entry calls as well.
const INNER: &str = "orders";
const SHARED: [&str; 2] = ["carts", "user"];
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

/// Why the inner objective is split as it is.
fn reason(bed: &Bed) -> Result<Option<String>> {
    let all = bed.get(&["slo"])?;
    let mut items = all["items"].as_array().into_iter().flatten();
    let inner = items.find(|slo| slo["metadata"]["name"] == INNER);
    let chains = inner.and_then(|slo| slo["status"]["chains"].as_array());
    let reason = chains.and_then(|chains| chains.first()?["reason"].as_str());
    Ok(reason.map(ToOwned::to_owned))
}

fn second(bed: &Bed) -> Result<()> {
    bed.settle(INNER)?;
    let target = format!("deployment/{INNER}");
    bed.shopped(&["annotate", "--overwrite", &target, "msars.io/slo=p99<300ms"])?;
    let told = slowly("a split of the second objective", SOON, || {
        let told = reason(bed)?;
        Ok(told.ok_or("no split".to_owned()))
    });
    bed.shopped(&["annotate", &target, "msars.io/slo-"])?;
    bed.shopped(&["delete", "slo", INNER, "--ignore-not-found"])?;
    let told = told?;
    println!("      {told}");
    let counted = told.split_once("by none of these chains are counted: ");
    let (_, counted) = counted.with_context(|| {
        format!("expected: the front end's requests are counted; found: {told}")
    })?;
    for name in SHARED {
        ensure!(
            counted.contains(&format!("{name} ")),
            "expected: {name}, which the front end calls as well; found: {counted}"
        );
    }
    // Nobody but it calls this one.
    ensure!(!counted.contains("payment"), "found: {counted}");
    bed.settle(INNER)
}
