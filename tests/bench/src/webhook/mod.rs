//! The webhook as it is deployed, under a stream of reviews: whole calls from the intended time of sending, the
//! replicas' own decision time, their memory and CPU.
//!
//! Nothing is stored: reviews are posted to the Service as the API server would, and their answers only read.

pub mod answers;
pub mod reviews;
pub mod stream;
mod table;

use std::collections::BTreeMap;
use std::io::{Write as _, stdin, stdout};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use msars_shop::Options as Shop;
use serde::Serialize;
use serde_json::Value;

use crate::bed::{Bed, SYSTEM};
use crate::metrics::{Histogram, growth};
use crate::proc::{self, load_average};
use crate::save;
use crate::spread::Spread;
use stream::{Plan, Seen};

/// The Deployment, the Service and the program.
const NAME: &str = "msars-admission";
/// Reviews of Deployments for one of a pod.
const DEPLOYMENTS_PER_POD: f64 = 4.0;
/// Between two looks at the replicas' memory.
const LOOK: Duration = Duration::from_millis(100);

/// Arguments of `webhook`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Mean reviews per second (Poisson).
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// Length of a run.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Runs; the median is published with smallest and largest.
    #[arg(long, default_value_t = 3)]
    repeats: u64,
    /// Kept-alive connections.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// The annotated workload that the reviews are about.
    #[arg(long, default_value = "shop/catalogue")]
    workload: String,
    /// Measure on the cluster that is up, with everything on it.
    #[arg(long)]
    attach: bool,
    /// Leave a cluster that this run brought up.
    #[arg(long)]
    keep: bool,
}

/// One replica during a run.
#[derive(Debug, Clone, Serialize)]
pub struct Replica {
    /// The pod.
    pub pod: String,
    /// Memory before, MiB.
    pub rss_before_mib: f64,
    /// The most memory seen during the run, MiB.
    pub rss_peak_mib: f64,
    /// CPU from before the run's warm-up to its end, seconds.
    pub cpu_s: f64,
    /// Reviews that it answered.
    pub reviews: f64,
}

/// What the replicas say of their decisions: request's head to answer.
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// Mean, ms.
    pub mean_ms: Option<f64>,
    /// Bounds of the bucket that holds the median, ms.
    pub p50_ms: Option<(f64, f64)>,
    /// Bounds of the bucket that holds the 99th percentile, ms.
    pub p99_ms: Option<(f64, f64)>,
    /// Upper bound in ms and decisions at or below it.
    pub buckets: Vec<(f64, f64)>,
    /// By the replicas' own counter.
    pub outcomes: BTreeMap<String, f64>,
}

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Load average of the machine before and after: 1 minute.
    pub load: [f64; 2],
    /// What the client saw.
    pub seen: Seen,
    /// What the replicas counted.
    pub decision: Decision,
    /// Each replica.
    pub replicas: Vec<Replica>,
}

/// The published result.
#[derive(Debug, Clone, Serialize)]
struct Report {
    rate: f64,
    seconds: f64,
    connections: usize,
    workload: String,
    processors: usize,
    call_p50_ms: Option<Spread>,
    call_p99_ms: Option<Spread>,
    decision_mean_ms: Option<Spread>,
    rss_peak_mib: Option<Spread>,
    cpu_us_per_review: Option<Spread>,
    wrong: u64,
    runs: Vec<Run>,
}

/// The hidden half inside the network: plan in, result out.
pub fn stream() -> Result<()> {
    let plan: Plan = serde_json::from_reader(stdin().lock()).context("reading the plan")?;
    let seen = stream::run(plan)?;
    serde_json::to_writer(stdout().lock(), &seen)?;
    Ok(())
}

/// The command.
pub fn run(args: &Args) -> Result<()> {
    let shop = Shop::default();
    let report = Bed::during(&shop, (args.attach, args.keep), |bed| measure(bed, args))?;
    table::print(&report);
    save("webhook.json", &report)?;
    if report.wrong > 0 {
        bail!("{} answers were missing or wrong", report.wrong);
    }
    Ok(())
}

