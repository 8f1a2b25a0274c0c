//! What a user of the real cluster sees: held revisions, every way out, faults, and profiles against the known truth.
//!
//! Run it by `cargo xtask test product` (`test gate` for the cases of that name), or after a build some cases by a part
//! of their name: `cargo test --profile ci --workspace --exclude msars-cluster --test e2e -- quota`. One cluster, one
//! shop and one live load serve all cases. They run one after the other, since each looks at what the product does
//! alone, but for those that wait most of the time on workloads of their own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

mod adopt;
mod alerts;
mod audit;
mod bed;
mod blind;
mod capacity;
mod clock;
mod ends;
mod explained;
mod faults;
mod held;
mod install;
mod late;
mod leave;
mod many;
mod objective;
mod owners;
mod patience;
mod podinfo;
mod proxy;
mod room;
mod rotation;
mod rules;
mod states;
mod strained;
mod strikes;
mod succession;
mod truth;
mod used;
mod yard;

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
    /// Whether it may run at the same time as its neighbours of this kind, each on workloads of its own.
    pub beside: bool,
    /// Whether it speaks of all cases before it, so that it runs after all or not at all.
    pub last: bool,
    /// The steps.
    pub run: fn(&Bed) -> Result<()>,
}

/// A case that touches the shop alone.
pub const fn case(name: &'static str, run: fn(&Bed) -> Result<()>) -> Case {
    Case {
        name,
        strikes: false,
        beside: false,
        last: false,
        run,
    }
}

/// A case on workloads of its own, which waits most of the time.
pub const fn beside(name: &'static str, run: fn(&Bed) -> Result<()>) -> Case {
    Case {
        name,
        strikes: false,
        beside: true,
        last: false,
        run,
    }
}

/// A case that strikes the product.
pub const fn strike(name: &'static str, run: fn(&Bed) -> Result<()>) -> Case {
    Case {
        name,
        strikes: true,
        beside: false,
        last: false,
        run,
    }
}

/// A case that speaks of all before it.
pub const fn last(name: &'static str, run: fn(&Bed) -> Result<()>) -> Case {
    Case {
        last: true,
        ..strike(name, run)
    }
}

fn cases() -> impl Iterator<Item = &'static Case> {
    let groups = [
        rules::CASES,
        ends::CASES,
        truth::CASES,
        objective::CASES,
        alerts::CASES,
        explained::CASES,
        many::CASES,
        faults::CASES,
        rotation::CASES,
        blind::STRIKES,
        blind::BESIDE,
        room::BESIDE,
        owners::BESIDE,
        adopt::BESIDE,
        succession::STRIKES,
        room::STRIKES,
        podinfo::STRIKES,
        // What it pins leaves a profile of one small size behind.
        strained::CASES,
        // The product is gone afterwards.
        leave::STRIKES,
        used::CASES,
    ];
    groups.into_iter().flatten()
}

/// Most lines about lost requests of one case.
const LOSSES: usize = 8;

/// Runs one case and tells how it ended, and what the live load lost meanwhile; whether well.
fn told(case: &Case, bed: &Bed) -> bool {
    let watch = Watch::start();
    let losses = || bed.losses().unwrap_or_default();
    let before = losses().len();
    let outcome = (case.run)(bed);
    let seconds = watch.seconds();
    for line in losses().iter().skip(before).take(LOSSES) {
        println!("      lost: {line}");
    }
    match &outcome {
        Ok(()) => println!("  ok    {seconds:6.1} s  {}", case.name),
        Err(error) => println!("  FAILED {seconds:5.1} s  {}\n      {error:#}", case.name),
    }
    outcome.is_ok()
}

/// Runs cases one after the other, neighbours that may at the same time; the names of those that failed.
fn all(cases: &[&'static Case], bed: &Bed) -> Vec<&'static str> {
    let mut failed = Vec::new();
    for group in cases.chunk_by(|one, next| one.beside && next.beside) {
        let ends: Vec<bool> = std::thread::scope(|scope| {
            let run = |case: &&'static Case| {
                let case = *case;
                scope.spawn(move || told(case, bed))
            };
            let threads: Vec<_> = group.iter().map(run).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or(false))
                .collect()
        });
        let ended = group.iter().zip(ends);
        failed.extend(ended.filter(|(_, good)| !good).map(|(case, _)| case.name));
    }
    failed
}

fn run(filters: &[String]) -> Result<bool> {
    let whole = Watch::start();
    let wanted = |case: &&Case| {
        let named = filters.iter().any(|part| case.name.contains(part.as_str()));
        filters.is_empty() || (named && !case.last)
    };
    let mut chosen: Vec<&'static Case> = cases().filter(wanted).collect();
    // Other cases need the room that these workloads take.
    let scales =
        |case: &&'static Case| case.name.starts_with("scaling") || case.name.starts_with("podinfo");
    let bed = Bed::up(!chosen.is_empty() && chosen.iter().all(scales))?;
    chosen.retain(|case| {
        let runs = bed.alone || !case.strikes;
        if !runs {
            println!("  not run   {} (others use this cluster)", case.name);
        }
        runs
    });
    let ran = chosen.len();
    let failed = all(&chosen, &bed);
    let requests = bed.requests();
    bed.leave()?;
    let (sent, lost) = requests?;
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
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((late::FLAG, rest)) = words.split_first().map(|(one, rest)| (one.as_str(), rest)) {
        return match late::relay(rest) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
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
