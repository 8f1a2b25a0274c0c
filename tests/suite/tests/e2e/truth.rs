//! Profiles against what the shop truly does, and what follows from a profile.

use anyhow::{Context, Result, ensure};
use msars_gate::revision_hash;
use msars_shop::{Role, Version, image, mean_work_ms};
use serde_json::{Value, json};

use crate::bed::{Bed, until};
use crate::capacity::{Bracket, bracket};
use crate::clock::Watch;
use crate::patience::slowly;
use crate::{Case, case};

pub const CASES: &[Case] = &[
    case(
        "three versions: work within a tenth of the truth, capacity at an unmeasured size within a fifth",
        truth_is_found,
    ),
    case(
        "pods are born at the size that the split wants",
        born_at_size,
    ),
    case(
        "undo of a profiled revision is not held",
        undo_after_profile,
    ),
    case(
        "another size inside the profiled range passes, outside it is held",
        sizes,
    ),
];

/// The median error that is allowed.
const ALLOWED: f64 = 0.10;
const NAME: &str = "catalogue";
/// What it calls, and a size that has room for the load of a profile beside that of the proof before it, which its rate
/// still holds: how right a profile is, is another question than whether there is room for one, which the case `strained:`
/// asks.
const CALLEE: &str = "catalogue-db";
const ROOMY: u32 = 400;

/// What is profiled: a version, with its own histogram of self time or without.
#[derive(Debug, Clone, Copy)]
struct Trial {
    version: Version,
    self_time: bool,
}

/// What a profile said beside what is true.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    /// Error of the mean work, as a share.
    work: f64,
    capacity: Bracket,
}

/// A new revision of a version, held, profiled and released; then its capacity is put to the proof.
fn profiled(bed: &Bed, trial: Trial) -> Result<Outcome> {
    bed.settle(NAME)?;
    let Trial { version, self_time } = trial;
    let container = json!({
        "name": "app",
        "image": image(Role::Catalogue, version).reference,
        "env": [
            {"name": "E2E_MARK", "value": bed.mark()},
            {"name": "SHOP_SELF_TIME", "value": self_time.to_string()},
        ],
    });
    let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}}).to_string();
    let watch = Watch::start();
    let said = bed.shopped(&["patch", "deployment", NAME, "-p", &patch])?;
    let hold = bed.held_by(NAME, &said)?;
    bed.until_free(NAME, 130)?;
    let held = watch.seconds();
    let told = bed.told(NAME, "RevisionReleased", &hold.hash)?;
    ensure!(
        told.contains("the revision is profiled"),
        "expected: {version} released as profiled; found: {told}"
    );
    let profile = bed
        .profile(NAME, &hold.hash)?
        .context("no profile that is done")?;
    let status = &profile["status"];
    let found = status["mechanism"]["workMs"]
        .as_f64()
        .context("no workMs")?;
    let truth = mean_work_ms(Role::Catalogue, version);
    let points = status["points"].as_array().map_or(0, Vec::len);
    let with = if self_time { "with" } else { "without" };
    println!(
        "      {version} {with} self times: held {held:.0} s, {points} points, work {found:.3} ms, truth {truth:.3} ms: {:+.1} %",
        (found / truth - 1.0) * 100.0
    );
    let sizes = measured(&profile);
    ensure!(
        points >= 6 && sizes.len() >= 2,
        "expected: at least 6 points at 2 sizes; found: {points} at {sizes:?}"
    );
    bed.rolled(NAME)?;
    let capacity = bracket(bed, NAME, &profile, &sizes)?;
    println!(
        "      at {}m (measured at {sizes:?}) {:.1}/s keep {:.0} ms by the profile; p99 is {:.0} ms at four fifths of it, {:.0} ms at six fifths: {}",
        capacity.size,
        capacity.promised,
        capacity.budget,
        capacity.below,
        capacity.above,
        if capacity.holds() {
            "within a fifth"
        } else {
            "off by more than a fifth"
        }
    );
    Ok(Outcome {
        work: (found / truth - 1.0).abs(),
        capacity,
    })
}

