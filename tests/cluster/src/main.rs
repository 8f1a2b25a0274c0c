//! `msars-cluster`: the local cluster from the command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use msars_cluster::{Cluster, Image, Options, ScrapeInterval, archive};

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
    Up {
        /// Time between two scrapes of Prometheus, in whole seconds.
        #[arg(long, default_value_t)]
        scrape_interval: ScrapeInterval,
        /// Neither build nor start Prometheus.
        #[arg(long, conflicts_with = "scrape_interval")]
        no_prometheus: bool,
    },
    /// Stop everything and remove every trace but the built programs.
    Down,
    /// Show processes, nodes and pods.
    Status,
    /// A shell in which kubectl talks to the cluster; `exit` leaves it.
    Shell,
    /// One kubectl call: `msars-cluster kubectl -- get pods -A`.
    Kubectl {
        /// What follows `kubectl`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Give the node an image of a program, with the libraries it needs.
    LoadImage {
        /// Names as pods give them, `shop/catalogue:v1`; several by commas.
        #[arg(value_delimiter = ',', required = true)]
        names: Vec<String>,
        /// The program's file.
        program: PathBuf,
        /// A variable of the image's environment; may be repeated.
        #[arg(long, value_name = "NAME=VALUE")]
        env: Vec<String>,
    },
    /// Write an image of a program into an OCI archive, for a registry or another cluster.
    SaveImage {
        /// The image's name, `registry.example/msars/admission:v1`.
        name: String,
        /// The program's file.
        program: PathBuf,
        /// The archive's file.
        to: PathBuf,
    },
}

fn main() -> Result<()> {
    let say = |line: &str| println!("{line}");
    let mut child = match Cli::parse().command {
        Command::Up {
            scrape_interval,
            no_prometheus,
        } => {
            let scrape = (!no_prometheus).then_some(scrape_interval);
            return Cluster::up(Options { scrape }, &say).map(drop);
        }
        Command::Down => return Cluster::clear(&say),
        Command::LoadImage {
            names,
            program,
            env,
        } => return load(&names, &program, env),
        Command::SaveImage { name, program, to } => {
            let bytes = archive(&[Image::of_program(&name, &program)?])?;
            return std::fs::write(&to, bytes).with_context(|| format!("writing {}", to.display()));
        }
        Command::Status => {
            let cluster = Cluster::attach()?;
            for process in cluster.processes() {
                println!("{:7} {}", process.pid, process.name);
            }
            let mut child = cluster.enter("kubectl");
            child.args(["get", "nodes,pods", "-A", "-o", "wide"]);
            child
        }
        Command::Shell => {
            let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".into());
            Cluster::attach()?.unowned(shell)
        }
        Command::Kubectl { args } => {
            let mut child = Cluster::attach()?.enter("kubectl");
            child.args(args);
            child
        }
    };
    let status = child.status()?;
    if !status.success() {
        bail!("{child:?} ended with {status}");
    }
    Ok(())
}

fn load(names: &[String], program: &std::path::Path, env: Vec<String>) -> Result<()> {
    let cluster = Cluster::attach()?;
    let mut first = Image::of_program("unnamed", program)?;
    for pair in env {
        first = first.with_env(pair);
    }
    let images: Vec<Image> = names.iter().map(|name| first.named(name)).collect();
    cluster.load_images(&images)?;
    for image in images {
        println!("{}", image.name());
    }
    Ok(())
}
