//! `run`: wires clients, watches, the Lease and the controllers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args as ClapArgs, ValueEnum};
use jiff::SignedDuration;
use msars_api::names;
use msars_client::connect::clients;
use msars_client::leader::{Candidate, Claim, leads};
use msars_controller::certificates::{Certificates, Lives};
use msars_controller::kubelet::Kubelets;
use msars_controller::lead::Lead;
use msars_controller::metrics::Metrics;
use msars_controller::objective::{Board, Objectives, Splits};
use msars_controller::own::Own;
use msars_controller::plain::Plain;
use msars_controller::revision::Revisions;
use msars_controller::revision::measure::Bench;
use msars_controller::workload::record::{Log, Target};
use msars_controller::workload::recorder::Recorder;
use msars_controller::workload::{Means, Workloads};
use msars_controller::world::World;
use msars_observe::{Observer, Preset, Windows};
use msars_ops::flags::{AdminArgs, LogArgs};
use msars_ops::readiness::{Readiness, ReadyHandle};
use msars_ops::shutdown::Tasks;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::node::NodeArgs;
use crate::prometheus::PrometheusArgs;

/// Flags of `run`.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(flatten)]
    prometheus: PrometheusArgs,
    /// Prometheus' scrape interval in seconds: windows are chosen to hold two scrapes.
    #[arg(long, env = "MSARS_SCRAPE_SECONDS", default_value_t = 15)]
    scrape_seconds: u64,
    /// Window of quantiles and call counts in seconds.
    #[arg(long, env = "MSARS_WINDOW_SECONDS", default_value_t = 120)]
    window_seconds: u64,
    /// Image of the pod that drives shadow pods.
    #[arg(long, env = "MSARS_LOAD_IMAGE", default_value = "msars/profile:dev")]
    load_image: String,
    /// Held revisions profiled at once.
    #[arg(long, env = "MSARS_PROFILES", default_value_t = 2)]
    profiles: usize,
    /// When an objective is split: `follow` what changes, or `once`, after which a service's budget holds for its later
    /// revisions too. `once` is there to see what splitting again is worth.
    #[arg(long, env = "MSARS_SPLITS", value_enum, default_value_t)]
    splits: When,
    #[command(flatten)]
    node: NodeArgs,
    /// Life of the webhook's certificate in minutes; renewed at two thirds.
    #[arg(long, env = "MSARS_CERT_MINUTES", default_value_t = 43_200)]
    cert_minutes: i64,
    /// Life of the webhook's authority in minutes; exchanged at two thirds, both trusted meanwhile.
    #[arg(long, env = "MSARS_CA_MINUTES", default_value_t = 525_600)]
    ca_minutes: i64,
    /// File to which every decision is written as a line of JSON with all that it rests on, `-` for the program's
    /// output. Replay: `explain --replay FILE`.
    #[arg(long, env = "MSARS_DECISIONS")]
    decisions: Option<PathBuf>,
    /// Most MiB of the file of decisions; then it becomes `FILE.1`, so that both take twice as many.
    #[arg(long, env = "MSARS_DECISIONS_MIB", default_value_t = 64)]
    decisions_mib: u64,
    /// Namespace of the Lease, the Secret and the switches.
    #[arg(long, env = "POD_NAMESPACE", default_value = names::SYSTEM_NAMESPACE)]
    namespace: String,
    /// This replica's name; unique.
    #[arg(long, env = "POD_NAME", default_value = "msars-autoscaler")]
    me: String,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// `--splits`.
#[derive(ValueEnum, Clone, Copy, Debug, Default)]
enum When {
    #[default]
    Follow,
    Once,
}

impl From<When> for Splits {
    fn from(when: When) -> Self {
        match when {
            When::Follow => Self::Follow,
            When::Once => Self::Once,
        }
    }
}

/// The end's grace: jobs delete their shadow pods.
const GRACE: Duration = Duration::from_secs(15);
/// Between two looks at the certificates.
const CERTS_EVERY: Duration = Duration::from_secs(5);

