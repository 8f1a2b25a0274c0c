//! The README's questions about a decision, asked of the program in the cluster and of its log.

use anyhow::{Result, ensure};

use crate::bed::{Bed, SYSTEM};
use crate::strikes::leader;
use crate::{Case, case};

pub const CASES: &[Case] = &[case(
    "explain: the last decision in words, and the leader's log decided anew bit for bit",
    explained,
)];

/// What of the log is decided anew: as many of the last decisions of ticks, and all that grew between them.
const TICKS: usize = 100;

fn explained(bed: &Bed) -> Result<()> {
    bed.settle("catalogue")?;
    let workload = format!("{}/catalogue", bed.namespace);
    let program = "deploy/msars-autoscaler";
    let ask = ["-n", SYSTEM, "exec", program, "--", "msars-autoscaler"];
    let ask: Vec<&str> = ask.into_iter().chain(["explain", &workload]).collect();
    let told = bed.must(&ask)?;
    print!(
        "      {}",
        told.replace('\n', "\n      ").trim_end_matches(' ')
    );
    let begins = format!("{workload}: mode auto, ");
    ensure!(
        told.starts_with(&begins) && told.contains("\nWhy, as of "),
        "expected: a text that begins with {begins:?} and says why and since when; found: {told}"
    );
    let (pod, _) = leader(bed)?;
    let log = bed.must(&["-n", SYSTEM, "logs", &pod])?;
    let of = |kind: &'static str| log.lines().filter(move |line| line.starts_with(kind));
    let ticks = of("{\"tick\"").rev().take(TICKS);
    let grown = of("{\"reflex\"");
    println!("      {} growths between ticks", grown.clone().count());
    let lines: String = ticks.chain(grown).flat_map(|line| [line, "\n"]).collect();
    let again = ["-n", SYSTEM, "exec", "-i", program, "--"];
    let again = again
        .into_iter()
        .chain(["msars-autoscaler", "explain", "--replay", "-"]);
    let again: Vec<&str> = again.collect();
    let said = bed.must_with(&lines, &again)?.out;
    let count = said.lines().last().unwrap_or_default();
    println!("      {count}");
    let same = count.strip_suffix(" decisions, 0 different");
    ensure!(
        same.is_some_and(|decisions| decisions != "0"),
        "expected: decisions, none of them different; found: {said}"
    );
    Ok(())
}
