//! Spawns the stages, streams what they say, fails at the first that fails.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use crate::count::Count;
use crate::images;
use crate::stages::{self, Figure, Part, Stage};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where cargo puts what it builds in profile `ci`.
fn built() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), PathBuf::from)
        .join("ci")
}

fn minutes(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() / 60.0
}

/// A line of a stage, and whether it came from standard error.
type Line = (bool, String);

fn read(from: impl Read + Send + 'static, error: bool, to: Sender<Line>) {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        // A program may write what is no text: shown as well as it can be. The stage's exit code tells the rest.
        while from.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            let line = String::from_utf8_lossy(&bytes);
            let line = line.trim_end_matches(['\n', '\r']).to_owned();
            if to.send((error, line)).is_err() {
                return;
            }
            bytes.clear();
        }
    });
}

fn one(stage: &Stage, bar: &ProgressBar, count: &mut Count) -> Result<bool> {
    let (begin, failed_before) = (Instant::now(), count.failed);
    bar.set_message(stage.name);
    bar.suspend(|| println!("==> {}: cargo {}", stage.name, stage.args.join(" ")));
    let mut cargo = Command::new("cargo");
    cargo
        .args(&stage.args)
        .envs(stage.env.iter().copied())
        .current_dir(root())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if !bar.is_hidden() {
        cargo.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = cargo
        .spawn()
        .with_context(|| format!("starting cargo for {}", stage.name))?;
    let (to, lines) = channel();
    if let Some(out) = child.stdout.take() {
        read(out, false, to.clone());
    }
    if let Some(error) = child.stderr.take() {
        read(error, true, to.clone());
    }
    drop(to);
    for (error, line) in lines {
        count.read(&line);
        bar.suspend(|| {
            if error {
                eprintln!("{line}");
            } else {
                println!("{line}");
            }
        });
    }
    let good = child.wait()?.success();
    if !good && count.failed == failed_before {
        // Format, lints, or what does not compile: no test said so, but the run has failed.
        count.failed += 1;
    }
    let verdict = if good { "done" } else { "FAILED" };
    bar.suspend(|| {
        println!(
            "<== {}: {verdict} after {:.1} min",
            stage.name,
            minutes(begin)
        );
    });
    bar.inc(1);
    Ok(good)
}

/// Runs the stages until one fails; the last line is the count.
fn all(list: &[Stage]) -> Result<bool> {
    let begin = Instant::now();
    let bar = ProgressBar::new(list.len() as u64);
    bar.set_style(ProgressStyle::with_template(
        "[{elapsed_precise}] stage {pos} of {len} is done; now: {msg}",
    )?);
    bar.enable_steady_tick(Duration::from_secs(1));
    let mut count = Count::default();
    let mut good = true;
    for stage in list {
        good = one(stage, &bar, &mut count)?;
        if !good {
            break;
        }
    }
    bar.finish_and_clear();
    println!("in all {:.1} min", minutes(begin));
    println!("{}", count.closing_line());
    Ok(good)
}

/// Format, lints, pure tests; the edges between crates and the generated files are among these.
pub fn check() -> Result<bool> {
    let mut list = stages::lints();
    list.extend(stages::tests(Part::Pure));
    all(&list)
}

/// One part, or lints and every part.
pub fn test(part: Option<Part>) -> Result<bool> {
    all(&part.map_or_else(stages::everything, stages::tests))
}

/// Writes the generated files.
pub fn generate() -> Result<bool> {
    all(&stages::generate())
}

/// Terminal and exit code stay the caller's.
fn hand_over(program: &Path, before: &[&str], args: &[String]) -> Result<bool> {
    let status = Command::new(program)
        .args(before)
        .args(args)
        .current_dir(root())
        .status()
        .with_context(|| format!("starting {}", program.display()))?;
    Ok(status.success())
}

/// One measurement, or all that need no cluster, from the quickest to the longest.
pub fn bench(figure: Option<Figure>, args: &[String]) -> Result<bool> {
    if let Some(name) = figure.and_then(Figure::on_the_cluster) {
        // Started from its file, as the demo is.
        return Ok(
            hand_over(Path::new("cargo"), &stages::programs().args, &[])?
                && hand_over(&built().join("msars-bench"), &[name], args)?,
        );
    }
    anyhow::ensure!(
        args.is_empty(),
        "only figures on the cluster take arguments"
    );
    let figures = figure.map_or_else(|| Figure::value_variants().to_vec(), |figure| vec![figure]);
    all(&figures
        .into_iter()
        .filter_map(stages::bench)
        .collect::<Vec<_>>())
}

/// How cargo starts the cluster's own program.
const CLUSTER: [&str; 7] = [
    "run",
    "--quiet",
    "--profile",
    "ci",
    "-p",
    "msars-cluster",
    "--",
];

/// The cluster's own program.
pub fn cluster(args: &[String]) -> Result<bool> {
    hand_over(Path::new("cargo"), &CLUSTER, args)
}

/// Builds the product's programs, and writes their images and the kustomization that installs them.
pub fn images(registry: &str, tag: &str) -> Result<bool> {
    if !hand_over(Path::new("cargo"), &stages::programs().args, &[])? {
        return Ok(false);
    }
    let folder = root().canonicalize()?.join(images::FOLDER);
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    for part in images::PARTS {
        let file = |path: PathBuf| path.display().to_string();
        let args = [
            "save-image".to_owned(),
            images::name(registry, part, tag),
            file(built().join(part.program)),
            file(folder.join(part.archive)),
        ];
        if !hand_over(Path::new("cargo"), &CLUSTER, &args)? {
            return Ok(false);
        }
    }
    let drain = folder.join("drain");
    std::fs::create_dir_all(&drain).with_context(|| format!("making {}", drain.display()))?;
    for (folder, text) in [
        (&folder, images::kustomization(registry, tag)),
        (&drain, images::drain(registry, tag)),
    ] {
        std::fs::write(folder.join("kustomization.yaml"), text)?;
    }
    print!("{}", images::next(registry, tag));
    Ok(true)
}

/// Builds what the demo starts, then starts the demo from its file: `cargo run` for it alone would resolve other
/// features and compile its dependencies again.
pub fn demo(args: &[String]) -> Result<bool> {
    let begin = Instant::now();
    if !hand_over(Path::new("cargo"), &stages::programs().args, &[])? {
        return Ok(false);
    }
    println!("programs built after {:.1} min", minutes(begin));
    let good = hand_over(&built().join("msars-demo"), &[], args)?;
    println!("demo ended after {:.1} min", minutes(begin));
    Ok(good)
}