/// Runs until SIGTERM.
pub async fn run(args: Args) -> anyhow::Result<()> {
    crate::tls()?;
    msars_ops::logging::init(&args.log)?;
    let now = msars_ops::clock::now;
    let config = kube::Config::infer()
        .await
        .context("finding the API server: run inside a pod, or set KUBECONFIG")?;
    let clients = clients(config.clone()).context("making a client of the API server")?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let observer = args.prometheus.observer(&metrics)?;
    let windows = Windows {
        scrape: Duration::from_secs(args.scrape_seconds.max(1)),
        tail: Duration::from_secs(args.window_seconds.max(1)),
        ..Windows::default()
    };

    let readiness = Readiness::default();
    let synced = readiness.condition("watches");
    let mut tasks = Tasks::default();
    let world = World::start(&clients, &args.namespace, &mut tasks).with_node(args.node.node_cores);
    let own = Own::new(clients.strict.clone(), &args.me);
    let board = Arc::new(Board::default());
    let claim = watch::Sender::new(Claim::default());

    let candidate = Candidate {
        lease: names::LEASE.into(),
        me: args.me.clone(),
        duration: SignedDuration::from_secs(15),
        every: Duration::from_secs(5),
    };
    let leases = kube::Api::namespaced(clients.strict.clone(), &args.namespace);
    let (stop, seen) = (tasks.stop(), claim.subscribe());
    tasks.spawn("lease", async move {
        candidate.run(&leases, now, &claim, stop).await;
    });

    let kubelets = Kubelets::new(config);
    let means = means(
        &args,
        &observer,
        windows,
        kubelets.clone(),
        &metrics,
        &board,
    )?;
    let client = clients.strict.clone();
    let workloads = Workloads::new(world.clone(), own.clone(), client, means, seen.clone())
        .context("starting the thread that decides")?;
    tasks.spawn("workloads", workloads.run(tasks.stop()));
    let preset = observer.preset().clone();
    let named = preset.name.clone();
    let writes = (clients.strict.clone(), Lead::new(seen.clone(), now));
    let bench = bench(&args, writes, kubelets, preset, &board, &metrics);
    let revisions = Revisions::new(
        world.clone(),
        own.clone(),
        bench,
        Arc::clone(&board),
        args.profiles,
    );
    tasks.spawn("revisions", revisions.run(tasks.stop()));
    let claim = seen.clone();
    let objectives = Objectives::new(world.clone(), own, observer, windows, now, board, claim)
        .made(args.splits.into())
        .counted_in(metrics.clone());
    tasks.spawn("objectives", objectives.run(tasks.stop()));

    let lives = Lives {
        authority: SignedDuration::from_mins(args.ca_minutes.max(1)),
        leaf: SignedDuration::from_mins(args.cert_minutes.max(1)),
    };
    let (client, lead) = (clients.strict.clone(), Lead::new(seen.clone(), now));
    let kept = Certificates::new(client, lead.clone(), &args.namespace, lives);
    tasks.spawn("certificates", certificates(kept, lead, tasks.stop()));

    tasks.spawn("ready", ready(world, synced, metrics, seen, tasks.stop()));
    let admin = tokio::net::TcpListener::bind(args.admin.admin_addr)
        .await
        .with_context(|| format!("listening on {} (admin)", args.admin.admin_addr))?;
    let routes = msars_ops::admin::router(readiness, Arc::new(registry));
    let stop = tasks.stop();
    tasks.spawn("admin", async move {
        if let Err(error) = msars_ops::admin::serve(admin, routes, stop).await {
            tracing::error!(%error, "the admin server ended");
        }
    });
    tracing::info!(
        me = args.me,
        prometheus = args.prometheus.prometheus_url,
        preset = named,
        "running"
    );
    tasks.run(GRACE).await.context("running")?;
    Ok(())
}

fn means(
    args: &Args,
    observer: &Observer,
    windows: Windows,
    kubelets: Kubelets,
    metrics: &Metrics,
    board: &Arc<Board>,
) -> anyhow::Result<Means> {
    let log = args.decisions.as_deref().map(|path| log(path, args));
    let log = log.map(Recorder::start).transpose();
    Ok(Means {
        observer: observer.clone(),
        windows,
        kubelets,
        log: log.context("starting the thread that writes decisions")?,
        now: msars_ops::clock::now,
        metrics: metrics.clone(),
        board: Arc::clone(board),
    })
}

fn bench(
    args: &Args,
    (client, lead): (kube::Client, Lead),
    kubelets: Kubelets,
    preset: Preset,
    board: &Arc<Board>,
    metrics: &Metrics,
) -> Bench {
    Bench {
        client,
        lead,
        kubelets,
        plain: Plain::default(),
        load_image: args.load_image.clone(),
        preset,
        counts: metrics.clone(),
        board: Arc::clone(board),
        now: msars_ops::clock::now,
    }
}

fn log(path: &Path, args: &Args) -> Log {
    Log::new(if path == Path::new("-") {
        Target::Output
    } else {
        Target::File {
            path: path.to_owned(),
            bytes: args.decisions_mib.max(1) << 20,
        }
    })
}

/// Says when every watch was complete once, whether this replica leads, and what it cannot read.
async fn ready(
    world: World,
    synced: ReadyHandle,
    metrics: Metrics,
    claim: watch::Receiver<Claim>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        synced.set(world.synced());
        metrics.leads(leads(&claim, msars_ops::clock::now()));
        world.count_unread(metrics.unread());
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            _told = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Keeps the webhook's certificates while this replica leads.
async fn certificates(mut kept: Certificates, lead: Lead, mut stop: watch::Receiver<bool>) {
    loop {
        if lead.holds()
            && let Err(error) = kept.keep(msars_ops::clock::now()).await
        {
            tracing::warn!(%error, category = error.category(), "certificates not kept; tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(CERTS_EVERY) => {}
            _told = stop.wait_for(|stop| *stop) => return,
        }
    }
}
