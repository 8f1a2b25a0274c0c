//! Spawns the stages, streams what they say, fails at the first that fails.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::count::Count;
use crate::stages::{self, Part, Stage};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn one(stage: &Stage, count: &mut Count) -> Result<bool> {
    println!("==> {}: cargo {}", stage.name, stage.args.join(" "));
    let begin = Instant::now();
    let mut child = Command::new("cargo")
        .args(&stage.args)
        .current_dir(root())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting cargo for {}", stage.name))?;
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines() {
            let line = line?;
            count.read(&line);
            println!("{line}");
        }
    }
    let good = child.wait()?.success();
    let verdict = if good { "done" } else { "FAILED" };
    println!(
        "<== {}: {verdict} after {:.1} min",
        stage.name,
        begin.elapsed().as_secs_f64() / 60.0
    );
    Ok(good)
}

fn all(stages: &[Stage], count: &mut Count) -> Result<bool> {
    for stage in stages {
        if !one(stage, count)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Format, lints, pure tests.
pub fn check() -> Result<bool> {
    let mut list = stages::lints();
    list.extend(stages::tests(Part::Pure));
    finish(&list)
}

/// One part, or lints and every part.
pub fn test(part: Option<Part>) -> Result<bool> {
    let list = if let Some(part) = part {
        stages::tests(part)
    } else {
        let mut list = stages::lints();
        list.extend(stages::tests(Part::Pure));
        list.extend(stages::tests(Part::E2e));
        list
    };
    finish(&list)
}

fn finish(list: &[Stage]) -> Result<bool> {
    let mut count = Count::default();
    let good = all(list, &mut count)?;
    println!("{}", count.closing_line());
    Ok(good)
}

/// Hands the words on to the cluster's own program; terminal and exit code stay the caller's.
pub fn cluster(args: &[String]) -> Result<bool> {
    let status = Command::new("cargo")
        .args([
            "run",
            "--quiet",
            "--profile",
            "ci",
            "-p",
            "msars-cluster",
            "--",
        ])
        .args(args)
        .current_dir(root())
        .status()
        .context("starting cargo for the cluster")?;
    Ok(status.success())
}

/// Everything that is missing, at once.
pub fn preflight() -> Result<bool> {
    let wanted = [
        ("cargo", "install Rust by rustup"),
        ("go", "install Go 1.26 or newer"),
        ("python3", "apt-get install python3"),
        ("gcc", "apt-get install gcc"),
        ("git", "apt-get install git"),
    ];
    let path = std::env::var_os("PATH").context("PATH is not set")?;
    let mut good = true;
    for (program, remedy) in wanted {
        if !std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
            println!("missing: {program}: {remedy}");
            good = false;
        }
    }
    if good {
        println!("nothing is missing");
    }
    Ok(good)
}
