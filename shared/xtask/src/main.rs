//! `cargo xtask`: the commands of this repository.
//!
//! What this program does **not** do: it holds no logic of the product and links none of its crates; it looks for
//! what is missing, spawns cargo and the other programs, and counts what their tests say.

mod count;
mod run;
mod stages;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::stages::Part;

/// The commands of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Before every commit: format, lints, pure tests and the edges between crates. No cluster.
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
    /// Say everything that is missing on this machine, with the command that installs it.
    Preflight,
}

fn main() -> anyhow::Result<ExitCode> {
    let good = match Cli::parse().command {
        Command::Check => run::check()?,
        Command::Test { part } => run::test(part)?,
        Command::Cluster { args } => run::cluster(&args)?,
        Command::Preflight => run::preflight()?,
    };
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
