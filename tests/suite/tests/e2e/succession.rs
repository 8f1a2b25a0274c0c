//! The leader dies while it scales: the next one knows what it did.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bed::{Bed, until};
use crate::clock::{Watch, now};
use crate::patience::SOON;
use crate::strikes::kill_leader;
use crate::yard::WAVE;
use crate::{Case, strike};

pub const STRIKES: &[Case] = &[strike(
    "scaling: kill -9 of the leader as it scales: the next goes on from the stored windows, nothing is done twice",
    killed,
)];

/// The state that a status remembers.
fn memory(status: &Value) -> Result<Value> {
    let text = status["memory"].as_str().context("no memory")?;
    Ok(serde_json::from_str(text)?)
}

fn killed(bed: &Bed) -> Result<()> {
    bed.yard()?;
    bed.settled(&WAVE)?;
    let (old, replicas) = (bed.status(&WAVE)?, bed.replicas(&WAVE)?);
    let wanted = replicas + 1;
    let mark = bed.mark_audit()?;
    bed.annotate(&WAVE, &[&format!("msars.io/min-replicas={wanted}")])?;
    // What it decided is stored before it is written: between the two is the worst moment.
    let stored = until("a new decision is stored", SOON, || {
        let status = bed.status(&WAVE)?;
        let news = status["lastChange"] != old["lastChange"]
            && status["desiredReplicas"].as_u64() >= Some(wanted);
        Ok(if news {
            Ok(status)
        } else {
            Err(status["lastChange"].to_string())
        })
    })?;
    let watch = Watch::start();
    let gone = kill_leader(bed)?;
    let (at, found) = (now(), bed.replicas(&WAVE)?);
    println!("      {gone} killed at {found} replicas of {wanted} wanted");
    let next = bed.decided(&WAVE, at, 60, |found| !found.is_empty())?;
    let first = next.first().context("no decision")?;
    println!(
        "      the next decision came {:.0} s later: {}",
        watch.seconds(),
        first.reason
    );
    kept(&memory(&stored)?, &first.before)?;
    bed.until_replicas(&WAVE, wanted, SOON)?;
    // One more tick of the new leader, which could do it again.
    bed.decided(&WAVE, at, 60, |found| found.len() >= 2)?;
    let writes = bed.ours(mark, WAVE.namespace, WAVE.name())?;
    let scales: Vec<u64> = writes
        .iter()
        .filter(|write| write.accepted())
        .filter_map(crate::audit::Write::replicas)
        .collect();
    ensure!(
        scales == [wanted],
        "expected: replicas written once, to {wanted}; found: {scales:?}"
    );
    let status = bed.status(&WAVE)?;
    let change = &status["lastChange"]["at"];
    let before = &stored["lastChange"]["at"];
    let decided = next.iter().any(|decided| decided.actions > 0);
    ensure!(
        decided || change == before,
        "expected: the last change of {before} kept; found: {change}"
    );
    bed.annotate(&WAVE, &["msars.io/min-replicas=2"])?;
    bed.settled(&WAVE)
}

/// That the next leader began with what was stored: scale events, the last moves, and every recommendation.
fn kept(stored: &Value, begun: &Value) -> Result<()> {
    for name in [
        "events", "lastUp", "lastDown", "size", "refused", "drops", "conflict",
    ] {
        ensure!(
            stored[name] == begun[name],
            "expected: {name} as stored, {}; found: {}",
            stored[name],
            begun[name]
        );
    }
    let fleets = |state: &Value| -> Vec<Value> {
        let list = state["recommendations"].as_array().into_iter().flatten();
        list.map(|entry| entry["fleet"].clone()).collect()
    };
    ensure!(
        fleets(stored) == fleets(begun),
        "expected: the recommendations {:?}; found: {:?}",
        fleets(stored),
        fleets(begun)
    );
    Ok(())
}
