//! The page: one file that needs no other, for a reader who knows nothing of the product. Pure.

use std::fmt::Write as _;

use msars_report::{STYLE, escape, figure};

use crate::bars::several;
use crate::figures;
use crate::report::{Adoption, Report, Revision};
use crate::story::WORKLOAD;

const LAYOUT: &str = "\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2rem}.lead{font-size:1.1rem}\
table{border-collapse:collapse}td,th{padding:.2rem .7rem .2rem 0;text-align:left;vertical-align:top;border-bottom:1px solid #eee}\
.card{border:1px solid #ddd;border-radius:8px;padding:0 1rem 1rem;margin:1.2rem 0}\
.met{color:#2e7d32}.missed{color:#b71c1c;font-weight:bold}.num{text-align:right;font-variant-numeric:tabular-nums}\
code{background:#f4f4f4;padding:0 .25rem}";

/// The page.
pub fn html(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>A held rollout</title><style>{LAYOUT}{STYLE}</style></head><body>\n\
         <h1>A held rollout on a real cluster</h1>\n<p class=\"lead\">{}</p>\n\
         <p>A shop of fourteen services runs on one Kubernetes node under live load. Its objective: {} of all requests \
         within {} ms. When a new version of a service appears, its rollout is held for at most two minutes; a copy \
         outside the traffic is measured at several sizes and rates; the objective is split anew into a latency budget \
         for each service; then the rollout goes on with pods of the right size. Known versions are never held.</p>\n",
        escape(&report.summary),
        share(report.slo.percentile),
        figure(report.slo.target_ms),
    );
    bars(&mut out, report);
    let _ = write!(
        out,
        "<h2>Latency under live load</h2>\n<p>Yellow: a rollout is held, the old version serves alone. Green: pods are \
         replaced. Over the whole run the p{} was {} ms and {:.2} % of requests met the objective.</p>\n{}\n{}\n",
        figure(report.slo.percentile),
        figure(report.slo.found_ms),
        report.slo.attainment * 100.0,
        figures::latency(report),
        figures::rate(report)
    );
    fleet(&mut out, report);
    for revision in &report.revisions {
        card(&mut out, revision);
    }
    if let Some(undo) = &report.undo {
        let _ = writeln!(
            out,
            "<section class=\"card\"><h2>Undo</h2><p><code>kubectl rollout undo</code> was {} and complete after {:.1} s.</p></section>",
            if undo.held { "held" } else { "not held" },
            undo.seconds
        );
    }
    if let Some(told) = &report.adoption {
        adopted(&mut out, told);
    }
    list(
        &mut out,
        "Unexpected",
        &report.unexpected,
        "Nothing: no warning, error, panic, restart or contradiction.",
    );
    list(&mut out, "Known and harmless", &report.benign, "Nothing.");
    timeline(&mut out, report);
    out.push_str("</body></html>\n");
    out
}

/// Replicas and sizes below the load and its latency, on the same seconds.
fn fleet(out: &mut String, report: &Report) {
    if report.fleet.is_empty() {
        return;
    }
    let surge = report.surge.map_or(String::new(), |surge| {
        let (before, most, after) = surge.replicas;
        format!(
            "In the surge the load went from {} to {} requests per second and back; {WORKLOAD} had {before} replicas before, \
             {most} at most and {after} in the end. ",
            figure(surge.rate_low),
            figure(surge.rate_high)
        )
    });
    let _ = write!(
        out,
        "<h2>Pods and their size</h2>\n<p>{surge}Over the whole run {} resizes were made in place, {} of them deferred, and {} \
         containers restarted; replicas were raised {} times and lowered {} times. {:.2} % of the windows had a p99 over the \
         objective. All pods together requested {:.0} core-seconds of CPU, {:.0} of them for profiling.</p>\n{}\n{}\n",
        report.resizes.in_place + report.resizes.deferred,
        report.resizes.deferred,
        report.resizes.container_restarts,
        report.scales.out,
        report.scales.into,
        report.violation_rate * 100.0,
        report.cpu_core_seconds,
        report.cpu_core_seconds_profiling,
        figures::replicas(report, WORKLOAD.name()),
        figures::requested(report, WORKLOAD.name())
    );
}

