//! `msars-bench`: one measurement per command; see the library.

use anyhow::Result;
use clap::{Parser, Subcommand};
use msars_bench::{peers, resplit, webhook};

/// Measures what is published, on the real local cluster. Needs root.
#[derive(Debug, Parser)]
#[command(name = "msars-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Admission reviews at a rate against the deployed webhook: latency, decision time, memory, CPU.
    Webhook(webhook::Args),
    /// The same trace under the product, under HorizontalPodAutoscalers and without any.
    Peers(peers::Args),
    /// A slower version of one service, with budgets that follow it and with budgets that stay.
    Resplit(resplit::Args),
    /// Used by `webhook` itself, inside the cluster's network: a plan on stdin, what was seen on stdout.
    #[command(hide = true)]
    Stream,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Webhook(args) => webhook::run(&args),
        Command::Peers(args) => peers::run(&args),
        Command::Resplit(args) => resplit::run(&args),
        Command::Stream => webhook::stream(),
    }
}
