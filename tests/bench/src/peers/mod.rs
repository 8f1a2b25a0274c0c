//! The autoscaler beside its peers: the same trace under the product, under HorizontalPodAutoscalers at several
//! targets (Kubernetes' own controller, fed by metrics-server), and without any.
//!
//! Windows of time (stabilisation, scrapes, ticks) are not compressed with the trace, for any policy.

pub mod count;
pub mod figure;
pub mod kept;
pub mod policy;
pub mod reset;
pub mod run;
pub mod trace;

use std::path::PathBuf;

use anyhow::{Context, Result};
use msars_shop::Options as Shop;
use serde::{Deserialize, Serialize};

use crate::bed::Bed;
use crate::spread::Spread;
use crate::{folder, save};
use count::{Actions, Sample, Service};
use policy::Policy;
use trace::Trace;

/// The objective.
pub const PERCENTILE: f64 = 99.0;
/// The objective's latency, ms.
pub const TARGET_MS: f64 = 400.0;
/// Attainments closer than this are the same, and the cheaper is the better.
const SAME: f64 = 0.001;

/// Arguments of `peers`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Runs of two minutes, one repeat: for trying it out, not for publishing.
    #[arg(long)]
    quick: bool,
    /// Repeats of every policy, in rotated order.
    #[arg(long)]
    repeats: Option<usize>,
    /// Seconds that the trace's half hour takes.
    #[arg(long)]
    seconds: Option<f64>,
    /// Go on from an earlier result (`target/bench/peers.json`) of the same trace: its runs are kept, those it lacks
    /// are made.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Who takes part.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "ours,hpa-40,hpa-60,hpa-80,none"
    )]
    policies: Vec<Policy>,
    /// File with one rate per line instead of the built-in day.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Seconds that a line of the file stands for.
    #[arg(long, default_value_t = 60.0)]
    step: f64,
    /// Multiplies the file's rates.
    #[arg(long, default_value_t = 1.0)]
    rate_scale: f64,
    /// Measure on the cluster that is up, with the product on it.
    #[arg(long)]
    attach: bool,
    /// The shop's namespace.
    #[arg(long, default_value = "shop")]
    namespace: String,
    /// Leave a cluster that this run brought up.
    #[arg(long)]
    keep: bool,
}

/// One policy under the trace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// Who decided.
    pub policy: Policy,
    /// From 0.
    pub repeat: usize,
    /// Load average of the machine at the start and at the end: 1 minute.
    pub load: [f64; 2],
    /// What users saw.
    pub service: Service,
    /// Requests of pods, summed over time.
    pub core_seconds: f64,
    /// Writes.
    pub actions: Actions,
    /// How late the load driver itself was, 99th percentile, ms: part of every latency.
    pub driver_lag_p99_ms: f64,
    /// Requests over time; a published result leaves them out.
    #[serde(default)]
    pub samples: Vec<Sample>,
}

/// All runs of one policy.
#[derive(Debug, Clone, Copy, Serialize)]
struct Row {
    policy: Policy,
    attainment: Option<Spread>,
    violation_minutes: Option<Spread>,
    core_seconds: Option<Spread>,
    tail_ms: Option<Spread>,
    scales: Option<Spread>,
    resizes: Option<Spread>,
    failed: Option<Spread>,
}

/// The product against the best autoscaler target.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Verdict {
    best: Policy,
    /// Ours less the best's, as shares.
    attainment_difference: f64,
    /// Ours divided by the best's.
    core_seconds_ratio: f64,
}

/// The published result.
#[derive(Debug, Clone, Serialize)]
struct Report {
    /// Whether the product knew the shop before every run of its own.
    learned: bool,
    seconds: f64,
    mean_rate: f64,
    percentile: f64,
    target_ms: f64,
    processors: usize,
    rows: Vec<Row>,
    verdict: Option<Verdict>,
    runs: Vec<Run>,
}

