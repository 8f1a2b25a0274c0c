//! What splitting again is worth: the same load while a slower version comes in, with budgets that follow the version,
//! with budgets that stay as they were, and under HorizontalPodAutoscalers, which have none and hold nothing.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};
use msars_domain::load::RunResult;
use msars_shop::{Options as Shop, Role, Version, image, manifests};
use serde::{Serialize, Serializer};
use serde_json::json;

use crate::bed::{Bed, SYSTEM};
use crate::peers::count::{Sample, core_seconds, requested, service, violated_s};
use crate::peers::policy::Policy;
use crate::peers::{PERCENTILE, reset, run as driven};
use crate::save;
use crate::spread::Spread;

/// The service that gets slower.
pub(crate) const SERVICE: Role = Role::Catalogue;
/// Its version that does more work a request.
pub(crate) const SLOWER: Version = Version::V2;
/// The shop's serving container.
const CONTAINER: &str = "app";
/// The change comes so long after the first request.
const CHANGE: Duration = Duration::from_secs(30);
/// The autoscaler's Deployment, and its pods.
const AUTOSCALER: &str = "deployment/msars-autoscaler";
const PODS: &str = "app.kubernetes.io/name=msars-autoscaler";
/// Until a new leader has split.
const SPLIT: Duration = Duration::from_mins(3);

/// What keeps the objective while the slower version comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arm {
    /// The product, with splits that follow what runs.
    Follow,
    /// The product, with the split of before.
    Once,
    /// The same, and the version is let through at once: what is known of the one before goes on until live pods show more.
    Unheld,
    /// A HorizontalPodAutoscaler per workload, or nothing.
    Peer(Policy),
}

impl Arm {
    fn policy(self) -> Policy {
        match self {
            Self::Follow | Self::Once | Self::Unheld => Policy::Ours,
            Self::Peer(policy) => policy,
        }
    }

    /// `msars.io/gate` of every workload.
    fn gate(self) -> &'static str {
        match self {
            Self::Unheld => "observe",
            Self::Follow | Self::Once | Self::Peer(_) => "hold",
        }
    }

    /// `MSARS_SPLITS` of the leader.
    fn splits(self) -> &'static str {
        match self {
            Self::Follow | Self::Peer(_) => "follow",
            Self::Once | Self::Unheld => "once",
        }
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Follow => f.pad("follow"),
            Self::Once => f.pad("once"),
            Self::Unheld => f.pad("unheld"),
            Self::Peer(policy) => policy.fmt(f),
        }
    }
}

impl FromStr for Arm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            // What `peers` calls the product.
            "follow" | "ours" => Ok(Self::Follow),
            "once" => Ok(Self::Once),
            "unheld" => Ok(Self::Unheld),
            text => Ok(Self::Peer(
                text.parse().context("follow, once, unheld, or")?,
            )),
        }
    }
}

impl Serialize for Arm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Arguments of `resplit`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Who takes part: splits that follow (`follow`), the split of before kept (`once`), that and no hold (`unheld`), a
    /// HorizontalPodAutoscaler at a target (`hpa-80`), nothing (`none`).
    #[arg(long, value_delimiter = ',', default_value = "follow,once")]
    arms: Vec<Arm>,
    /// Repeats of each, in turned order.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Requests per second.
    #[arg(long, default_value_t = 25.0)]
    rate: f64,
    /// Seconds of load; the change comes after 30.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// The objective: p99 in milliseconds. Far above what the services need, budgets bind nobody and following them
    /// makes no difference.
    #[arg(long, default_value_t = 100.0)]
    target_ms: f64,
    /// Bounds of every pod's CPU. The product's own, half of the manifest's size at least, is more than budgets ask for.
    #[arg(long, default_value = "10m..2")]
    cpu: String,
    /// Measure on the cluster that is up, with the product on it.
    #[arg(long)]
    attach: bool,
    /// Leave a cluster that this run brought up.
    #[arg(long)]
    keep: bool,
}

/// One version change.
#[derive(Debug, Clone, Serialize)]
struct Run {
    arm: Arm,
    repeat: usize,
    /// Seconds from the first request to the end of the rollout; none when it did not end.
    rolled_s: Option<f64>,
    /// Share of the requests answered within the objective.
    attainment: f64,
    /// Seconds of windows that missed the objective, before the rollout's end and after it.
    violated_before_s: f64,
    violated_after_s: f64,
    /// The objective's percentile of all requests, ms.
    tail_ms: f64,
    failed: u64,
    core_seconds: f64,
    samples: Vec<Sample>,
}

