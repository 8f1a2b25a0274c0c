//! Two figures: cost against attainment, and requested cores over time. Pure.

use msars_report::{Axis, Chart, Ink, Mark, STYLE};

use super::Run;
use super::policy::Policy;
use super::trace::Trace;

fn ink(policy: Policy) -> Ink {
    match policy {
        Policy::Ours => Ink::New,
        Policy::Hpa(0..=50) => Ink::Other,
        Policy::Hpa(51..=70) => Ink::Hold,
        Policy::Hpa(_) => Ink::Limit,
        Policy::Fixed => Ink::Old,
    }
}

/// As a file of its own.
fn file(chart: &Chart) -> String {
    let open = "<svg xmlns=\"http://www.w3.org/2000/svg\" ";
    let mut text = chart.svg().replacen("<svg ", open, 1);
    if let Some(at) = text.find('>') {
        text.insert_str(at + 1, &format!("<style>{STYLE}</style>"));
    }
    text + "\n"
}

/// Each run as a dot: requested core-seconds across, requests beyond the objective up.
pub fn cost(runs: &[Run], policies: &[Policy]) -> String {
    let marks = policies.iter().map(|policy| Mark::Dots {
        points: runs
            .iter()
            .filter(|run| run.policy == *policy)
            .map(|run| (run.core_seconds, 100.0 * (1.0 - run.service.attainment)))
            .collect(),
        ink: ink(*policy),
        label: policy.to_string(),
    });
    file(&Chart {
        title: "Requested core-seconds and requests beyond the objective, by policy".to_owned(),
        x: Axis::linear("requested core-seconds"),
        y: Axis::linear("requests beyond the objective, %"),
        marks: marks.collect(),
    })
}

/// Requested cores of each policy's last run that has them over time, with the rate that all of them got.
pub fn time(runs: &[Run], policies: &[Policy], trace: &Trace, seconds: f64) -> String {
    let known = |policy: &Policy, run: &&Run| run.policy == *policy && !run.samples.is_empty();
    let last = |policy: &Policy| runs.iter().rev().find(|run| known(policy, run));
    let mut marks: Vec<Mark> = policies
        .iter()
        .filter_map(|policy| Some((policy, last(policy)?)))
        .map(|(policy, run)| Mark::Line {
            points: run
                .samples
                .iter()
                .filter(|s| s.at_s >= 0.0)
                .map(|s| (s.at_s, s.cores))
                .collect(),
            ink: ink(*policy),
            dashed: *policy == Policy::Fixed,
            label: policy.to_string(),
        })
        .collect();
    let points = trace.points(seconds);
    let most = points
        .iter()
        .map(|point| point.1)
        .fold(f64::MIN_POSITIVE, f64::max);
    marks.push(Mark::Line {
        points: points
            .into_iter()
            .map(|(at, rate)| (at, rate / most))
            .collect(),
        ink: Ink::Old,
        dashed: true,
        label: format!("rate, 1 = {most:.0}/s"),
    });
    file(&Chart {
        title: "Requested cores over time, by policy".to_owned(),
        x: Axis::linear("seconds"),
        y: Axis::linear("cores requested"),
        marks,
    })
}