/// The command.
pub fn run(args: &Args) -> Result<()> {
    let trace = match &args.trace {
        None => Trace::built_in(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("reading {}", path.display()))?;
            Trace::read(&text, args.step, args.rate_scale)?
        }
    };
    let seconds = args
        .seconds
        .unwrap_or(if args.quick { 120.0 } else { 480.0 });
    let repeats = args.repeats.unwrap_or(if args.quick { 1 } else { 3 });
    // Before anything comes up: a file that can't be gone on from costs no minutes.
    let kept = match &args.resume {
        None => kept::Kept::default(),
        Some(path) => kept::read(path, (seconds, trace.mean()))?,
    };
    let shop = Shop {
        namespace: args.namespace.clone(),
        slo: format!("p{PERCENTILE}<{TARGET_MS}ms"),
        ..Shop::default()
    };
    let report = Bed::during(&shop, (args.attach, args.keep), |bed| {
        all(bed, args, &shop, (&trace, seconds, repeats), kept)
    })?;
    print(&report);
    let policies: Vec<Policy> = report.rows.iter().map(|row| row.policy).collect();
    for (name, svg) in [
        ("peers-cost.svg", figure::cost(&report.runs, &policies)),
        (
            "peers-time.svg",
            figure::time(&report.runs, &policies, &trace, seconds),
        ),
    ] {
        let path = folder()?.join(name);
        std::fs::write(&path, svg).with_context(|| format!("writing {}", path.display()))?;
        println!("written: {}", path.display());
    }
    Ok(())
}

fn all(
    bed: &Bed,
    args: &Args,
    shop: &Shop,
    (trace, seconds, repeats): (&Trace, f64, usize),
    kept: kept::Kept,
) -> Result<Report> {
    if args
        .policies
        .iter()
        .any(|policy| matches!(policy, Policy::Hpa(_)))
    {
        bed.cluster.metrics_server(&|line| println!("{line}"))?;
    }
    let now = if args.policies.contains(&Policy::Ours) {
        let learned = run::learned(bed, shop, trace)?;
        println!(
            "the product has {}learned the shop",
            if learned { "" } else { "NOT " }
        );
        Some(learned)
    } else {
        None
    };
    let learned = kept.learned(now);
    let mut runs = kept.runs;
    for repeat in 0..repeats {
        for policy in Policy::rotated(&args.policies, repeat) {
            if kept::has(&runs, policy, repeat) {
                continue;
            }
            let run = run::once(bed, shop, (policy, repeat), (trace, seconds))?;
            println!(
                "{policy} {}: attainment {:.3} %, {:.2} min violated, {:.0} core-seconds, {} scales, {} resizes, load {:.1}",
                repeat + 1,
                run.service.attainment * 100.0,
                run.service.violation_minutes,
                run.core_seconds,
                run.actions.scales,
                run.actions.resizes,
                run.load[1]
            );
            runs.push(run);
            // A run takes ten minutes: what is measured is kept whatever comes after it.
            save(
                "peers.json",
                &report(args, learned, (trace, seconds), runs.clone()),
            )?;
        }
    }
    // The shop as it was found.
    reset::to(bed, shop, Policy::Ours)?;
    Ok(report(args, learned, (trace, seconds), runs))
}

fn report(args: &Args, learned: bool, (trace, seconds): (&Trace, f64), runs: Vec<Run>) -> Report {
    let rows: Vec<Row> = kept::policies(&args.policies, &runs)
        .into_iter()
        .map(|policy| row(policy, &runs))
        .collect();
    Report {
        learned,
        seconds,
        mean_rate: trace.mean(),
        percentile: PERCENTILE,
        target_ms: TARGET_MS,
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        verdict: verdict(&rows),
        rows,
        runs,
    }
}