fn share(percentile: f64) -> String {
    format!("{} %", figure(percentile))
}

fn bars(out: &mut String, report: &Report) {
    out.push_str("<h2>What was wanted, what was found</h2>\n<table>\n");
    for bar in &report.bars {
        let (class, word) = if bar.met {
            ("met", "met")
        } else {
            ("missed", "missed")
        };
        let _ = writeln!(
            out,
            "<tr><td class=\"{class}\">{word}</td><td>{}</td><td>{}</td></tr>",
            escape(&bar.wanted),
            escape(&bar.found)
        );
    }
    out.push_str("</table>\n");
}

fn card(out: &mut String, revision: &Revision) {
    let seconds = |value: f64| format!("{value:.1} s");
    let milli = |size: Option<u32>| size.map_or("none".to_owned(), |size| format!("{size}m"));
    let sizes: Vec<String> = revision
        .sizes
        .iter()
        .map(|size| milli(Some(*size)))
        .collect();
    let born: Vec<String> = revision.births.iter().map(|b| milli(b.size)).collect();
    let found = revision
        .work_found_ms
        .map_or("not measured".to_owned(), |found| {
            let error = (found / revision.work_true_ms - 1.0) * 100.0;
            format!(
                "{} ms found, {} ms true ({error:+.1} %)",
                figure(found),
                figure(revision.work_true_ms)
            )
        });
    let rows = [
        (
            "held",
            if revision.held {
                format!(
                    "{}; {} by the API server's log",
                    seconds(revision.hold_s),
                    revision.hold_s_audit.map_or("unknown".to_owned(), seconds)
                )
            } else {
                "no".to_owned()
            },
        ),
        ("released because", revision.released_by.clone()),
        (
            "measured",
            format!("{} points at {}", revision.points, sizes.join(", ")),
        ),
        ("CPU work per request", found),
        (
            "size of its pods",
            format!(
                "{} by the split, {} wanted at its release while {} ran, born with {}",
                milli(revision.size_split),
                milli(revision.size_wanted),
                milli(revision.size_running),
                several(&born)
            ),
        ),
        (
            "rollout after the release",
            seconds(revision.complete_s - revision.released_s),
        ),
        ("kubectl said", revision.warning.clone()),
    ];
    let _ = writeln!(
        out,
        "<section class=\"card\"><h2>{}</h2>\n<table>",
        escape(&revision.image)
    );
    for (name, value) in rows {
        let _ = writeln!(out, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value));
    }
    out.push_str("</table>\n");
    if let Some(curves) = figures::curves(revision) {
        let _ = writeln!(
            out,
            "<h3>Latency against load</h3><p>Lines: what the profile predicts, with its 95 % band; dots: what was measured.</p>{curves}"
        );
    }
    let _ = writeln!(
        out,
        "<h3>Latency budgets per visit</h3><p>Grey: before. Blue: for the new version.</p>{}\n</section>",
        figures::budgets(revision)
    );
}

/// An autoscaler that was taken over.
fn adopted(out: &mut String, told: &Adoption) {
    let seconds =
        |value: Option<f64>| value.map_or("never".to_owned(), |value| format!("{value:.1} s"));
    let yes = |value: bool| if value { "yes" } else { "no" };
    let count = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
    let rows = [
        (
            "replicas recommended beside it",
            count(told.recommended_replicas.map(|count| count.to_string())),
        ),
        (
            "writes meanwhile",
            count(told.recommended_written.map(|count| count.to_string())),
        ),
        ("taken over after", seconds(told.adopted_s)),
        (
            "stored before it was deleted",
            yes(told.stored_before_delete).to_owned(),
        ),
        ("back after", seconds(told.returned_s)),
        (
            "with the same spec, labels and annotations",
            yes(told.returned_identical).to_owned(),
        ),
    ];
    let _ = writeln!(
        out,
        "<section class=\"card\"><h2>An autoscaler taken over, and handed back</h2>\n<p>The team of {} had a \
         HorizontalPodAutoscaler of its own. In the mode <code>recommend</code> it went on to scale; with \
         <code>msars.io/adopt: hpa</code> its bounds and behaviour were taken over; with the mode <code>off</code> it came \
         back.</p>\n<table>",
        escape(&told.workload)
    );
    for (name, value) in rows {
        let _ = writeln!(out, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value));
    }
    out.push_str("</table></section>\n");
}

