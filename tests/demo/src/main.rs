//! `msars-demo`: the story on a real cluster, and its report.
//!
//! What it does **not** do: see the library; this file reads arguments and says how it ended.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use msars_demo::bars;
use msars_demo::scenario::{Wish, run};

#[derive(Parser)]
#[command(
    name = "msars-demo",
    version,
    about = "Held rollouts, an undo and a surge on a real cluster"
)]
struct Cli {
    /// Leave the cluster up and say what to try next.
    #[arg(long)]
    keep: bool,
    /// Where the report goes.
    #[arg(long, default_value = "target/demo")]
    out: PathBuf,
    /// Length of the load's day against five minutes.
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    minutes_scale: f64,
}

fn scale(text: &str) -> Result<f64, String> {
    let value: f64 = text
        .parse()
        .map_err(|_| format!("`{text}`, expected a number"))?;
    let fits = (0.1..=100.0).contains(&value);
    fits.then_some(value)
        .ok_or_else(|| format!("`{text}`, expected 0.1 to 100"))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let wish = Wish {
        keep: cli.keep,
        out: cli.out,
        minutes_scale: cli.minutes_scale,
        root: Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
    };
    let report = match run(&wish) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("msars-demo: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    println!("\n{}\n", report.summary);
    for bar in &report.bars {
        let mark = if bar.met { "met   " } else { "MISSED" };
        println!("{mark} {}: {}", bar.wanted, bar.found);
    }
    for line in &report.unexpected {
        println!("unexpected: {line}");
    }
    println!("\n{}/report.html, {0}/report.json", wish.out.display());
    let missed = bars::missed(&report.bars);
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "msars-demo: {} of {} bars are missed:",
        missed.len(),
        report.bars.len()
    );
    for line in missed {
        eprintln!("  {line}");
    }
    ExitCode::FAILURE
}
