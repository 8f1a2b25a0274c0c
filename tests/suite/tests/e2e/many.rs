//! More holds at once than can be profiled.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::bed::{Bed, until};
use crate::clock::now;
use crate::held::{Hold, Seen};
use crate::{Case, case};

pub const CASES: &[Case] = &[case(
    "six workloads in one apply: every hold ends by its deadline",
    six,
)];

const SIX: [&str; 6] = [
    "catalogue",
    "carts",
    "user",
    "orders",
    "payment",
    "catalogue-db",
];
/// Seconds after its deadline by which a hold has ended.
const GRACE: f64 = 5.0;

fn deployments(bed: &Bed) -> Result<BTreeMap<String, Seen>> {
    let list = bed.get(&["deployments"])?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let named = items.into_iter().filter_map(|item| {
        let name = item["metadata"]["name"].as_str()?.to_owned();
        Some((name, Seen(item)))
    });
    Ok(named.collect())
}

fn six(bed: &Bed) -> Result<()> {
    let (_, lost) = bed.requests()?;
    let mut items = Vec::new();
    for name in SIX {
        bed.settle(name)?;
        items.push(bed.manifest(name, &bed.mark())?);
    }
    let said = bed.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}))?;
    let begun = said.err.matches("msars: holding this revision").count();
    ensure!(
        begun == SIX.len(),
        "expected: {} holds; found: {begun}; kubectl said: {}",
        SIX.len(),
        said.err
    );
    let mut open: BTreeMap<&str, Hold> = BTreeMap::new();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let seen = deployments(bed)?;
    for name in SIX {
        let seen = seen.get(name).context("a Deployment is gone")?;
        if seen.free() {
            // Where the queue leaves no time, a hold ends before anybody looks.
            *counts.entry("at once").or_default() += 1;
            continue;
        }
        let (hash, until) = (seen.hash()?, seen.deadline()?);
        let warning = String::new();
        open.insert(
            name,
            Hold {
                hash,
                until,
                warning,
            },
        );
    }
    let mut ended: BTreeMap<&str, (Hold, f64)> = BTreeMap::new();
    until("all six holds end", 150, || {
        let seen = deployments(bed)?;
        let at = now();
        for name in SIX {
            if seen.get(name).is_some_and(Seen::free)
                && let Some(hold) = open.remove(name)
            {
                let late = at.duration_since(hold.until).as_secs_f64();
                ended.insert(name, (hold, late));
            }
        }
        let left: Vec<&&str> = open.keys().collect();
        Ok(left
            .is_empty()
            .then_some(())
            .ok_or(format!("{left:?} held")))
    })?;
    for (name, (hold, late)) in &ended {
        ensure!(
            *late <= GRACE,
            "expected: {name} ends by its deadline; found: {late:.1} s after it"
        );
        let told = bed.told(name, "RevisionReleased", &hold.hash)?;
        let why = if told.contains("the revision is profiled") {
            "profiled"
        } else if told.contains("leave no time") {
            "queue"
        } else {
            "other"
        };
        *counts.entry(why).or_default() += 1;
        println!(
            "      {name}: {why}, {:.0} s before its deadline ({told})",
            -late
        );
    }
    println!("      {counts:?}");
    ensure!(
        counts.get("profiled").copied().unwrap_or(0) >= 2,
        "expected: at least the two slots profiled; found: {counts:?}"
    );
    for name in SIX {
        bed.rolled(name)?;
    }
    let (_, now_lost) = bed.requests()?;
    ensure!(
        now_lost == lost,
        "expected: no request of the live load lost; found: {}",
        now_lost - lost
    );
    Ok(())
}
