//! `msars-admission`: the mutating webhook.
//!
//! What this program does **not** do: it calls nobody while it answers, profiles nothing and scales nothing. It
//! watches what a decision needs, asks which namespaces grant our writes, answers reviews from that snapshot, and
//! releases holds whose deadline passed where no controller does.

mod release;
mod snapshot;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use jiff::Timestamp;
use msars_client::connect::clients;
use msars_client::events::Events;
use msars_client::unread::UnreadObjects;
use msars_ops::flags::{AdminArgs, LogArgs};
use msars_ops::readiness::Readiness;
use msars_ops::shutdown::Tasks;
use msars_server::{Decide, Decision, Limits, Metrics, Outcome, Pair};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::snapshot::Source;

/// Answers admission reviews of Deployments and pods.
#[derive(Debug, Parser)]
#[command(name = "msars-admission", version)]
struct Cli {
    /// Address of the webhook.
    #[arg(long, env = "MSARS_LISTEN", value_parser = msars_ops::flags::listening, default_value = "[::]:9443")]
    listen: SocketAddr,
    /// Folder with tls.crt and tls.key; it may be empty at first, and is read again every few seconds.
    #[arg(long, env = "MSARS_CERT_DIR", default_value = "/etc/msars/tls")]
    cert_dir: PathBuf,
    /// Namespace of the Lease and the switches.
    #[arg(long, env = "POD_NAMESPACE", default_value = msars_api::names::SYSTEM_NAMESPACE)]
    namespace: String,
    /// Names this replica in events.
    #[arg(long, env = "POD_NAME", default_value = "msars-admission")]
    pod: String,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Between two looks at the certificate files.
const CERT_EVERY: Duration = Duration::from_secs(2);
/// Between two looks at whether this replica is ready.
const READY_EVERY: Duration = Duration::from_secs(1);
/// How long after SIGTERM new connections are still taken: until every node's proxy has heard that this replica ends. A
/// refused one would let a revision through unheld.
const LINGER: Duration = Duration::from_secs(4);
/// The end's grace: after [`LINGER`], open requests are answered.
const GRACE: Duration = Duration::from_secs(14);

#[derive(Debug)]
struct Gate(Arc<Source>);

impl Decide for Gate {
    fn decide(&self, review: &[u8], now: Timestamp) -> Decision {
        let answer = msars_mutate::decide(review, &self.0.read(), now);
        tracing::debug!(verdict = answer.verdict, reason = answer.reason, "decided");
        Decision {
            body: answer.body,
            outcome: match answer.outcome {
                msars_mutate::Outcome::Passed => Outcome::Passed,
                msars_mutate::Outcome::Patched => Outcome::Patched,
                msars_mutate::Outcome::Unreadable => Outcome::Unreadable,
            },
        }
    }
}

async fn pair(folder: &Path) -> std::io::Result<Pair> {
    Ok(Pair {
        certificates: tokio::fs::read(folder.join("tls.crt")).await?,
        key: tokio::fs::read(folder.join("tls.key")).await?,
    })
}

/// Says whether this replica is ready, and what it cannot read, where alerts can see it: what is not ready still answers
/// for its metrics.
async fn ready(
    readiness: Readiness,
    source: Arc<Source>,
    (metrics, unread): (Metrics, UnreadObjects),
    mut stop: watch::Receiver<bool>,
) {
    loop {
        metrics.readiness(readiness.missing().is_empty());
        source.count_unread(&unread);
        tokio::select! {
            () = tokio::time::sleep(READY_EVERY) => {}
            _told = stop.wait_for(|stop| *stop) => return,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Before anything speaks TLS: two providers in one program would panic.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("another TLS provider was installed first");
    }
    let cli = Cli::parse();
    msars_ops::logging::init(&cli.log)?;
    let config = kube::Config::infer()
        .await
        .context("finding the API server: run inside a pod, or set KUBECONFIG")?;
    let clients = clients(config).context("making a client of the API server")?;

    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let unread = UnreadObjects::register(&mut registry);
    let readiness = Readiness::default();
    let synced = readiness.condition("watches");
    let certified = readiness.condition("certificate");
    let mut tasks = Tasks::default();

    let source = Arc::new(Source::start(&clients, &cli.namespace, &mut tasks));
    tasks.spawn(
        "snapshot",
        Arc::clone(&source).keep(synced, tasks.stop(), msars_ops::clock::now),
    );
    tasks.spawn(
        "grants",
        Arc::clone(&source).ask_for_grants(
            clients.retrying.clone(),
            tasks.stop(),
            msars_ops::clock::now,
        ),
    );
    tasks.spawn(
        "release",
        release::run(
            Arc::clone(&source),
            (
                clients.strict.clone(),
                Events::new(clients.strict.clone(), "msars-admission", &cli.pod),
            ),
            tasks.stop(),
            msars_ops::clock::now,
        ),
    );
    let admin = tokio::net::TcpListener::bind(cli.admin.admin_addr)
        .await
        .with_context(|| format!("listening on {} (admin)", cli.admin.admin_addr))?;
    tasks.spawn(
        "ready",
        ready(
            readiness.clone(),
            Arc::clone(&source),
            (metrics.clone(), unread),
            tasks.stop(),
        ),
    );
    let stop = tasks.stop();
    tasks.spawn("admin", async move {
        let routes = msars_ops::admin::router(readiness, Arc::new(registry));
        let served = msars_ops::admin::serve(admin, routes, stop).await;
        if let Err(error) = served {
            tracing::error!(%error, "the admin server ended");
        }
    });

    let listener = TcpListener::bind(cli.listen)
        .with_context(|| format!("listening on {} (webhook)", cli.listen))?;
    listener
        .set_nonblocking(true)
        .context("the webhook's socket")?;
    let stop = tasks.stop();
    tasks.spawn("webhook", async move {
        let folder = cli.cert_dir;
        tracing::info!(folder = %folder.display(), "reading the certificate");
        let read = move || {
            let folder = folder.clone();
            async move { pair(&folder).await }
        };
        let first = msars_server::first(read.clone(), CERT_EVERY, &metrics, stop.clone());
        let Some((first, tls)) = first.await else {
            return;
        };
        certified.set(true);
        let routes =
            msars_server::router(Arc::new(Gate(source)), Limits::default(), metrics.clone());
        let follow =
            msars_server::follow(first, read, CERT_EVERY, tls.clone(), metrics, stop.clone());
        let (served, ()) = tokio::join!(
            msars_server::serve(listener, tls, routes, (stop, LINGER)),
            follow
        );
        if let Err(error) = served {
            tracing::error!(%error, "the webhook's server ended");
        }
    });
    tasks.run(GRACE).await.context("running")?;
    Ok(())
}