/// The published result.
#[derive(Debug, Clone, Serialize)]
struct Report {
    rate: f64,
    seconds: u64,
    percentile: f64,
    target_ms: f64,
    cpu: String,
    service: String,
    runs: Vec<Run>,
}

/// The command.
pub fn run(args: &Args) -> Result<()> {
    if Duration::from_secs(args.seconds) < 2 * CHANGE {
        bail!("--seconds {}: the change comes after 30", args.seconds);
    }
    let shop = Shop {
        slo: format!("p{PERCENTILE}<{}ms", args.target_ms),
        cpu: Some(args.cpu.clone()),
        ..Shop::default()
    };
    let runs = Bed::during(&shop, (args.attach, args.keep), |bed| all(bed, args, &shop))?;
    print(&args.arms, &runs);
    Ok(())
}

/// Written after every run, so that one that fails costs no other.
fn keep(args: &Args, runs: &[Run]) -> Result<()> {
    save(
        "resplit.json",
        &Report {
            rate: args.rate,
            seconds: args.seconds,
            percentile: PERCENTILE,
            target_ms: args.target_ms,
            cpu: args.cpu.clone(),
            service: SERVICE.to_string(),
            runs: runs.to_vec(),
        },
    )
}

fn all(bed: &Bed, args: &Args, shop: &Shop) -> Result<Vec<Run>> {
    let peers = |arm: &Arm| matches!(arm, Arm::Peer(Policy::Hpa(_)));
    if args.arms.iter().any(peers) {
        bed.cluster.metrics_server(&|line| println!("{line}"))?;
    }
    let mut runs = Vec::new();
    for repeat in 0..args.repeats {
        let mut arms = args.arms.clone();
        arms.rotate_left(repeat % args.arms.len().max(1));
        for arm in arms {
            let run = once(bed, args, shop, (arm, repeat))?;
            println!(
                "{arm} {}: attainment {:.2} %, violated {:.0} s before the rollout's end and {:.0} s after it, {:.0} core-seconds",
                repeat + 1,
                run.attainment * 100.0,
                run.violated_before_s,
                run.violated_after_s,
                run.core_seconds
            );
            runs.push(run);
            keep(args, &runs)?;
        }
    }
    Ok(runs)
}

/// The shop as its manifests have it, a leader that has split it, and then the load with the change in it.
fn once(bed: &Bed, args: &Args, shop: &Shop, (arm, repeat): (Arm, usize)) -> Result<Run> {
    let shop = &Shop {
        gate: arm.gate().to_owned(),
        ..shop.clone()
    };
    bed.cluster.apply(&manifests(shop).to_string())?;
    reset::to(bed, shop, arm.policy())?;
    let ours = arm.policy() == Policy::Ours;
    if ours {
        afresh(bed, shop)?;
    }
    let target = driven::target(bed, shop)?;
    let load = |seconds: u64| {
        let (rate, duration) = (format!("{:.3}", args.rate), format!("{seconds}s"));
        ["--rate".into(), rate, "--duration".into(), duration]
    };
    let patience = Instant::now() + SPLIT;
    while ours && !has_split(bed)? {
        if Instant::now() >= patience {
            bail!("expected: a split by the new leader within {SPLIT:?}; found: none in its log");
        }
        driven::drive(bed, &target, repeat, &load(20), |_| Ok(()))?;
    }
    // The first split knows little of the load; that of a minute later is worth keeping.
    driven::drive(bed, &target, repeat, &load(60), |_| Ok(()))?;
    if ours {
        lead(bed, arm)?;
    }
    let begin = Instant::now();
    let mut samples = Vec::new();
    let mut changed = false;
    let mut rolled_s = None;
    let result = driven::drive(bed, &target, repeat, &load(args.seconds), |_| {
        let at_s = begin.elapsed().as_secs_f64();
        if !changed && begin.elapsed() >= CHANGE {
            change(bed, shop, &format!("{arm}-{repeat}"))?;
            changed = true;
        }
        if changed && rolled_s.is_none() && rolled(bed, shop)? {
            rolled_s = Some(begin.elapsed().as_secs_f64());
        }
        let pods = bed.get(&["-n", &shop.namespace, "pods"])?;
        samples.push(requested(&pods, at_s));
        Ok(())
    })?;
    if rolled_s.is_none() {
        let label = format!("app={SERVICE}");
        let pods = ["-n", &shop.namespace, "describe", "pods", "-l", &label];
        println!(
            "the rollout did not end; its pods then:\n{}",
            bed.cluster.ask(pods)?
        );
    }
    told(&result, samples, (arm, repeat), rolled_s, args)
}

