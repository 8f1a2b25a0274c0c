//! Blows to running programs.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, read, read_dir};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use msars_cluster::NAMESPACE;

use crate::bed::{Bed, SYSTEM, until};
use crate::clock::Watch;

fn environment(pid: u32) -> BTreeMap<String, String> {
    let bytes = read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn arguments(pid: u32) -> Vec<String> {
    let bytes = read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let words = text.trim_end_matches('\0').split('\0');
    words.map(str::to_owned).collect()
}

/// The process of a program of ours in the pod of this name.
fn process(pod: &str, program: &str) -> Result<u32> {
    let entries = read_dir("/proc")?.flatten();
    let mut ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.find(|pid| {
        environment(*pid).get("POD_NAME").map(String::as_str) == Some(pod)
            && arguments(*pid)
                .first()
                .is_some_and(|first| first.ends_with(program))
    })
    .with_context(|| format!("no process {program} of pod {pod}"))
}

fn kill(pid: u32) -> Result<()> {
    let status = Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status()?;
    ensure!(status.success(), "kill -9 {pid}: {status}");
    Ok(())
}

/// The pod that leads, and when its lease was renewed.
pub fn leader(bed: &Bed) -> Result<(String, String)> {
    let lease = bed.own(&["lease", "msars-autoscaler"])?;
    let text = |name: &str| lease["spec"][name].as_str().unwrap_or_default().to_owned();
    Ok((text("holderIdentity"), text("renewTime")))
}

/// Kills the leading controller without warning; the pod that led.
pub fn kill_leader(bed: &Bed) -> Result<String> {
    let (pod, _) = leader(bed)?;
    kill(process(&pod, "msars-autoscaler")?)?;
    Ok(pod)
}

/// Between two starts of a program that ends by itself.
const BETWEEN_STARTS: Duration = Duration::from_secs(3);

/// Waits until somebody renews the lease `times` times from now on.
pub fn until_led(bed: &Bed, times: u32, seconds: u64) -> Result<()> {
    for _ in 0..times {
        let (_, before) = leader(bed)?;
        until("the lease is renewed", seconds, || {
            let (pod, renewed) = leader(bed)?;
            let led = !pod.is_empty() && renewed != before;
            Ok(led.then_some(()).ok_or(format!("{pod:?} at {renewed}")))
        })?;
    }
    Ok(())
}

/// A program of the cluster that was killed, to be started again as it was.
#[derive(Debug)]
pub struct Struck {
    name: &'static str,
    words: Vec<String>,
    variables: BTreeMap<String, String>,
}

impl Struck {
    /// Kills a program of the cluster without warning.
    pub fn down(bed: &Bed, name: &'static str) -> Result<Self> {
        let pid = bed
            .cluster
            .pid(name)
            .with_context(|| format!("no {name} runs"))?;
        let struck = Self {
            name,
            words: arguments(pid),
            variables: environment(pid),
        };
        ensure!(!struck.words.is_empty(), "{name} has no command line");
        kill(pid)?;
        until(&format!("{name} is gone"), 20, || {
            let gone = bed.cluster.gone(name);
            Ok(gone.then_some(()).ok_or("it lives".to_owned()))
        })?;
        Ok(struck)
    }

    /// Starts it again.
    pub fn back(&self, bed: &Bed) -> Result<()> {
        let log: File = OpenOptions::new()
            .append(true)
            .open(bed.cluster.log(self.name))?;
        Command::new("setsid")
            .args(["nsenter", &format!("--net=/run/netns/{NAMESPACE}"), "--"])
            .args(&self.words)
            .env_clear()
            .envs(&self.variables)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        Ok(())
    }
}

/// Kills the API server without warning and starts it again as it was, as often as it ends by itself, which a node's
/// supervisor does as well; waits until it is ready.
pub fn restart_api_server(bed: &Bed) -> Result<()> {
    const NAME: &str = "kube-apiserver";
    let struck = Struck::down(bed, NAME)?;
    struck.back(bed)?;
    let mut started = Watch::start();
    until("the API server is ready", 60, || {
        let said = bed.kubectl(&["get", "--raw", "/readyz"])?;
        if !said.good && bed.cluster.pid(NAME).is_none() && started.elapsed() > BETWEEN_STARTS {
            println!(
                "      {NAME} ended and starts again: {}",
                last_lines(&bed.cluster.log(NAME), 5)
            );
            struck.back(bed)?;
            started = Watch::start();
        }
        Ok(said.good.then_some(()).ok_or(said.err))
    })
}

fn last_lines(log: &Path, count: usize) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(count).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

/// Sets the replicas of a program of ours and waits until there are so many.
pub fn scale(bed: &Bed, name: &str, replicas: u32) -> Result<()> {
    let count = format!("--replicas={replicas}");
    bed.must(&["-n", SYSTEM, "scale", &format!("deployment/{name}"), &count])?;
    if replicas > 0 {
        return bed.rolled_in(SYSTEM, name);
    }
    let which = format!("app.kubernetes.io/name={name}");
    until(&format!("no pod of {name}"), 60, || {
        let list = bed.own(&["pods", "-l", &which])?;
        let left = list["items"].as_array().map_or(0, Vec::len);
        Ok((left == 0).then_some(()).ok_or(format!("{left} pods")))
    })
}
