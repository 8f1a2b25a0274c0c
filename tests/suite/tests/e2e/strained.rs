//! A callee without headroom while its caller is profiled: the profile ends for it or does no harm.
//!
//! The database of the catalogue gets one pod of a fixed size, which its live load uses by more than half, so that what
//! a profile of the catalogue adds would fill it. The new revision is the same program under another mark: what changes
//! meanwhile is the profile's doing, not a slower version's. Attainment of the callee and of the front end is counted from
//! their own histograms, from the moment that the copy is Ready to the end of the hold, half a minute at least, against
//! the minutes right before.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use msars_observe::{Buckets, exposition};
use msars_shop::{Role, Version, mean_work_ms};
use serde_json::{Value, json};

use crate::bed::{Bed, every, until};
use crate::clock::Watch;
use crate::{Case, case};

pub const CASES: &[Case] = &[case(
    "strained: a callee without headroom keeps its attainment while its caller is profiled",
    callee,
)];

const CALLER: &str = "catalogue";
const CALLEE: &str = "catalogue-db";
const FRONT: &str = "front-end";
/// Share of its size that the live load uses: queues begin to show, and a profile's load would fill the rest.
const USED: f64 = 0.55;
/// The smallest size in thousandths of a core: below, a period's quota is less than one request's work.
const LEAST: f64 = 20.0;
/// What the attainment may lose: one percentage point.
const ALLOWED: f64 = 0.01;
/// Seconds seen before the change: longer than a profile may take, so that what is usual is known better than what is
/// compared with it.
const BEFORE: u64 = 150;
/// Seconds counted at least from the moment that the copy is Ready: a profile that ends at once leaves few requests, and
/// what waits in a queue is late after it.
const DURING: u64 = 30;
/// Between two looks at the histograms.
const STEP: Duration = Duration::from_secs(3);
/// The end-to-end objective in ms, of which the callee's budget is a part.
const OBJECTIVE: f64 = 400.0;

/// Histograms of requests at one moment.
#[derive(Debug)]
struct Moment {
    callee: ByPod,
    front: ByPod,
    /// Windows of the live load so far.
    windows: usize,
    watch: Watch,
}

/// Request times in seconds by pod.
type ByPod = BTreeMap<String, Buckets>;

/// The request times of a role's serving pods.
fn requests(bed: &Bed, name: &str) -> Result<ByPod> {
    let mut found = ByPod::new();
    for pod in bed.pods_in(&bed.namespace)? {
        if pod["metadata"]["labels"]["app"] != name {
            continue;
        }
        let pod = pod["metadata"]["name"].as_str().context("no name")?;
        let path = format!(
            "/api/v1/namespaces/{}/pods/{pod}:8080/proxy/metrics",
            bed.namespace
        );
        let text = bed.must(&["get", "--raw", &path])?;
        // A pod that was asked nothing yet has no such series.
        if let Ok(times) = exposition::histogram(&text, "shop_request_seconds", &[]) {
            found.insert(pod.to_owned(), times);
        }
    }
    Ok(found)
}

/// What came between two looks, over the pods of the second: one that went takes its last requests with it.
fn since(from: &ByPod, to: &ByPod) -> Result<Buckets> {
    let mut all = Buckets::default();
    for (pod, now) in to {
        let new = match from.get(pod) {
            Some(then) => now
                .since(then)
                .map_err(|why| anyhow::anyhow!("{pod} restarted: {why:?}"))?,
            None => now.clone(),
        };
        all = all.plus(&new);
    }
    Ok(all)
}

fn moment(bed: &Bed) -> Result<Moment> {
    Ok(Moment {
        callee: requests(bed, CALLEE)?,
        front: requests(bed, FRONT)?,
        windows: windows(bed)?.len(),
        watch: Watch::start(),
    })
}

