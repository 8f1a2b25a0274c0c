//! What a user of the real cluster sees: held revisions, every way out, faults, and profiles against the known truth.
//!
//! Run it by `cargo xtask test e2e`; arguments select cases by a part of their name. One cluster, one shop and one
//! live load serve all cases, which run one after the other, since each looks at what the product does alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

mod bed;
mod capacity;
mod clock;
mod ends;
mod faults;
mod held;
mod install;
mod many;
mod proxy;
mod rotation;
mod rules;
mod strikes;
mod truth;

use std::process::ExitCode;

use anyhow::Result;

use crate::bed::Bed;
use crate::clock::Watch;

/// A named case.
#[derive(Debug)]
pub struct Case {
    /// What it shows.
    pub name: &'static str,
    /// Whether it strikes the product itself, which others on the cluster would feel.
    pub strikes: bool,
    /// The steps.
    pub run: fn(&Bed) -> Result<()>,
}

/// A case that touches the shop alone.
pub const fn case(name: &'static str, run: fn(&Bed) -> Result<()>) -> Case {
    Case {
        name,
        strikes: false,
        run,
    }
}

/// A case that strikes the product.
pub const fn strike(name: &'static str, run: fn(&Bed) -> Result<()>) -> Case {
    Case {
        name,
        strikes: true,
        run,
    }
}

fn cases() -> impl Iterator<Item = &'static Case> {
    let groups = [
        rules::CASES,
        ends::CASES,
        truth::CASES,
        many::CASES,
        faults::CASES,
        rotation::CASES,
    ];
    groups.into_iter().flatten()
}

fn run(filters: &[String]) -> Result<bool> {
    let whole = Watch::start();
    let wanted = |case: &&Case| {
        filters.is_empty() || filters.iter().any(|part| case.name.contains(part.as_str()))
    };
    let bed = Bed::up()?;
    let mut failed = Vec::new();
    let mut ran = 0;
    for case in cases().filter(wanted) {
        if case.strikes && !bed.alone {
            println!("  not run   {} (others use this cluster)", case.name);
            continue;
        }
        ran += 1;
        let watch = Watch::start();
        let outcome = (case.run)(&bed);
        let seconds = watch.seconds();
        match outcome {
            Ok(()) => println!("  ok    {seconds:6.1} s  {}", case.name),
            Err(error) => {
                println!("  FAILED {seconds:5.1} s  {}\n      {error:#}", case.name);
                failed.push(case.name);
            }
        }
    }
    let (sent, lost) = bed.requests()?;
    bed.leave()?;
    for name in &failed {
        println!("  failed: {name}");
    }
    println!("live load: {sent} sent, {lost} failed");
    // As libtest says it, for those who count.
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "test result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s",
        ran - failed.len(),
        failed.len(),
        cases().count() - ran,
        whole.seconds()
    );
    Ok(failed.is_empty())
}

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if std::env::args().any(|argument| argument == "--list") {
        for case in cases() {
            println!("{}: test", case.name);
        }
        return ExitCode::SUCCESS;
    }
    match run(&filters) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
