//! The figures of the page. Pure.

use msars_report::{Axis, Bars, Chart, Group, Ink, Mark};

use crate::report::{Report, Revision, Surge};
use crate::scaling::Step;
use crate::stored::{Profile, SizeCurve};

/// p99 over time with the objective and the holds.
pub fn latency(report: &Report) -> String {
    let points = report
        .windows
        .iter()
        .filter_map(|w| Some((w.at_s, w.p99_ms?)))
        .collect();
    let mut marks: Vec<Mark> = report
        .revisions
        .iter()
        .filter(|revision| revision.held)
        .map(|revision| Mark::Span {
            from: revision.from_s,
            to: revision.released_s,
            ink: Ink::Hold,
            label: format!("held: {}", tag(&revision.image)),
        })
        .collect();
    marks.extend(report.revisions.iter().map(|revision| Mark::Span {
        from: revision.released_s,
        to: revision.complete_s,
        ink: Ink::Other,
        label: String::new(),
    }));
    marks.extend(report.undo.iter().map(|undo| Mark::Span {
        from: undo.from_s,
        to: undo.from_s + undo.seconds,
        ink: Ink::Other,
        label: "undo".to_owned(),
    }));
    marks.extend(surge(report));
    marks.push(Mark::Line {
        points,
        ink: Ink::New,
        dashed: false,
        label: "p99 of all requests, windows of 5 s".to_owned(),
    });
    marks.push(Mark::Level {
        y: report.slo.target_ms,
        ink: Ink::Limit,
        label: format!("objective: {:.0} ms", report.slo.target_ms),
    });
    Chart {
        title: "p99 latency over time".to_owned(),
        x: Axis::linear("seconds since the start"),
        y: Axis::log("p99, ms"),
        marks,
    }
    .svg()
}

/// The times at which the sudden load rises, and is over.
fn surge(report: &Report) -> Vec<Mark> {
    let span = |surge: &Surge| Mark::Span {
        from: surge.from_s,
        to: surge.over_s,
        ink: Ink::Hold,
        label: "surge".to_owned(),
    };
    report.surge.iter().map(span).collect()
}

/// A value of the fleet as a line of steps.
fn stairs(report: &Report, value: impl Fn(&Step) -> f64) -> Vec<(f64, f64)> {
    let steps = &report.fleet;
    let ends = steps.iter().skip(1).map(|step| step.at_s);
    let parts = steps.iter().zip(ends);
    let mut points: Vec<(f64, f64)> = parts
        .flat_map(|(step, end)| [(step.at_s, value(step)), (end, value(step))])
        .collect();
    points.extend(steps.last().map(|step| (step.at_s, value(step))));
    points
}

/// Pods of the workload that changes, over time.
pub fn replicas(report: &Report, workload: &str) -> String {
    let mut marks = surge(report);
    marks.push(Mark::Line {
        points: stairs(report, |step| f64::from(step.pods)),
        ink: Ink::New,
        dashed: false,
        label: format!("pods of {workload}"),
    });
    Chart {
        title: format!("pods of {workload} over time"),
        x: Axis::linear("seconds since the start"),
        y: Axis::linear("pods"),
        marks,
    }
    .svg()
}

/// CPU requests over time: of one pod of the workload that changes, and of all.
pub fn requested(report: &Report, workload: &str) -> String {
    let mut marks = surge(report);
    marks.push(Mark::Line {
        points: stairs(report, |step| f64::from(step.requested)),
        ink: Ink::Old,
        dashed: false,
        label: "all serving pods".to_owned(),
    });
    marks.push(Mark::Line {
        points: stairs(report, |step| f64::from(step.size)),
        ink: Ink::New,
        dashed: false,
        label: format!("the largest pod of {workload}"),
    });
    Chart {
        title: "requested CPU over time".to_owned(),
        x: Axis::linear("seconds since the start"),
        y: Axis::linear("requested CPU, thousandths of a core"),
        marks,
    }
    .svg()
}