fn list(out: &mut String, title: &str, lines: &[String], none: &str) {
    let _ = writeln!(out, "<h2>{title}</h2>");
    if lines.is_empty() {
        let _ = writeln!(out, "<p>{none}</p>");
        return;
    }
    out.push_str("<ul>\n");
    for line in lines {
        let _ = writeln!(out, "<li>{}</li>", escape(line));
    }
    out.push_str("</ul>\n");
}

fn timeline(out: &mut String, report: &Report) {
    out.push_str("<h2>What happened when</h2>\n<table>\n");
    for moment in &report.timeline {
        let _ = writeln!(
            out,
            "<tr><td class=\"num\">{:.1} s</td><td>{}</td><td>{}</td></tr>",
            moment.at_s,
            escape(&moment.who),
            escape(&moment.what)
        );
    }
    out.push_str("</table>\n");
}

#[cfg(test)]
mod tests {
    use super::html;
    use crate::bars;
    use crate::report::{Report, Seen, Slo, summary};
    use crate::scaling::Step;
    use crate::stored::{Knot, Point, Profile, SizeCurve};
    use crate::timeline::Moment;

    fn profile(work_ms: f64) -> Profile {
        let point = |size_milli, rate, p99_ms| Point {
            size_milli,
            rate,
            p50_ms: 1.0,
            p90_ms: 2.0,
            p99_ms,
        };
        let curve = |size_milli, stretch: f64| SizeCurve {
            size_milli,
            knots: [(10.0, 20.0), (40.0, 300.0)]
                .map(|(rate, ms)| Knot {
                    rate: rate * stretch,
                    ms,
                })
                .to_vec(),
        };
        Profile {
            source: "Shadow".into(),
            work_ms,
            percentile: 99.0,
            half_width: 0.3,
            points: vec![point(200, 15.0, 25.0), point(400, 30.0, 40.0)],
            curve: vec![curve(200, 1.0), curve(400, 2.0)],
        }
    }

    fn told() -> Report {
        let mut report = bars::tests::good();
        report.slo = Slo {
            target_ms: 400.0,
            percentile: 99.0,
            attainment: 0.9991,
            found_ms: 187.0,
        };
        report.revisions.truncate(1);
        let revision = &mut report.revisions[0];
        (revision.from_s, revision.released_s, revision.complete_s) = (100.0, 155.0, 163.0);
        revision.warning = "Warning: msars: holding <this> revision".into();
        (revision.profile_before, revision.profile) = (Some(profile(2.6)), Some(profile(8.2)));
        report.windows = [(50.0, 40.0), (120.0, 60.0), (160.0, 90.0)]
            .map(|(at_s, p99)| Seen {
                at_s,
                rate: 20.0,
                p99_ms: Some(p99),
                failed: 0,
                asked: 100,
                lost: 0,
            })
            .to_vec();
        report.fleet = [(20.0, 0, 1, 100), (60.0, 860, 2, 100), (150.0, 960, 3, 100)]
            .map(|(at_s, requested, pods, size)| Step {
                at_s,
                requested,
                pods,
                size,
            })
            .to_vec();
        report.timeline = vec![Moment {
            at_s: 1.25,
            who: "demo".into(),
            what: "the cluster is up".into(),
        }];
        report.unexpected = vec!["a & b".into()];
        report.bars = bars::judge(&report);
        report.summary = summary(&report);
        report
    }

    #[test]
    fn the_page_of_a_small_run() {
        insta::assert_snapshot!(html(&told()));
    }

    #[test]
    fn the_page_needs_no_other_file_and_carries_no_markup_of_others() {
        let page = html(&told());
        for outside in ["http://", "https://", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("holding &lt;this&gt; revision") && !page.contains("<this>"));
        assert!(!page.contains("NaN") && !page.contains("inf"));
        // An empty run has a page too.
        assert!(html(&Report::default()).contains("Nothing:"));
    }
}