fn measure(bed: &Bed, args: &Args) -> Result<Report> {
    let mut runs = Vec::new();
    for repeat in 0..args.repeats.max(1) {
        let plan = plan(bed, args, repeat)?;
        let run = once(bed, &plan)?;
        println!(
            "run {}: {:.0}/s, call p50 {:.2} ms, p99 {:.2} ms, own lag p99 {:.2} ms, load {:.1}",
            repeat + 1,
            run.seen.rate,
            run.seen.latency.p50_ms,
            run.seen.latency.p99_ms,
            run.seen.lag.p99_ms,
            run.load[0]
        );
        runs.push(run);
    }
    let wrong = |run: &Run| run.seen.checked.failures() + run.seen.broken.values().sum::<u64>();
    let peak = |run: &Run| {
        run.replicas
            .iter()
            .map(|one| one.rss_peak_mib)
            .fold(f64::NAN, f64::max)
    };
    // Warm-up calls are answered by the same CPU and counted by the same counter.
    let cpu = |run: &Run| {
        let cpu_s: f64 = run.replicas.iter().map(|one| one.cpu_s).sum();
        cpu_s / run.replicas.iter().map(|one| one.reviews).sum::<f64>() * 1e6
    };
    Ok(Report {
        rate: args.rate,
        seconds: args.seconds,
        connections: args.connections,
        workload: args.workload.clone(),
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        call_p50_ms: Spread::of(runs.iter().map(|run| run.seen.latency.p50_ms)),
        call_p99_ms: Spread::of(runs.iter().map(|run| run.seen.latency.p99_ms)),
        decision_mean_ms: Spread::of(runs.iter().filter_map(|run| run.decision.mean_ms)),
        rss_peak_mib: Spread::of(runs.iter().map(peak)),
        cpu_us_per_review: Spread::of(runs.iter().map(cpu)),
        wrong: runs.iter().map(wrong).sum(),
        runs,
    })
}

fn plan(bed: &Bed, args: &Args, repeat: u64) -> Result<Plan> {
    let (namespace, name) = args
        .workload
        .split_once('/')
        .context("a workload is namespace/name")?;
    let stored = bed.get(&["-n", namespace, "deploy", name, "--show-managed-fields"])?;
    let uid = stored["metadata"]["uid"].clone();
    let sets = bed.get(&["-n", namespace, "replicasets"])?;
    let running = sets["items"].as_array().into_iter().flatten().find(|set| {
        let owned = set["metadata"]["ownerReferences"][0]["uid"] == uid;
        owned && set["spec"]["replicas"].as_u64().unwrap_or(0) > 0
    });
    let set = running.with_context(|| format!("{name} has no running ReplicaSet"))?;
    let container = stored["spec"]["template"]["spec"]["containers"][0]["name"].as_str();
    let service = bed.get(&["-n", SYSTEM, "service", NAME])?;
    let address = service["spec"]["clusterIP"]
        .as_str()
        .context("the Service has an address")?;
    let secret = bed.get(&["-n", SYSTEM, "secret", "msars-admission-tls"])?;
    let bundle = secret["data"]["bundle.crt"]
        .as_str()
        .context("the Secret holds no bundle.crt")?;
    Ok(Plan {
        address: SocketAddr::new(address.parse()?, 443),
        name: format!("{NAME}.{SYSTEM}.svc"),
        authorities: String::from_utf8(STANDARD.decode(bundle)?)?,
        reviews: vec![
            (
                DEPLOYMENTS_PER_POD,
                reviews::set_image(&stored, container.unwrap_or_default())?,
            ),
            (1.0, reviews::birth(set)?),
        ],
        rate: args.rate,
        seconds: args.seconds,
        connections: args.connections,
        seed: repeat + 1,
    })
}

/// A replica before the run.
struct Before {
    pod: String,
    address: String,
    pid: u32,
    usage: proc::Usage,
    metrics: String,
}

