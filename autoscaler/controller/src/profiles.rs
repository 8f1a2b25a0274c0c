//! Profiles as stored, and as the domain uses them.

use jiff::Timestamp;
use msars_api::conditions::ConditionType;
use msars_api::crd::{
    FittedMechanism, LoadLatencyProfile, LoadLatencyProfileSpec, LoadLatencyProfileStatus,
    MeasuredPoint, Phase, PhaseSeconds, ProfileSource, SizeTable, TableKnot,
};
use msars_api::names;
use msars_domain::{
    Curve, CurveError, Knot, MilliCpu, Millis, ObjectKey, Percentile, Rate, SizeCurve,
};
use msars_llp::{Fitted, Point, Profile};

use crate::own::{owner, set_condition};
use crate::world::Workload;

/// Sizes of a curve as shares of the template's size.
const GRID: [f64; 8] = [0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// Most steps from the grid's ends towards bounds that lie further out, each by half as much again or a third less.
const STEPS: i32 = 8;
/// One such step.
const STEP: f64 = 1.5;

/// A finished profile, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Rate per pod → quantile, per size.
    pub curve: Curve,
    /// The percentile of the curve.
    pub percentile: Percentile,
    /// Where it comes from.
    pub source: ProfileSource,
    /// Mean CPU work per request, ms.
    pub work_ms: f64,
    /// Changes whenever what was found does, and not with what is said of its drift.
    pub version: String,
}

/// The key of a revision's profile.
pub fn key(workload: &ObjectKey, revision: &str) -> ObjectKey {
    ObjectKey::new(
        &workload.namespace,
        names::profile_name(&workload.name, revision),
    )
}

/// Reads a stored profile; none until it is done, or when it holds no curve.
pub fn known(profile: &LoadLatencyProfile) -> Option<Known> {
    let status = profile.status.as_ref()?;
    if status.phase != Phase::Done {
        return None;
    }
    let curve = curve(&status.curve).ok()?;
    let percentile = Percentile::new(status.percentile? / 100.0).ok()?;
    Some(Known {
        curve,
        percentile,
        source: status.source?,
        work_ms: status.mechanism?.work_ms,
        version: format!(
            "{:?}",
            (status.mechanism, status.percentile, status.point_count)
        ),
    })
}

fn curve(tables: &[SizeTable]) -> Result<Curve, CurveError> {
    let sizes = tables
        .iter()
        .map(|table| SizeCurve {
            size: MilliCpu(table.size_milli),
            knots: table
                .knots
                .iter()
                .filter_map(|knot| {
                    Some(Knot {
                        rate: Rate::new(knot.rate).ok()?,
                        quantile: Millis::new(knot.ms).ok()?,
                    })
                })
                .collect(),
        })
        .collect();
    Curve::new(sizes)
}

/// The smallest and the largest size that may be asked for: the user's, else half the template's to six times it, both
/// within the LimitRanges. Where a resize would restart the container, the one nearest to the template's.
pub fn bounds(workload: &Workload) -> Option<(MilliCpu, MilliCpu)> {
    let own = workload.serving.as_ref().map(|(_, cpu)| cpu.size());
    let asked = workload.settings.cpu;
    let asked = asked.map(|asked| (MilliCpu(asked.min_m.max(1)), MilliCpu(asked.max_m.max(1))));
    let usual = || own.map(|own| (share(own, GRID[0]), share(own, GRID[7])));
    let (low, high) = asked.or_else(usual)?;
    let (low, high) = match own.filter(|_| workload.restarts.is_some()) {
        Some(own) => (own.max(low).min(high), own.max(low).min(high)),
        None => (low, high),
    };
    let fit = |size| workload.allowed.fit(size);
    Some((fit(low), fit(high)))
}

fn share(size: MilliCpu, of: f64) -> MilliCpu {
    MilliCpu(((f64::from(size.0) * of).round() as u32).max(1))
}

/// Sizes of a workload's curve, within the largest node's CPU: the template's size times a grid, both bounds, and steps
/// to bounds further out than the grid, since a size between two of the curve counts only where the smaller keeps the
/// budget. It reaches beyond the bounds, since these change without a new revision: a profile of a size that was pinned
/// for a while says nothing about those that are allowed again. The template's own size is always within: its pods run
/// somewhere.
pub fn grid(workload: &Workload, node: Option<MilliCpu>) -> Vec<MilliCpu> {
    let Some((_, cpu)) = &workload.serving else {
        return Vec::new();
    };
    let base = cpu.size();
    let most = node.unwrap_or(base).max(base).max(MilliCpu(1));
    let mut sizes: Vec<MilliCpu> = GRID.iter().map(|of| share(base, *of)).collect();
    if let Some((low, high)) = bounds(workload) {
        let steps = (1..=STEPS).map(|step| STEP.powi(step));
        let below = steps.clone().map(|step| share(base, GRID[0] / step));
        let above = steps.map(|step| share(base, GRID[7] * step));
        sizes.extend(below.filter(|size| *size > low));
        sizes.extend(above.filter(|size| *size < high));
        sizes.extend([low, high]);
    }
    sizes.retain(|size| *size <= most);
    sizes.sort();
    sizes.dedup();
    sizes
}