/// The p99 of every window of the live load, ms.
fn windows(bed: &Bed) -> Result<Vec<f64>> {
    let text = bed.load_log()?;
    let p99 = |line: &str| {
        let (_, rest) = line.split_once(" p99 ")?;
        rest.split(' ').next()?.parse().ok()
    };
    Ok(text.lines().filter_map(p99).collect())
}

/// What was seen between two moments.
#[derive(Debug)]
struct Seen {
    seconds: f64,
    requests: f64,
    callee: f64,
    front: f64,
    loader: f64,
}

/// Shares within the budget and the objective, both ms.
fn between(bed: &Bed, from: &Moment, to: &Moment, budget: f64) -> Result<Seen> {
    let share = |from: &ByPod, to: &ByPod, limit_ms: f64| -> Result<(f64, f64)> {
        let seen = since(from, to)?;
        let share = seen
            .share_within(limit_ms / 1000.0)
            .context("no requests in between")?;
        Ok((share, seen.count()))
    };
    let (callee, requests) = share(&from.callee, &to.callee, budget)?;
    let all = windows(bed)?;
    let ours = all
        .get(from.windows..to.windows)
        .context("the live load's log shrank")?;
    let good = ours.iter().filter(|p99| **p99 <= OBJECTIVE).count();
    Ok(Seen {
        seconds: from.watch.seconds() - to.watch.seconds(),
        requests,
        callee,
        front: share(&from.front, &to.front, OBJECTIVE)?.0,
        loader: good as f64 / ours.len().max(1) as f64,
    })
}

fn say(when: &str, seen: &Seen, budget: f64) {
    println!(
        "      {when} ({:.0} s): {CALLEE} {:.0} requests, {:.2} % within {budget:.0} ms; {FRONT} {:.2} % within {OBJECTIVE:.0} ms; \
         seconds of the live load with p99 within it {:.1} %",
        seen.seconds,
        seen.requests,
        seen.callee * 100.0,
        seen.front * 100.0,
        seen.loader * 100.0
    );
}

/// The callee's budget by the objective, ms; the tightest over all chains. Half of the objective where it has none.
fn budget(bed: &Bed) -> Result<f64> {
    let slo = bed.get(&["slo", FRONT])?;
    let chains = slo["status"]["chains"].as_array().into_iter().flatten();
    let services = chains.filter_map(|chain| chain["services"].as_array());
    let ours = services
        .flatten()
        .filter(|entry| entry["workload"] == CALLEE)
        .filter_map(|entry| entry["budgetMs"].as_f64());
    Ok(ours.reduce(f64::min).unwrap_or(OBJECTIVE / 2.0))
}

/// One pod of a size that the live load uses by [`USED`]; the size in thousandths of a core.
fn pin(bed: &Bed) -> Result<u64> {
    let watch = Watch::start();
    let before = requests(bed, CALLEE)?;
    let seen = every(STEP, "300 requests of the callee", 60, || {
        let count = since(&before, &requests(bed, CALLEE)?)?.count();
        Ok((count >= 300.0).then_some(count).ok_or(count.to_string()))
    })?;
    let rate = seen / watch.seconds();
    // A millisecond of work per second is a thousandth of a core.
    let used = rate * mean_work_ms(Role::CatalogueDb, Version::V1);
    let size = (used / USED).max(LEAST).round() as u64;
    println!("      {CALLEE} gets {rate:.1}/s, {used:.0}m of work: pinned at {size}m");
    let target = format!("deployment/{CALLEE}");
    bed.shopped(&[
        "annotate",
        "--overwrite",
        &target,
        &format!("msars.io/cpu={size}m..{size}m"),
        "msars.io/min-replicas=1",
        "msars.io/max-replicas=1",
        "msars.io/skip-gate=true",
    ])?;
    bed.shopped(&[
        "set",
        "resources",
        &target,
        "-c",
        "app",
        &format!("--limits=cpu={size}m"),
        "--requests=cpu=10m",
    ])?;
    bed.shopped(&["scale", &target, "--replicas=1"])?;
    bed.settle(CALLEE)?;
    sized(bed, size)?;
    Ok(size)
}