/// The sizes measured, ascending, in thousandths of a core.
fn measured(profile: &Value) -> Vec<u64> {
    let points = profile["status"]["points"].as_array().into_iter().flatten();
    let mut sizes: Vec<u64> = points
        .filter_map(|point| point["sizeMilli"].as_u64())
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Three versions, one of them with its own self times; with `MSARS_E2E_TRUTH=N`, every version both ways N times.
fn trials() -> Result<Vec<Trial>> {
    let trial = |version, self_time| Trial { version, self_time };
    let Ok(repeats) = std::env::var("MSARS_E2E_TRUTH") else {
        return Ok(vec![
            trial(Version::V1, false),
            trial(Version::V3, true),
            trial(Version::V2, false),
        ]);
    };
    let repeats: usize = repeats
        .parse()
        .with_context(|| format!("MSARS_E2E_TRUTH={repeats}, expected a number"))?;
    let versions = [Version::V1, Version::V3, Version::V2];
    let both = versions.map(|version| [trial(version, false), trial(version, true)]);
    Ok(both.as_flattened().repeat(repeats))
}

/// Gives the callee its room, or takes what was asked for back.
fn room(bed: &Bed, pair: &str) -> Result<()> {
    let target = format!("deployment/{CALLEE}");
    bed.shopped(&["annotate", "--overwrite", &target, pair])
        .map(drop)
}

fn outcomes(bed: &Bed) -> Result<Vec<Outcome>> {
    slowly(&format!("{CALLEE} at {ROOMY}m"), 60, || {
        let milli = bed.fleets(&bed.namespace)?[CALLEE].milli;
        Ok((milli >= ROOMY).then_some(()).ok_or(format!("{milli}m")))
    })?;
    trials()?
        .into_iter()
        .map(|trial| profiled(bed, trial))
        .collect()
}

fn truth_is_found(bed: &Bed) -> Result<()> {
    room(bed, &format!("msars.io/cpu={ROOMY}m..{ROOMY}m"))?;
    let outcomes = outcomes(bed);
    room(bed, "msars.io/cpu-")?;
    let outcomes = outcomes?;
    let mut errors: Vec<f64> = outcomes.iter().map(|outcome| outcome.work).collect();
    errors.sort_by(f64::total_cmp);
    let median = errors[errors.len() / 2];
    let good = outcomes.iter().filter(|o| o.capacity.holds()).count();
    println!(
        "      errors of mean work: median {:.1} %, from {:.1} to {:.1} %; capacity within a fifth: {good} of {}",
        median * 100.0,
        errors[0] * 100.0,
        errors[errors.len() - 1] * 100.0,
        outcomes.len()
    );
    ensure!(
        median <= ALLOWED,
        "expected: a median error of at most {ALLOWED}; found: {errors:.3?}"
    );
    // As for the work, the median has to be right: one window of a dozen seconds on a busy node may mislead.
    ensure!(
        good * 2 > outcomes.len(),
        "expected: most capacities within a fifth; found: {good} of {}",
        outcomes.len()
    );
    Ok(())
}

fn running(bed: &Bed) -> Result<String> {
    let list = bed.get(&["llp"])?;
    // The newest profile of a shadow pod is that of the revision that the case before released.
    let items = list["items"].as_array().into_iter().flatten();
    let ours = items.filter(|item| {
        item["spec"]["workload"] == NAME
            && item["status"]["source"] == "Shadow"
            && item["status"]["phase"] == "Done"
    });
    let newest = ours.max_by_key(|item| item["metadata"]["creationTimestamp"].to_string());
    let hash = newest.and_then(|item| item["spec"]["revision"].as_str());
    Ok(hash.context("no profile from a shadow pod")?.to_owned())
}

fn born_at_size(bed: &Bed) -> Result<()> {
    bed.settle(NAME)?;
    let live = bed.deployment(NAME)?.0;
    let hash = revision_hash(&live["spec"]["template"]).to_string();
    let wanted = || -> Result<std::result::Result<u64, String>> {
        let autoscaler = bed.get(&["sloautoscaler", NAME])?;
        let sizes = autoscaler["status"]["sizes"].as_array().cloned();
        let sizes = sizes.unwrap_or_default();
        let ours = sizes.iter().find(|size| size["revision"] == *hash);
        let size = ours.and_then(|size| size["sizeMilli"].as_u64());
        Ok(size.ok_or(format!("{sizes:?}")))
    };
    let what = format!("a wanted size of revision {hash}, which runs");
    let expected = slowly(&what, 150, wanted)?;
    // A pod that is born now: the size of older ones may have been another.
    let before = pods(bed)?;
    let old = before.first().context("no pod")?["metadata"]["name"].to_string();
    bed.shopped(&["delete", "pod", old.trim_matches('"'), "--wait=false"])?;
    let born = until("a new pod", 30, || {
        let names: Vec<Value> = before
            .iter()
            .map(|pod| pod["metadata"]["name"].clone())
            .collect();
        let new = pods(bed)?
            .into_iter()
            .find(|pod| !names.contains(&pod["metadata"]["name"]));
        Ok(new.ok_or("none".to_owned()))
    })?;
    let container = &born["spec"]["containers"][0];
    let limit = &container["resources"]["limits"]["cpu"];
    let after = wanted()?.unwrap_or(expected);
    let fits = [expected, after]
        .iter()
        .any(|size| *limit == format!("{size}m"));
    println!("      wanted {expected}m, born at {limit}");
    ensure!(fits, "expected: a limit of {expected}m; found: {limit}");
    let policy = container["resizePolicy"].to_string();
    ensure!(
        policy.contains("NotRequired"),
        "expected: a resizePolicy without restarts; found: {policy}"
    );
    bed.rolled(NAME)
}

fn pods(bed: &Bed) -> Result<Vec<Value>> {
    let list = bed.get(&["pods", "-l", "app=catalogue"])?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn undo_after_profile(bed: &Bed) -> Result<()> {
    bed.settle(NAME)?;
    let before = bed.variable(NAME, "E2E_MARK")?;
    let said = bed.shopped(&["rollout", "undo", "deployment/catalogue"])?;
    bed.must_be_free(NAME, "after undo")?;
    let found = bed.variable(NAME, "E2E_MARK")?;
    ensure!(
        found != before,
        "expected: another template than {before:?}; kubectl said: {}",
        said.err
    );
    println!("      undo took {:.2} s", said.took);
    bed.rolled(NAME)
}

fn sizes(bed: &Bed) -> Result<()> {
    bed.settle(NAME)?;
    // Forward again to the revision with the newest profile.
    bed.shopped(&["rollout", "undo", "deployment/catalogue"])?;
    bed.must_be_free(NAME, "after an undo of the undo")?;
    let hash = running(bed)?;
    let profile = bed.profile(NAME, &hash)?.context("no profile")?;
    let range = measured(&profile);
    let (min, max) = (range[0], range[range.len() - 1]);
    let resize = |milli: u64| {
        let limit = format!("--limits=cpu={milli}m");
        bed.shopped(&[
            "set",
            "resources",
            "deployment/catalogue",
            "-c",
            "app",
            &limit,
        ])
    };
    let live = bed.deployment(NAME)?.0;
    let now =
        live["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"].clone();
    let middle = min.midpoint(max);
    let inside = if now == format!("{middle}m") {
        middle + 1
    } else {
        middle
    };
    resize(inside)?;
    bed.must_be_free(NAME, &format!("at {inside}m inside {min}m..{max}m"))?;
    bed.rolled(NAME)?;
    let outside = max + 50;
    let said = resize(outside)?;
    bed.held_by(NAME, &said)
        .with_context(|| format!("at {outside}m outside {min}m..{max}m"))?;
    bed.settle(NAME)
}
