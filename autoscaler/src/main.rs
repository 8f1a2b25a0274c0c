//! `msars-autoscaler`: the controllers of one cluster.
//!
//! What this program does **not** do: it answers no admission review (`msars-admission` does) and drives no load
//! (`msars-profile` does, in a pod of its own).

mod run;

use clap::{Parser, Subcommand};

/// Profiles new revisions, splits latency objectives, and owns replicas and size of annotated Deployments.
#[derive(Debug, Parser)]
#[command(name = "msars-autoscaler", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controllers; one of the replicas leads.
    Run(Box<run::Args>),
    /// Print the definitions of ServiceLevelObjective, LoadLatencyProfile and SloAutoscaler as YAML.
    Crd,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run(args) => run::run(*args).await,
        Command::Crd => {
            for definition in msars_api::crd::all() {
                println!("---\n{}", serde_saphyr::to_string(&definition)?);
            }
            Ok(())
        }
    }
}