fn told(
    result: &RunResult,
    samples: Vec<Sample>,
    (arm, repeat): (Arm, usize),
    rolled_s: Option<f64>,
    args: &Args,
) -> Result<Run> {
    let seen = service(result, PERCENTILE, args.target_ms)?;
    let end = rolled_s.unwrap_or(args.seconds as f64);
    let violated = |from, to| violated_s(result, PERCENTILE, args.target_ms, from..to);
    Ok(Run {
        arm,
        repeat,
        rolled_s,
        attainment: seen.attainment,
        violated_before_s: violated(0.0, end),
        violated_after_s: violated(end, f64::INFINITY),
        tail_ms: seen.tail_ms,
        failed: seen.failed,
        core_seconds: core_seconds(&samples, args.seconds as f64),
        samples,
    })
}

fn system(bed: &Bed, args: &[&str]) -> Result<String> {
    bed.cluster.ask([&["-n", SYSTEM], args].concat())
}

/// A leader that splits as always and finds no split: one of the run before would be for the version that it ended with,
/// and a leader that goes keeps it in memory and writes it.
fn afresh(bed: &Bed, shop: &Shop) -> Result<()> {
    let found = bed.get(&["-n", SYSTEM, AUTOSCALER])?;
    let replicas = found["spec"]["replicas"].as_u64().unwrap_or(1);
    system(bed, &["set", "env", AUTOSCALER, "MSARS_SPLITS=follow"])?;
    system(bed, &["scale", AUTOSCALER, "--replicas=0"])?;
    system(bed, &["wait", "--for=delete", "pod", "-l", PODS])?;
    bed.cluster
        .ask(["-n", &shop.namespace, "delete", "slo", "--all"])?;
    let replicas = format!("--replicas={replicas}");
    system(bed, &["scale", AUTOSCALER, &replicas])?;
    system(bed, &["rollout", "status", AUTOSCALER])?;
    Ok(())
}

/// A new leader that goes on from the stored split, and makes others only when told to follow.
fn lead(bed: &Bed, arm: Arm) -> Result<()> {
    let setting = format!("MSARS_SPLITS={}", arm.splits());
    system(bed, &["set", "env", AUTOSCALER, &setting])?;
    // New pods for both, even when the setting stands.
    system(bed, &["rollout", "restart", AUTOSCALER])?;
    system(bed, &["rollout", "status", AUTOSCALER])?;
    Ok(())
}

/// Whether the leader that runs now has split.
fn has_split(bed: &Bed) -> Result<bool> {
    let pods = bed.get(&["-n", SYSTEM, "pods", "-l", PODS])?;
    for pod in pods["items"].as_array().into_iter().flatten() {
        // The leader before is there for some seconds yet, with its own splits in its log.
        if pod.pointer("/metadata/deletionTimestamp").is_some() {
            continue;
        }
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let log = bed.cluster.ask(["-n", SYSTEM, "logs", name])?;
        if log.lines().any(|line| line.contains("took_ms")) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The slower version, as a revision that nobody has seen: `mark` makes its template another than any before.
fn change(bed: &Bed, shop: &Shop, mark: &str) -> Result<()> {
    let patch = json!({"spec": {"template": {
        "metadata": {"annotations": {"bench": mark}},
        "spec": {"containers": [{"name": CONTAINER, "image": image(SERVICE, SLOWER).reference}]},
    }}});
    bed.cluster
        .ask([
            "-n",
            &shop.namespace,
            "patch",
            "deployment",
            SERVICE.name(),
            "-p",
            &patch.to_string(),
        ])
        .context("setting the slower version")?;
    Ok(())
}

/// Whether the rollout is complete and not held.
fn rolled(bed: &Bed, shop: &Shop) -> Result<bool> {
    let found = bed.get(&["-n", &shop.namespace, "deployment", SERVICE.name()])?;
    let (spec, status) = (&found["spec"], &found["status"]);
    let wanted = spec["replicas"].as_u64().unwrap_or(1);
    let count = |name: &str| status[name].as_u64().unwrap_or(0);
    Ok(spec["paused"] != true
        && status["observedGeneration"] == found["metadata"]["generation"]
        && count("updatedReplicas") >= wanted
        && count("replicas") == count("updatedReplicas")
        && count("availableReplicas") >= wanted)
}

fn print(arms: &[Arm], runs: &[Run]) {
    for arm in arms {
        let spread = |of: fn(&Run) -> f64| {
            let values = runs.iter().filter(|run| run.arm == *arm).map(of);
            Spread::of(values).map_or_else(String::new, |spread| format!("{spread:.1}"))
        };
        println!(
            "{arm:7} attainment {} %, violated after the rollout {} s, core-seconds {}",
            spread(|run| run.attainment * 100.0),
            spread(|run| run.violated_after_s),
            spread(|run| run.core_seconds)
        );
    }
}