/// Waits until the callee is one pod of this size.
fn sized(bed: &Bed, size: u64) -> Result<()> {
    until(&format!("{CALLEE} is one pod of {size}m"), 60, || {
        let pods = bed.pods_in(&bed.namespace)?;
        let limits: Vec<&Value> = pods
            .iter()
            .filter(|pod| pod["metadata"]["labels"]["app"] == CALLEE)
            .map(|pod| &pod["spec"]["containers"][0]["resources"]["limits"]["cpu"])
            .collect();
        let one = matches!(limits.as_slice(), [limit] if **limit == format!("{size}m"));
        Ok(one.then_some(()).ok_or(format!("{limits:?}")))
    })
}

fn profiled(bed: &Bed, size: u64) -> Result<()> {
    let past = moment(bed)?;
    every(STEP, "the time before", BEFORE + 30, || {
        let seconds = past.watch.seconds();
        Ok((seconds >= BEFORE as f64)
            .then_some(())
            .ok_or(format!("{seconds:.0} s")))
    })?;
    let budget = budget(bed)?;
    // The mark makes it a template that no earlier run has left.
    let env = json!([{"name": "E2E_MARK", "value": bed.mark()}]);
    let container = json!({"name": "app", "env": env});
    let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}}).to_string();
    let begin = moment(bed)?;
    let said = bed.shopped(&["patch", "deployment", CALLER, "-p", &patch])?;
    let hold = bed.held_by(CALLER, &said)?;
    bed.profiling(CALLER)?;
    let start = moment(bed)?;
    bed.until_free(CALLER, 130)?;
    every(
        STEP,
        "half a minute of the callee's requests",
        DURING + 10,
        || {
            let seconds = start.watch.seconds();
            Ok((seconds >= DURING as f64)
                .then_some(())
                .ok_or(format!("{seconds:.0} s")))
        },
    )?;
    let end = moment(bed)?;
    let told = bed.told(CALLER, "RevisionReleased", &hold.hash)?;
    println!("      {told}");
    sized(bed, size).context("the callee must stay pinned for the figures to say anything")?;
    let before = between(bed, &past, &begin, budget)?;
    let during = between(bed, &start, &end, budget)?;
    say("before", &before, budget);
    say("during the profile", &during, budget);
    ensure!(
        told.contains("a callee has no room") || told.contains("the revision is profiled"),
        "expected: the hold ends for the callee, or profiled; found: {told}"
    );
    let most = allowed(before.callee, during.requests.min(before.requests));
    ensure!(
        during.callee >= before.callee - most,
        "expected: {CALLEE} loses at most {:.1} points of attainment; found: from {:.2} to {:.2} %",
        most * 100.0,
        before.callee * 100.0,
        during.callee * 100.0
    );
    ensure!(
        during.front >= before.front - ALLOWED,
        "expected: {FRONT} loses at most {:.0} point of attainment; found: from {:.2} to {:.2} %",
        ALLOWED * 100.0,
        before.front * 100.0,
        during.front * 100.0
    );
    bed.rolled(CALLER)
}

/// What the attainment may lose, and two standard errors of a share of so many requests.
fn allowed(share: f64, requests: f64) -> f64 {
    let error = (share * (1.0 - share) / requests.max(1.0)).sqrt();
    ALLOWED + 2.0 * error
}

fn callee(bed: &Bed) -> Result<()> {
    bed.settle(CALLER)?;
    bed.settle(CALLEE)?;
    let outcome = pin(bed).and_then(|size| profiled(bed, size));
    bed.shopped(&[
        "annotate",
        &format!("deployment/{CALLEE}"),
        "msars.io/cpu-",
        "msars.io/min-replicas-",
        "msars.io/max-replicas-",
    ])?;
    bed.baseline(CALLEE)?;
    outcome?;
    bed.settle(CALLER)
}
