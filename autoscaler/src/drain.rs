//! `drain`: before the product leaves a cluster or namespace.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args as ClapArgs;
use jiff::SignedDuration;
use msars_api::names;
use msars_client::connect::clients;
use msars_client::leader::{Candidate, Claim};
use msars_controller::kubelet::Kubelets;
use msars_controller::metrics::Metrics;
use msars_controller::objective::Board;
use msars_controller::own::Own;
use msars_controller::workload::{Means, Workloads};
use msars_controller::world::World;
use msars_observe::Windows;
use msars_ops::shutdown::Tasks;
use tokio::sync::watch;

use crate::prometheus::PrometheusArgs;

/// Flags of `drain`.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Only the workloads of this namespace.
    #[arg(long)]
    namespace: Option<String>,
    #[command(flatten)]
    prometheus: PrometheusArgs,
    /// Seconds to wait until every Deployment has its replicas available.
    #[arg(long, default_value_t = 300)]
    wait: u64,
    /// Namespace of the installation.
    #[arg(long, env = "POD_NAMESPACE", default_value = names::SYSTEM_NAMESPACE)]
    system_namespace: String,
}

/// A running replica gives its Lease back within this when it is asked to end.
const LEASE: Duration = Duration::from_secs(40);
/// The watches are complete within this.
const SYNC: Duration = Duration::from_mins(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Drains, and fails when something could not be done.
pub async fn run(args: Args) -> anyhow::Result<()> {
    crate::tls()?;
    let config = kube::Config::infer()
        .await
        .context("finding the API server: set KUBECONFIG")?;
    let clients = clients(config.clone()).context("making a client of the API server")?;
    let mut tasks = Tasks::default();
    let world = World::start(&clients, &args.system_namespace, &mut tasks);
    let metrics = Metrics::default();
    let means = Means {
        observer: args.prometheus.observer(&metrics)?,
        windows: Windows::default(),
        kubelets: Kubelets::new(config),
        cores: 2.0,
        log: None,
        now: msars_ops::clock::now,
        metrics,
        board: Arc::new(Board::default()),
    };
    let claim = watch::Sender::new(Claim::default());
    let mut held = claim.subscribe();
    let candidate = Candidate {
        lease: names::LEASE.into(),
        me: format!("drain-{}", std::process::id()),
        duration: SignedDuration::from_secs(15),
        every: Duration::from_secs(5),
    };
    let leases = kube::Api::namespaced(clients.strict.clone(), &args.system_namespace);
    let stop = tasks.stop();
    tasks.spawn("lease", async move {
        candidate
            .run(&leases, msars_ops::clock::now, &claim, stop)
            .await;
    });
    let won = tokio::time::timeout(LEASE, held.wait_for(Option::is_some)).await;
    if !matches!(won, Ok(Ok(_))) {
        bail!(
            "a controller runs and would undo this: kubectl -n {} scale deploy/msars-autoscaler --replicas=0",
            args.system_namespace
        );
    }
    drop(won);
    let synced = async {
        while !world.scaling_synced() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(SYNC, synced)
        .await
        .context("the API server's objects were not read in time")?;
    let own = Own::new(clients.strict.clone(), "drain");
    let workloads = Workloads::new(world, own, clients.strict.clone(), means)
        .context("starting the thread that decides")?;
    let within = Duration::from_secs(args.wait);
    let drained = Box::pin(workloads.drain(args.namespace.as_deref(), within)).await;
    for (what, keys) in [
        ("left", &drained.left),
        ("released", &drained.released),
        ("deleted", &drained.deleted),
    ] {
        for key in keys {
            println!("{what} {key}");
        }
    }
    tasks
        .run_until(std::future::ready(()), Duration::from_secs(10))
        .await
        .context("ending")?;
    for sentence in &drained.wrong {
        eprintln!("{sentence}");
    }
    if drained.wrong.is_empty() {
        println!("drained; now: kubectl delete -k manifests");
        Ok(())
    } else {
        bail!("{} things could not be done", drained.wrong.len())
    }
}