/// Offered load over time.
pub fn rate(report: &Report) -> String {
    let mut marks = surge(report);
    marks.push(Mark::Line {
        points: report.windows.iter().map(|w| (w.at_s, w.rate)).collect(),
        ink: Ink::Old,
        dashed: false,
        label: "live load".to_owned(),
    });
    Chart {
        title: "requests per second over time".to_owned(),
        x: Axis::linear("seconds since the start"),
        y: Axis::linear("requests per second"),
        marks,
    }
    .svg()
}

/// `v2` of `shop/catalogue:v2`.
fn tag(image: &str) -> &str {
    image.rsplit(':').next().unwrap_or(image)
}

fn line(curve: &SizeCurve) -> Vec<(f64, f64)> {
    curve
        .knots
        .iter()
        .map(|knot| (knot.rate, knot.ms))
        .collect()
}

fn curve_of(profile: &Profile, size: u32) -> Option<&SizeCurve> {
    profile
        .curve
        .iter()
        .min_by_key(|curve| curve.size_milli.abs_diff(size))
}

/// Load-latency curves before and after, with measured points and the band of the new ones. None without a profile.
pub fn curves(revision: &Revision) -> Option<String> {
    let profile = revision.profile.as_ref()?;
    let sizes = profile.sizes();
    let mut marks = Vec::new();
    for (place, curve) in sizes
        .iter()
        .filter_map(|size| curve_of(profile, *size))
        .enumerate()
    {
        let half = profile.half_width;
        marks.push(Mark::Band {
            points: curve
                .knots
                .iter()
                .map(|knot| {
                    (
                        knot.rate,
                        knot.ms * (1.0 - half).max(0.05),
                        knot.ms * (1.0 + half),
                    )
                })
                .collect(),
            ink: if place == 0 { Ink::New } else { Ink::Other },
        });
        marks.push(Mark::Line {
            points: line(curve),
            ink: if place == 0 { Ink::New } else { Ink::Other },
            dashed: false,
            label: format!("new, {}m", curve.size_milli),
        });
    }
    let first = sizes.first().copied();
    if let Some(old) = revision
        .profile_before
        .as_ref()
        .zip(first)
        .and_then(|(p, size)| curve_of(p, size))
    {
        marks.push(Mark::Line {
            points: line(old),
            ink: Ink::Old,
            dashed: true,
            label: format!("before, {}m", old.size_milli),
        });
    }
    for (place, size) in sizes.iter().enumerate() {
        let of_size = profile
            .points
            .iter()
            .filter(|point| point.size_milli == *size);
        marks.push(Mark::Dots {
            points: of_size
                .map(|point| {
                    (
                        point.rate,
                        if profile.percentile >= 95.0 {
                            point.p99_ms
                        } else {
                            point.p90_ms
                        },
                    )
                })
                .collect(),
            ink: if place == 0 { Ink::New } else { Ink::Other },
            label: format!("measured, {size}m"),
        });
    }
    if let Some(budget) = revision.budgets_after.get(&revision.workload) {
        marks.push(Mark::Level {
            y: *budget,
            ink: Ink::Limit,
            label: format!("its new budget: {budget:.0} ms"),
        });
    }
    let chart = Chart {
        title: format!("load-latency profile of {}", revision.image),
        x: Axis::linear("requests per second and pod"),
        y: Axis::log(&format!("p{} of self time, ms", profile.percentile)),
        marks,
    };
    Some(chart.svg())
}

/// Budgets of every service before and after.
pub fn budgets(revision: &Revision) -> String {
    let mut names: Vec<&String> = revision
        .budgets_before
        .keys()
        .chain(revision.budgets_after.keys())
        .collect();
    names.sort();
    names.dedup();
    let of = |map: &std::collections::BTreeMap<String, f64>, name: &String| {
        map.get(name).copied().unwrap_or_default()
    };
    Bars {
        title: format!("latency budgets before and after {}", revision.image),
        unit: "ms".to_owned(),
        groups: names
            .into_iter()
            .map(|name| Group {
                label: name.clone(),
                bars: vec![
                    (of(&revision.budgets_before, name), Ink::Old),
                    (of(&revision.budgets_after, name), Ink::New),
                ],
            })
            .collect(),
    }
    .svg()
}
