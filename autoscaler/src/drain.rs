//! `drain`: before the product leaves a cluster or namespace.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args as ClapArgs;
use jiff::SignedDuration;
use msars_api::names;
use msars_client::connect::{Clients, clients};
use msars_client::leader::{Candidate, Claim};
use msars_controller::kubelet::Kubelets;
use msars_controller::metrics::Metrics;
use msars_controller::objective::Board;
use msars_controller::own::Own;
use msars_controller::workload::drain::Drained;
use msars_controller::workload::{Means, Workloads};
use msars_controller::world::World;
use msars_observe::Windows;
use msars_ops::flags::LogArgs;
use msars_ops::shutdown::Tasks;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::node::NodeArgs;
use crate::prometheus::PrometheusArgs;

/// Flags of `drain`.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Only the workloads of this namespace.
    #[arg(long)]
    namespace: Option<String>,
    #[command(flatten)]
    prometheus: PrometheusArgs,
    #[command(flatten)]
    node: NodeArgs,
    /// Seconds to wait until every Deployment has its replicas available.
    #[arg(long, default_value_t = 300)]
    wait: u64,
    /// Namespace of the installation.
    #[arg(long, env = "POD_NAMESPACE", default_value = names::SYSTEM_NAMESPACE)]
    system_namespace: String,
    /// Name of this run in the Lease; unique.
    #[arg(long, env = "POD_NAME")]
    me: Option<String>,
    #[command(flatten)]
    log: LogArgs,
}

/// A running replica gives its Lease back within this when it is asked to end.
const LEASE: Duration = Duration::from_secs(40);
/// The watches are complete within this.
const SYNC: Duration = Duration::from_mins(1);

/// Drains, and fails when something could not be done or will not be enough.
pub async fn run(args: Args) -> anyhow::Result<()> {
    crate::tls()?;
    msars_ops::logging::init(&args.log)?;
    let config = kube::Config::infer()
        .await
        .context("finding the API server: set KUBECONFIG")?;
    let clients = clients(config.clone()).context("making a client of the API server")?;
    let mut tasks = Tasks::default();
    let world =
        World::start(&clients, &args.system_namespace, &mut tasks).with_node(args.node.node_cores);
    let metrics = Metrics::default();
    let means = Means {
        observer: args.prometheus.observer(&metrics)?,
        windows: Windows::default(),
        kubelets: Kubelets::new(config),
        log: None,
        now: msars_ops::clock::now,
        metrics,
        board: Arc::new(Board::default()),
    };
    let own = Own::new(clients.strict.clone(), "drain");
    let lead = Lead::take(&args, &clients).await?;
    let (client, claim) = (clients.strict.clone(), lead.claim.clone());
    let namespace = args.namespace.as_deref();
    let within = Duration::from_secs(args.wait);
    let drained = async {
        let mut workloads = Workloads::new(world.clone(), own, client, means, claim)
            .context("starting the thread that decides")?;
        synced(&world).await?;
        let drained = Box::pin(workloads.drain(namespace, within)).await;
        anyhow::Ok((workloads, drained))
    };
    let drained = Box::pin(drained).await;
    lead.give_back().await;
    let (workloads, mut drained) = drained?;
    workloads.free(namespace, &mut drained).await;
    tasks
        .run_until(std::future::ready(()), Duration::from_secs(10))
        .await
        .context("ending")?;
    told(&drained)
}

/// The lead over the controllers, which would undo everything.
struct Lead {
    claim: watch::Receiver<Claim>,
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Lead {
    async fn take(args: &Args, clients: &Clients) -> anyhow::Result<Self> {
        let (told, mut claim) = watch::channel(Claim::default());
        let (end, stop) = watch::channel(false);
        let pid = std::process::id();
        let candidate = Candidate {
            lease: names::LEASE.into(),
            me: args.me.clone().unwrap_or_else(|| format!("drain-{pid}")),
            duration: SignedDuration::from_secs(15),
            every: Duration::from_secs(5),
        };
        let leases = kube::Api::namespaced(clients.strict.clone(), &args.system_namespace);
        let task = tokio::spawn(async move {
            candidate
                .run(&leases, msars_ops::clock::now, &told, stop)
                .await;
        });
        let won = {
            let won = tokio::time::timeout(LEASE, claim.wait_for(Option::is_some)).await;
            matches!(won, Ok(Ok(_)))
        };
        let lead = Self { claim, end, task };
        if won {
            return Ok(lead);
        }
        lead.give_back().await;
        let namespace = &args.system_namespace;
        bail!(
            "no lead within {} s: a controller runs and would undo this (kubectl -n {namespace} scale deploy/msars-autoscaler --replicas=0), or the Lease cannot be written (kubectl -n {namespace} get lease {})",
            LEASE.as_secs(),
            names::LEASE
        )
    }

    async fn give_back(self) {
        self.end.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "keeping the Lease failed");
        }
    }
}

async fn synced(world: &World) -> anyhow::Result<()> {
    let complete = async {
        while !world.scaling_synced() {
            world.changed.notified().await;
        }
    };
    tokio::time::timeout(SYNC, complete).await.with_context(|| {
        format!(
            "the API server's objects were not read within {} s: see the log above",
            SYNC.as_secs()
        )
    })
}

fn told(drained: &Drained) -> anyhow::Result<()> {
    for (what, keys) in [
        ("left", &drained.left),
        ("released", &drained.released),
        ("deleted", &drained.deleted),
    ] {
        for key in keys {
            println!("{what} {key}");
        }
    }
    for sentence in &drained.wrong {
        println!("WRONG {sentence}");
    }
    if drained.wrong.is_empty() {
        println!("drained; now: kubectl delete -k manifests");
        return Ok(());
    }
    bail!(
        "{} things could not be done or will not be enough: put them right and drain again, or go on without: kubectl delete -k manifests",
        drained.wrong.len()
    )
}
