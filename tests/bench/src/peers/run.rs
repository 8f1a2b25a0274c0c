//! One policy under the trace.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use msars_domain::load::RunResult;
use msars_shop::{FRONT_MIX, Options as Shop};
use serde_json::Value;

use super::count::{Sample, actions, core_seconds, requested, service};
use super::policy::Policy;
use super::trace::Trace;
use super::{PERCENTILE, Run, TARGET_MS, reset};
use crate::bed::{Bed, program};
use crate::folder;
use crate::proc::load_average;

/// Load at the trace's first rate before anything counts: an autoscaler's metrics need some scrapes.
const WARM: Duration = Duration::from_mins(1);
/// Learning is looked at after so long, so many times.
const LEARN_STEP: Duration = Duration::from_secs(30);
const LEARN_STEPS: usize = 20;
/// Between two looks at the pods.
const LOOK: Duration = Duration::from_secs(2);
/// Length of a window of the driver: some hundred requests, so that a tail of it means something.
const WINDOW_S: u32 = 10;

/// Fresh pods, the policy in charge, a minute of warming up, then the trace.
pub fn once(
    bed: &Bed,
    shop: &Shop,
    (policy, repeat): (Policy, usize),
    (trace, seconds): (&Trace, f64),
) -> Result<Run> {
    reset::to(bed, shop, policy)?;
    let target = target(bed, shop)?;
    let warm = [
        "--rate".to_owned(),
        format!("{:.3}", trace.first().max(0.1)),
        "--duration".to_owned(),
        format!("{}s", WARM.as_secs()),
    ];
    drive(bed, &target, repeat, &warm, |_| Ok(()))?;
    let file = folder()?.join("peers-trace.txt");
    std::fs::write(&file, trace.text())?;
    let play = [
        "--trace".to_owned(),
        file.display().to_string(),
        "--step".to_owned(),
        format!("{:.3}s", trace.step_s(seconds)),
    ];
    let audit = bed.cluster.audit_log();
    let from = File::open(&audit)?.metadata()?.len();
    let load = load_average()[0];
    let begin = Instant::now();
    let mut samples: Vec<Sample> = Vec::new();
    let result = drive(bed, &target, repeat, &play, |_| {
        let at_s = begin.elapsed().as_secs_f64();
        let pods = bed.get(&["-n", &shop.namespace, "pods"])?;
        samples.push(requested(&pods, at_s));
        Ok(())
    })?;
    let mut written = String::new();
    let mut log = File::open(&audit)?;
    if log.metadata()?.len() < from {
        bail!("the audit log was rotated during the run");
    }
    log.seek(SeekFrom::Start(from))?;
    log.read_to_string(&mut written)?;
    Ok(Run {
        policy,
        repeat,
        load: [load, load_average()[0]],
        service: service(&result, PERCENTILE, TARGET_MS)?,
        core_seconds: core_seconds(&samples, seconds),
        actions: actions(&written, &shop.namespace),
        driver_lag_p99_ms: result.driver.lag_p99.get(),
        samples,
    })
}

/// Load at the trace's mean rate, with the product in charge, until its objective is Ready: it has learned each workload
/// from live pods, once for all runs. Tells whether it came so far.
pub fn learned(bed: &Bed, shop: &Shop, trace: &Trace) -> Result<bool> {
    reset::to(bed, shop, Policy::Ours)?;
    let target = target(bed, shop)?;
    let load = [
        "--rate".to_owned(),
        format!("{:.3}", trace.mean()),
        "--duration".to_owned(),
        format!("{}s", LEARN_STEP.as_secs()),
    ];
    for step in 0..LEARN_STEPS {
        let objectives = bed.get(&["-n", &shop.namespace, "servicelevelobjectives"])?;
        let items = objectives["items"].as_array();
        let conditions = items
            .into_iter()
            .flatten()
            .filter_map(|one| one["status"]["conditions"].as_array());
        let ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
        if conditions.flatten().any(ready) {
            return Ok(true);
        }
        drive(bed, &target, step, &load, |_| Ok(()))?;
    }
    Ok(false)
}

/// The front end's address.
pub fn target(bed: &Bed, shop: &Shop) -> Result<String> {
    let service: Value = bed.get(&["-n", &shop.namespace, "service", "front-end"])?;
    let address = service["spec"]["clusterIP"]
        .as_str()
        .context("the front end has an address")?;
    Ok(format!("http://{address}:80"))
}

/// The load driver as a process of the node, outside every pod's quota; `look` is called every two seconds meanwhile.
pub fn drive(
    bed: &Bed,
    target: &str,
    repeat: usize,
    more: &[String],
    mut look: impl FnMut(&str) -> Result<()>,
) -> Result<RunResult> {
    let report = folder()?.join("peers-driver.json");
    let mut child = bed
        .cluster
        .enter(program("msars-profile")?)
        .args(["run", "--target", target, "--requests", FRONT_MIX])
        .args([
            "--window",
            &format!("{WINDOW_S}s"),
            "--seed",
            &(repeat + 1).to_string(),
        ])
        .args(["--report", &report.display().to_string()])
        .args(more)
        .stderr(Stdio::null())
        .spawn()
        .context("starting the load driver")?;
    let mut looked = Ok(());
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        looked = looked.and_then(|()| look(target));
        if looked.is_err() {
            child.kill()?;
        }
        std::thread::sleep(LOOK);
    };
    looked?;
    if !status.success() {
        bail!("the load driver ended with {status}");
    }
    let text = std::fs::read_to_string(&report).context("reading the load driver's report")?;
    serde_json::from_str(&text).context("the load driver's report")
}
