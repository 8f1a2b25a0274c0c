//! Does **not** decide what a role does: `serve` plays one, `manifests` prints the objects
//! that run all of them.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};
use msars_shop::{Config, Options, PeerMap, Role, Version, manifests, serve};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The shop: fourteen roles in one program.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Plays one role.
    Serve(ServeArgs),
    /// Prints the objects of the whole shop, one JSON List, which is YAML too.
    Manifests(ManifestArgs),
}

#[derive(Args)]
struct ServeArgs {
    /// Which role.
    #[arg(long, env = "SHOP_ROLE")]
    role: Role,
    /// Which version, v1 to v4.
    #[arg(long, env = "SHOP_VERSION", default_value = "v1")]
    version: Version,
    /// Address; port 0 takes a free one and says which on standard output.
    #[arg(long, env = "SHOP_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Requests worked on at once [default: the version's number].
    #[arg(long, env = "SHOP_WORKERS")]
    workers: Option<usize>,
    /// Export shop_self_seconds.
    #[arg(long, env = "SHOP_SELF_TIME", value_parser = BoolishValueParser::new())]
    self_time: bool,
    /// Export process_cpu_seconds_total.
    #[arg(long, env = "SHOP_PROCESS_CPU", value_parser = BoolishValueParser::new())]
    process_cpu: bool,
    /// Where other roles are: `role=host:port`, `*=suffix:port`, separated by `;`.
    #[arg(long, env = "SHOP_PEERS", default_value = "*=:80")]
    peers: PeerMap,
    /// Seed of work and visits [default: random].
    #[arg(long, env = "SHOP_SEED")]
    seed: Option<u64>,
    /// Milliseconds of serving after the stop signal.
    #[arg(long, env = "SHOP_GRACE_MS", default_value_t = 3_000)]
    grace_ms: u64,
    /// Most requests on one connection.
    #[arg(long, default_value_t = 200)]
    connection_requests: u32,
    /// Milliseconds after which a connection is closed, give or take a quarter.
    #[arg(long, default_value_t = 2_000)]
    connection_age_ms: u64,
}

#[derive(Args)]
struct ManifestArgs {
    /// Where the shop runs.
    #[arg(long, default_value = "shop")]
    namespace: String,
    /// Version of every role.
    #[arg(long, default_value = "v1")]
    version: Version,
    /// Objective of the front end.
    #[arg(long, default_value = "p99<400ms")]
    slo: String,
    /// msars.io/mode of every role.
    #[arg(long, default_value = "auto")]
    mode: String,
    /// msars.io/gate of every role.
    #[arg(long, default_value = "hold")]
    gate: String,
    /// msars.io/cpu of every role.
    #[arg(long)]
    cpu: Option<String>,
    /// Export self time in every role.
    #[arg(long)]
    self_time: bool,
    /// Export the process's CPU time in every role.
    #[arg(long)]
    process_cpu: bool,
}

impl From<ServeArgs> for Config {
    fn from(args: ServeArgs) -> Self {
        Self {
            role: args.role,
            version: args.version,
            listen: args.listen,
            workers: args.workers,
            self_time: args.self_time,
            process_cpu: args.process_cpu,
            peers: args.peers,
            seed: args.seed,
            grace: Duration::from_millis(args.grace_ms),
            connection_requests: args.connection_requests,
            connection_age: Duration::from_millis(args.connection_age_ms),
        }
    }
}

async fn run(args: ServeArgs) -> Result<()> {
    let mut term = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let stop = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let (role, version) = (args.role, args.version);
    let started = |address| {
        tracing::info!(%role, %version, %address, "serving");
        // Nobody may be reading.
        let _ = writeln!(std::io::stdout(), "listening {address}");
    };
    Ok(serve(args.into(), started, stop).await?)
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Manifests(args) => {
            let list = manifests(&Options {
                namespace: args.namespace,
                version: args.version,
                slo: args.slo,
                mode: args.mode,
                gate: args.gate,
                cpu: args.cpu,
                self_time: args.self_time,
                process_cpu: args.process_cpu,
            });
            let text = serde_json::to_string_pretty(&list)?;
            writeln!(std::io::stdout(), "{text}").context("writing the manifests")
        }
        Command::Serve(args) => {
            let filter =
                EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(std::io::stderr)
                .with_ansi(false)
                .init();
            // One thread for all of HTTP: the CPU work has threads of its own.
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("starting the runtime")?
                .block_on(run(args))
        }
    }
}