/// The sizes of the grid that may be asked for; never none.
pub fn allowed(workload: &Workload, node: Option<MilliCpu>) -> Vec<MilliCpu> {
    let mut sizes = grid(workload, node);
    if let Some((low, high)) = bounds(workload) {
        let nearest = sizes
            .iter()
            .copied()
            .min_by_key(|size| low.0.abs_diff(size.0));
        sizes.retain(|size| (low..=high).contains(size));
        if sizes.is_empty() {
            sizes.extend(nearest);
        }
    }
    sizes
}

/// The sizes that a shadow pod visits: the template's first, then its double (its half where the double is not
/// allowed).
pub fn probed(workload: &Workload, node: Option<MilliCpu>) -> Vec<MilliCpu> {
    let grid = allowed(workload, node);
    let Some((_, cpu)) = &workload.serving else {
        return grid;
    };
    let base = cpu.size();
    let double = MilliCpu(base.0.saturating_mul(2));
    let half = MilliCpu((base.0 / 2).max(1));
    let second = [double, half].into_iter().find(|size| grid.contains(size));
    let mut sizes = vec![base];
    sizes.extend(second);
    if sizes.len() < 2 {
        sizes.extend(grid.into_iter().find(|size| *size != base));
    }
    sizes
}

/// A new profile object of a workload's revision.
pub fn object(workload: &Workload, revision: &str, sizes: &[MilliCpu]) -> LoadLatencyProfile {
    let key = key(&workload.key, revision);
    let mut profile = LoadLatencyProfile::new(
        &key.name,
        LoadLatencyProfileSpec {
            workload: workload.key.name.clone(),
            revision: revision.to_owned(),
            shape: workload.shape.clone(),
            images: workload.images.values().cloned().collect(),
            requests: workload
                .settings
                .profile_request
                .clone()
                .unwrap_or_default(),
            sizes_milli: sizes.iter().map(|size| size.0).collect(),
            rates: workload.settings.profile_rates.clone(),
        },
    );
    profile.metadata.namespace = Some(key.namespace);
    profile.metadata.owner_references = Some(vec![owner(workload)]);
    profile.metadata.labels = Some(
        [(names::REVISION_LABEL.to_owned(), revision.to_owned())]
            .into_iter()
            .collect(),
    );
    profile
}

/// What was found, as it is stored.
#[derive(Debug, Clone)]
pub struct Found<'a> {
    /// Points, mechanism.
    pub fitted: &'a Fitted,
    /// The curve.
    pub profile: &'a Profile,
    /// Every measured window.
    pub points: &'a [Point],
    /// The percentile of the curve.
    pub percentile: Percentile,
    /// Where the points come from.
    pub source: ProfileSource,
    /// How long it took.
    pub seconds: PhaseSeconds,
    /// Why measuring ended.
    pub message: String,
}

/// Writes a finding into a status.
pub fn done(
    status: &mut LoadLatencyProfileStatus,
    found: &Found<'_>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let mechanism = &found.fitted.mechanism;
    status.source = Some(found.source);
    status.points = found.points.iter().map(point).collect();
    status.point_count = found.points.len() as u32;
    status.mechanism = Some(FittedMechanism {
        work_ms: rounded(mechanism.work_ms),
        work_error: rounded(found.fitted.work_error),
        sigma: rounded(mechanism.sigma),
        workers: mechanism.workers,
        cores: mechanism.cores,
        correction: rounded(found.profile.correction),
    });
    status.percentile = Some(rounded(found.percentile.get() * 100.0));
    status.curve = found
        .profile
        .curve
        .sizes()
        .iter()
        .map(|table| SizeTable {
            size_milli: table.size.0,
            knots: table
                .knots
                .iter()
                .map(|knot| TableKnot {
                    rate: rounded(knot.rate.get()),
                    ms: rounded(knot.quantile.get()),
                })
                .collect(),
        })
        .collect();
    status.half_width = Some(rounded(found.profile.half_width));
    status.seconds = Some(found.seconds);
    stands(
        status,
        (Phase::Done, "Profiled", &found.message),
        generation,
        now,
    );
}

/// Says where a profile stands: its phase, and reason and message of the condition `Profiled` and of the summary.
pub fn stands(
    status: &mut LoadLatencyProfileStatus,
    (phase, reason, message): (Phase, &str, &str),
    generation: Option<i64>,
    now: Timestamp,
) {
    status.observed_generation = generation;
    status.phase = phase;
    for type_ in [ConditionType::Profiled, ConditionType::Ready] {
        set_condition(
            &mut status.conditions,
            type_,
            phase == Phase::Done,
            reason,
            message,
            generation,
            now,
        );
    }
}

/// Four significant digits are more than any of these figures holds.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powi(4 - value.abs().log10().ceil() as i32);
    (value * scale).round() / scale
}

fn point(point: &Point) -> MeasuredPoint {
    MeasuredPoint {
        size_milli: point.size.0,
        rate: rounded(point.rate.get()),
        window_seconds: point.window_seconds,
        requests: point.requests,
        errors: point.errors,
        cpu_seconds: rounded(point.cpu_seconds),
        p50_ms: rounded(point.p50_ms),
        p90_ms: rounded(point.p90_ms),
        p99_ms: rounded(point.p99_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_four_digits() {
        for (value, kept) in [
            (2.345_67, 2.346),
            (0.001_234_56, 0.001_235),
            (12_345.0, 12_350.0),
            (0.0, 0.0),
        ] {
            assert!(
                (rounded(value) - kept).abs() < 1e-9,
                "{value}: {}",
                rounded(value)
            );
        }
        assert!(rounded(f64::NAN).abs() < 1e-12);
    }
}
