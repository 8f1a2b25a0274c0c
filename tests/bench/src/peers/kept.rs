//! Runs of an earlier result, so that hours need not come in one piece.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::policy::Policy;
use super::{PERCENTILE, Run, TARGET_MS};

/// What of a result says whether its runs are of the same kind as those to come.
#[derive(Debug, Deserialize)]
struct Earlier {
    seconds: f64,
    mean_rate: f64,
    percentile: f64,
    target_ms: f64,
    processors: usize,
    runs: Vec<Run>,
}

/// The runs of a result of the same trace, length, objective and machine size.
///
/// # Errors
/// The file can't be read, or its runs can't stand beside new ones: the message says by what they differ.
pub fn read(path: &Path, (seconds, mean_rate): (f64, f64)) -> Result<Vec<Run>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let earlier: Earlier = serde_json::from_str(&text)
        .with_context(|| format!("{} is no result of bench peers", path.display()))?;
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    for (what, was, is) in [
        ("seconds a run", earlier.seconds, seconds),
        ("mean rate", earlier.mean_rate, mean_rate),
        ("percentile", earlier.percentile, PERCENTILE),
        ("objective, ms", earlier.target_ms, TARGET_MS),
        ("processors", earlier.processors as f64, processors as f64),
    ] {
        if (was - is).abs() > 1e-6 * is.abs() {
            bail!(
                "{} was measured with another {what}: {was}, now {is}; run without --resume, or as then",
                path.display()
            );
        }
    }
    Ok(earlier.runs)
}

/// Whether this run is there already.
pub fn has(runs: &[Run], policy: Policy, repeat: usize) -> bool {
    runs.iter()
        .any(|run| run.policy == policy && run.repeat == repeat)
}

/// Who is asked for, and then who else has runs.
pub fn policies(asked: &[Policy], runs: &[Run]) -> Vec<Policy> {
    let mut all = asked.to_vec();
    for run in runs {
        if !all.contains(&run.policy) {
            all.push(run.policy);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{has, policies, read};
    use crate::peers::Policy;

    #[test]
    fn runs_read_back_and_those_of_another_trace_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        let run = json!({
            "policy": "hpa-80", "repeat": 1, "load": [0.5, 2.0],
            "service": {"requests": 9, "failed": 0, "attainment": 1.0, "violation_minutes": 0.0, "tail_ms": 45.0},
            "core_seconds": 419.0, "actions": {"scales": 3, "resizes": 0}, "driver_lag_p99_ms": 3.0,
            "samples": [{"at_s": 0.0, "cores": 0.9, "pods": 16}],
        });
        let processors = std::thread::available_parallelism().unwrap().get();
        let result = json!({
            "learned": true, "seconds": 480.0, "mean_rate": 33.5, "percentile": 99.0, "target_ms": 400.0,
            "processors": processors, "rows": [], "verdict": null, "runs": [run],
        });
        std::fs::write(&path, result.to_string()).unwrap();
        let runs = read(&path, (480.0, 33.5)).unwrap();
        assert!(has(&runs, Policy::Hpa(80), 1));
        assert!(!has(&runs, Policy::Hpa(80), 0) && !has(&runs, Policy::Ours, 1));
        assert_eq!(
            policies(&[Policy::Ours], &runs),
            [Policy::Ours, Policy::Hpa(80)]
        );
        let told = read(&path, (480.0, 40.0)).unwrap_err().to_string();
        assert!(told.contains("another mean rate: 33.5, now 40"), "{told}");
    }
}
