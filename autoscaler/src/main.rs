//! `msars-autoscaler`: the controllers of one cluster.
//!
//! What this program does **not** do: it answers no admission review (`msars-admission` does) and drives no load
//! (`msars-profile` does, in a pod of its own).

mod drain;
mod explain;
mod node;
mod prometheus;
mod run;

use clap::{Parser, Subcommand};

/// Profiles new revisions, splits latency objectives, and owns replicas and size of annotated Deployments.
#[derive(Debug, Parser)]
#[command(name = "msars-autoscaler", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controllers; one of the replicas leads.
    Run(Box<run::Args>),
    /// Print why a workload has the replicas and size that it has, or decide a recorded log anew.
    Explain(explain::Args),
    /// Give every workload enough pods of its template's size, release every hold, and wait: before uninstalling.
    Drain(drain::Args),
    /// Print the names of metrics and labels that are built in, as a file to begin with, or check such a file.
    Presets(prometheus::PresetsArgs),
    /// Print the definitions of ServiceLevelObjective, LoadLatencyProfile and SloAutoscaler as YAML.
    Crd,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run(args) => run::run(*args).await,
        Command::Explain(args) => explain::run(args).await,
        Command::Drain(args) => Box::pin(drain::run(args)).await,
        Command::Presets(args) => prometheus::presets(&args),
        Command::Crd => {
            for definition in msars_api::crd::all() {
                println!("---\n{}", serde_saphyr::to_string(&definition)?);
            }
            Ok(())
        }
    }
}

/// Before anything speaks TLS: two providers in one program would panic.
pub(crate) fn tls() -> anyhow::Result<()> {
    match rustls::crypto::ring::default_provider().install_default() {
        Ok(()) => Ok(()),
        Err(_first) => anyhow::bail!("another TLS provider was installed first"),
    }
}