fn replicas(bed: &Bed) -> Result<Vec<Before>> {
    let pods = bed.get(&[
        "-n",
        SYSTEM,
        "pods",
        "-l",
        &format!("app.kubernetes.io/name={NAME}"),
    ])?;
    let mut found = Vec::new();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let text = |pointer: &str| {
            pod.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        if pod.pointer("/metadata/deletionTimestamp").is_some() {
            continue;
        }
        let name = text("/metadata/name");
        let pid = proc::of_pod(&text("/metadata/uid"), NAME)
            .with_context(|| format!("{name} has no process"))?;
        let address = text("/status/podIP");
        found.push(Before {
            usage: proc::usage(pid).context("the process is gone")?,
            metrics: bed.cluster.get(&format!("http://{address}:8080/metrics"))?,
            pod: name,
            address,
            pid,
        });
    }
    if found.is_empty() {
        bail!("the webhook has no replica");
    }
    Ok(found)
}

fn once(bed: &Bed, plan: &Plan) -> Result<Run> {
    let before = replicas(bed)?;
    let load = load_average()[0];
    let over = AtomicBool::new(false);
    let (seen, peaks) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peaks: Vec<f64> = before.iter().map(|one| one.usage.rss_mib).collect();
            while !over.load(Ordering::Relaxed) {
                for (peak, one) in peaks.iter_mut().zip(&before) {
                    *peak = proc::usage(one.pid).map_or(*peak, |usage| peak.max(usage.rss_mib));
                }
                std::thread::sleep(LOOK);
            }
            peaks
        });
        let seen = inside(bed, plan);
        over.store(true, Ordering::Relaxed);
        (seen, watch.join().unwrap_or_default())
    });
    let seen = seen?;
    let (mut decided, mut outcomes, mut all) = (Histogram::default(), BTreeMap::new(), Vec::new());
    for (one, peak) in before.iter().zip(peaks) {
        let after = bed
            .cluster
            .get(&format!("http://{}:8080/metrics", one.address))?;
        let read = |text: &str| Histogram::read(text, "msars_admission_decision_seconds");
        let own = read(&after).since(&read(&one.metrics));
        for (outcome, count) in growth(
            &one.metrics,
            &after,
            "msars_admission_decisions_total",
            "outcome",
        ) {
            *outcomes.entry(outcome).or_insert(0.0) += count;
        }
        let usage = proc::usage(one.pid).with_context(|| format!("{} is gone", one.pod))?;
        all.push(Replica {
            pod: one.pod.clone(),
            rss_before_mib: one.usage.rss_mib,
            rss_peak_mib: peak.max(usage.rss_mib),
            cpu_s: usage.cpu_s - one.usage.cpu_s,
            reviews: own.count,
        });
        decided = decided.and(&own);
    }
    let ms = |(low, high): (f64, f64)| (low * 1000.0, high * 1000.0);
    Ok(Run {
        load: [load, load_average()[0]],
        seen,
        decision: Decision {
            mean_ms: decided.mean().map(|mean| mean * 1000.0),
            p50_ms: decided.quantile(0.5).map(ms),
            p99_ms: decided.quantile(0.99).map(ms),
            buckets: decided
                .buckets
                .iter()
                .copied()
                .filter(|(bound, _)| bound.is_finite())
                .map(|(bound, count)| (bound * 1000.0, count))
                .collect(),
            outcomes,
        },
        replicas: all,
    })
}

/// The stream as a process of the cluster's network.
fn inside(bed: &Bed, plan: &Plan) -> Result<Seen> {
    let own = std::env::current_exe().context("finding this program's own file")?;
    let mut child = bed
        .cluster
        .enter(own)
        .arg("stream")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("entering the cluster's network")?;
    let mut input = child.stdin.take().context("the stream reads a plan")?;
    input.write_all(&serde_json::to_vec(plan)?)?;
    drop(input);
    let out = child.wait_with_output()?;
    if !out.status.success() {
        bail!("the stream ended with {}", out.status);
    }
    serde_json::from_slice(&out.stdout).context("reading what the stream saw")
}
