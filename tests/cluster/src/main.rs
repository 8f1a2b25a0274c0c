//! `msars-cluster`: the local cluster from the command line.

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use msars_cluster::{Paths, down, kubectl, prepare, up};

/// A real single-node Kubernetes on this machine, in a network namespace of its own. Needs root.
#[derive(Debug, Parser)]
#[command(name = "msars-cluster")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install and build what is missing (minutes, once), then start what does not run (seconds).
    Up,
    /// Stop everything and remove every trace but the built programs.
    Down,
    /// Show nodes and pods.
    Status,
    /// A shell in which kubectl talks to the cluster; `exit` leaves it.
    Shell,
    /// One kubectl call: `msars-cluster kubectl -- get pods -A`.
    Kubectl {
        /// What follows `kubectl`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> Result<()> {
    let paths = Paths::from_env()?;
    let command = Cli::parse().command;
    if let Command::Down = command {
        let _lock = paths.lock()?;
        return down(&paths);
    }
    let tools = prepare(&paths)?;
    let mut child = match command {
        Command::Up => {
            let _lock = paths.lock()?;
            return up(&paths, &tools);
        }
        Command::Down => return Ok(()),
        Command::Status => {
            let mut child = kubectl(&paths, &tools);
            child.args(["get", "nodes,pods", "-A", "-o", "wide"]);
            child
        }
        Command::Shell => {
            let mut child =
                msars_cluster::inside(std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".into()));
            let path = std::env::var("PATH").unwrap_or_default();
            child
                .env("KUBECONFIG", paths.kubeconfig())
                .env("PATH", format!("{}:{path}", tools.folder().display()));
            child
        }
        Command::Kubectl { args } => {
            let mut child = kubectl(&paths, &tools);
            child.args(args);
            child
        }
    };
    if !paths.kubeconfig().exists() {
        bail!("no cluster is up; start one: cargo xtask cluster up");
    }
    let status = child.status()?;
    if !status.success() {
        bail!("{child:?} ended with {status}");
    }
    Ok(())
}
