//! Profiles against what the shop truly does, and what follows from a profile.

use anyhow::{Context, Result, ensure};
use msars_shop::{Role, Version, image, mean_work_ms};
use serde_json::{Value, json};

use crate::bed::{Bed, until};
use crate::clock::Watch;
use crate::{Case, case};

pub const CASES: &[Case] = &[
    case(
        "three versions: mean work within a tenth of the truth",
        work_is_found,
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

/// A new revision of a version, held, profiled and released; mean work found in ms.
fn profiled(bed: &Bed, version: Version) -> Result<f64> {
    bed.settle(NAME)?;
    let container = json!({
        "name": "app",
        "image": image(Role::Catalogue, version).reference,
        "env": [{"name": "E2E_MARK", "value": bed.mark()}],
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
    println!(
        "      {version}: held {held:.0} s, {points} points, work {found:.3} ms, truth {truth:.3} ms: {:+.1} %",
        (found / truth - 1.0) * 100.0
    );
    let sizes = measured(&profile);
    ensure!(
        points >= 6 && sizes.len() >= 2,
        "expected: at least 6 points at 2 sizes; found: {points} at {sizes:?}"
    );
    Ok(found)
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

fn work_is_found(bed: &Bed) -> Result<()> {
    let mut errors = Vec::new();
    for version in [Version::V1, Version::V3, Version::V2] {
        let found = profiled(bed, version)?;
        errors.push((found / mean_work_ms(Role::Catalogue, version) - 1.0).abs());
        bed.rolled(NAME)?;
    }
    errors.sort_by(f64::total_cmp);
    let median = errors[errors.len() / 2];
    println!(
        "      errors of mean work: median {:.1} %, from {:.1} to {:.1} %",
        median * 100.0,
        errors[0] * 100.0,
        errors[errors.len() - 1] * 100.0
    );
    ensure!(
        median <= ALLOWED,
        "expected: a median error of at most {ALLOWED}; found: {errors:.3?}"
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
    let hash = running(bed)?;
    let wanted = |hash: &str| -> Result<Option<u64>> {
        let autoscaler = bed.get(&["sloautoscaler", NAME])?;
        let sizes = autoscaler["status"]["sizes"].as_array().cloned();
        let sizes = sizes.unwrap_or_default();
        let found = sizes.iter().find(|size| size["revision"] == hash);
        Ok(found.and_then(|size| size["sizeMilli"].as_u64()))
    };
    bed.rolled(NAME)?;
    let expected = until(&format!("a wanted size of revision {hash}"), 30, || {
        Ok(wanted(&hash)?.ok_or("none".to_owned()))
    })?;
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
    let after = wanted(&hash)?.unwrap_or(expected);
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
