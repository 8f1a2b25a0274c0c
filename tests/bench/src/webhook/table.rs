//! The result for a reader at a terminal.

use super::Report;
use crate::spread::Spread;

/// Aim of the whole call, ms (99th percentile).
const AIM_MS: f64 = 20.0;
/// Aim of one replica's memory, MiB.
const AIM_MIB: f64 = 64.0;

/// Medians with their spread, then each run with its replicas.
pub(super) fn print(report: &Report) {
    let show = |what: &str, spread: Option<Spread>, unit: &str, note: &str| {
        if let Some(spread) = spread {
            println!("  {what:<34} {spread} {unit} {note}");
        }
    };
    println!(
        "webhook at {}/s for {} s, {} connections, {} runs on {} processors: median (least to most)",
        report.rate,
        report.seconds,
        report.connections,
        report.runs.len(),
        report.processors
    );
    show("whole call, p50", report.call_p50_ms, "ms", "");
    show(
        "whole call, p99",
        report.call_p99_ms,
        "ms",
        &format!("(aim {AIM_MS} ms)"),
    );
    show("decision, mean", report.decision_mean_ms, "ms", "");
    show(
        "memory of a replica, peak",
        report.rss_peak_mib,
        "MiB",
        &format!("(aim {AIM_MIB} MiB)"),
    );
    show(
        "CPU of the replicas per review",
        report.cpu_us_per_review,
        "µs",
        "",
    );
    for run in &report.runs {
        let bound = |pair: Option<(f64, f64)>| {
            pair.map_or_else(
                || "none".to_owned(),
                |(low, high)| format!("{low} to {high} ms"),
            )
        };
        println!(
            "  load {:.1}: {} reviews at {:.0}/s; own lag p99 {:.2} ms; decision p50 {}, p99 {}; answers {:?}; wrong {:?} {:?}",
            run.load[0],
            run.seen.sent,
            run.seen.rate,
            run.seen.lag.p99_ms,
            bound(run.decision.p50_ms),
            bound(run.decision.p99_ms),
            run.seen.checked.verdicts,
            run.seen.checked.wrong,
            run.seen.broken
        );
        for one in &run.replicas {
            println!(
                "    {}: {:.0} reviews, {:.1} → {:.1} MiB, {:.2} s of CPU",
                one.pod, one.reviews, one.rss_before_mib, one.rss_peak_mib, one.cpu_s
            );
        }
    }
}
