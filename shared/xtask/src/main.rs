//! `cargo xtask`: the commands of this repository.
//!
//! What this program does **not** do: it holds no logic of the product and links none of its crates; it looks for
//! what is missing, spawns cargo and the other programs, and counts what their tests say.

mod count;
mod images;
mod preflight;
mod run;
mod stages;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::preflight::{Need, preflight};
use crate::stages::{Figure, Part};

/// The commands of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Before every commit: format, lints, pure tests, edges between crates, generated files. No cluster.
    Check,
    /// Run the tests: everything, or one part. The last line is `N passed, N failed`.
    Test {
        /// Leave out for everything.
        part: Option<Part>,
    },
    /// The real local cluster: `cluster up`, `cluster status`, `cluster shell`, `cluster down`. Needs root.
    Cluster {
        /// What to do; `cargo xtask cluster help` lists it.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        args: Vec<String>,
    },
    /// The whole story on the real cluster under live load, with its report. Needs root.
    Demo {
        /// Such as `--keep`, which leaves the cluster up; `cargo xtask demo -- --help` lists all.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Write the generated files anew: the definitions in `manifests/crds`.
    Generate,
    /// Measure what is published: one figure, or all that need no cluster.
    Bench {
        /// Leave out for all that need no cluster. Those on the real cluster need root.
        figure: Option<Figure>,
        /// Of a figure on the cluster, such as `--attach` or `--quick`; `cargo xtask bench webhook -- --help` lists all.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Images of the product's programs as OCI archives, and a kustomization that installs them: for a cluster of yours.
    Images {
        /// Where the cluster pulls from, before the programs' names: `registry.example/msars`.
        #[arg(long, default_value = "msars")]
        registry: String,
        /// The images' tag.
        #[arg(long, default_value = "dev")]
        tag: String,
    },
    /// Say everything that is missing on this machine, with the command that installs it.
    Preflight,
}

impl Command {
    fn need(&self) -> Need {
        match self {
            Self::Bench {
                figure: Some(figure),
                ..
            } if figure.on_the_cluster().is_some() => Need::Cluster,
            Self::Check
            | Self::Generate
            | Self::Bench { .. }
            | Self::Images { .. }
            | Self::Test {
                part: Some(Part::Pure),
            } => Need::Build,
            Self::Test { .. } | Self::Cluster { .. } | Self::Demo { .. } | Self::Preflight => {
                Need::Cluster
            }
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let command = Cli::parse().command;
    let good = preflight(command.need())?
        && match &command {
            Command::Check => run::check()?,
            Command::Test { part } => run::test(*part)?,
            Command::Cluster { args } => run::cluster(args)?,
            Command::Demo { args } => run::demo(args)?,
            Command::Generate => run::generate()?,
            Command::Images { registry, tag } => run::images(registry, tag)?,
            Command::Bench { figure, args } => run::bench(*figure, args)?,
            Command::Preflight => {
                println!("nothing is missing");
                true
            }
        };
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