fn row(policy: Policy, runs: &[Run]) -> Row {
    let spread = |of: &dyn Fn(&Run) -> f64| {
        Spread::of(runs.iter().filter(|run| run.policy == policy).map(of))
    };
    Row {
        policy,
        attainment: spread(&|run| run.service.attainment),
        violation_minutes: spread(&|run| run.service.violation_minutes),
        core_seconds: spread(&|run| run.core_seconds),
        tail_ms: spread(&|run| run.service.tail_ms),
        scales: spread(&|run| run.actions.scales as f64),
        resizes: spread(&|run| run.actions.resizes as f64),
        failed: spread(&|run| run.service.failed as f64),
    }
}

/// Medians: the best target is the one with the highest attainment, of the same ones the cheapest.
fn verdict(rows: &[Row]) -> Option<Verdict> {
    let medians = |row: &Row| Some((row.attainment?.median, row.core_seconds?.median));
    let ours = rows
        .iter()
        .find(|row| row.policy == Policy::Ours)
        .and_then(medians)?;
    let peers = rows
        .iter()
        .filter(|row| matches!(row.policy, Policy::Hpa(_)));
    let peers: Vec<(Policy, (f64, f64))> = peers
        .filter_map(|row| Some((row.policy, medians(row)?)))
        .collect();
    let most = peers
        .iter()
        .map(|(_, (attained, _))| *attained)
        .fold(f64::NEG_INFINITY, f64::max);
    let good = peers
        .into_iter()
        .filter(|(_, (attained, _))| *attained >= most - SAME);
    let (best, (attained, cost)) = good.min_by(|one, other| one.1.1.total_cmp(&other.1.1))?;
    Some(Verdict {
        best,
        attainment_difference: ours.0 - attained,
        core_seconds_ratio: ours.1 / cost,
    })
}

fn print(report: &Report) {
    println!(
        "p{} < {} ms, {:.0} s a run, mean {:.1} requests/s: median (least to most)",
        report.percentile, report.target_ms, report.seconds, report.mean_rate
    );
    println!(
        "{:8} {:30} {:22} {:26} {:22} scales, resizes",
        "policy", "attainment %", "minutes violated", "core-seconds", "p99 ms"
    );
    for row in &report.rows {
        let show = |spread: Option<Spread>, factor: f64, digits: usize| {
            let scaled = spread.map(|s| Spread {
                median: s.median * factor,
                least: s.least * factor,
                most: s.most * factor,
                ..s
            });
            scaled.map_or_else(String::new, |spread| format!("{spread:.digits$}"))
        };
        println!(
            "{:8} {:30} {:22} {:26} {:22} {}, {}",
            row.policy,
            show(row.attainment, 100.0, 3),
            show(row.violation_minutes, 1.0, 2),
            show(row.core_seconds, 1.0, 0),
            show(row.tail_ms, 1.0, 0),
            show(row.scales, 1.0, 0),
            show(row.resizes, 1.0, 0),
        );
    }
    if let Some(verdict) = report.verdict {
        println!(
            "ours against {}: attainment {:+.3} points at {:.0} % of its core-seconds",
            verdict.best,
            verdict.attainment_difference * 100.0,
            verdict.core_seconds_ratio * 100.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{Policy, Row, Spread, verdict};

    #[test]
    fn the_best_target_is_the_cheapest_of_those_that_attain_the_most() {
        let row = |policy, attained: f64, cost: f64| Row {
            policy,
            attainment: Spread::of([attained]),
            core_seconds: Spread::of([cost]),
            violation_minutes: None,
            tail_ms: None,
            scales: None,
            resizes: None,
            failed: None,
        };
        let rows = [
            row(Policy::Hpa(40), 0.9995, 100.0),
            row(Policy::Hpa(60), 0.9990, 80.0),
            row(Policy::Hpa(80), 0.9900, 40.0),
            row(Policy::Ours, 0.9991, 60.0),
        ];
        let found = verdict(&rows).unwrap();
        assert_eq!(found.best, Policy::Hpa(60));
        assert!((found.core_seconds_ratio - 0.75).abs() < 1e-9);
        assert!((found.attainment_difference - 0.0001).abs() < 1e-9);
        assert_eq!(verdict(&rows[..3]), None);
    }
}
