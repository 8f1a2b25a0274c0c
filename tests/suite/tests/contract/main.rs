//! What a real API server makes of our kinds, manifests and rights: one cluster for all of it.
//!
//! Run it by `cargo xtask test contract`. A cluster that is up already is used and left up.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

mod install;
mod kinds;
mod reach;
mod rights;
mod rows;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use msars_suite::Bed;

/// A named check against the cluster.
type Check = (&'static str, fn(&Bed) -> anyhow::Result<()>);

fn checks() -> Vec<Check> {
    let mut all = rows::CHECKS.to_vec();
    all.extend(install::CHECKS);
    all.extend(kinds::CHECKS);
    all.extend(reach::CHECKS);
    all.extend(rights::CHECKS);
    all
}

fn run(args: &Arguments) -> anyhow::Result<ExitCode> {
    if args.list {
        let names = checks()
            .into_iter()
            .map(|(name, _)| Trial::test(name, || Ok(())))
            .collect();
        return Ok(libtest_mimic::run(args, names).exit_code());
    }
    let bed = Arc::new(Bed::up()?);
    let trials = checks()
        .into_iter()
        .map(|(name, check)| {
            let bed = Arc::clone(&bed);
            Trial::test(name, move || {
                check(&bed).map_err(|error| Failed::from(format!("{error:#}")))
            })
        })
        .collect();
    let conclusion = libtest_mimic::run(args, trials);
    // Trials that were filtered out are dropped by now, and their share of the bed with them.
    if let Ok(bed) = Arc::try_unwrap(bed) {
        bed.leave()?;
    }
    Ok(conclusion.exit_code())
}

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // One after the other: they write webhook configurations and roles of the whole cluster, which the others ask about.
    args.test_threads.get_or_insert(1);
    run(&args).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
