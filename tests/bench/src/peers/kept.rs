//! Runs of an earlier result, so that hours need not come in one piece.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::policy::Policy;
use super::{PERCENTILE, Run, TARGET_MS};

/// What of a result says whether its runs are of the same kind as those to come.
#[derive(Debug, Deserialize)]
struct Earlier {
    learned: bool,
    seconds: f64,
    mean_rate: f64,
    percentile: f64,
    target_ms: f64,
    processors: usize,
    runs: Vec<Run>,
}

/// What an earlier result leaves to go on from.
#[derive(Debug, Default)]
pub struct Kept {
    pub runs: Vec<Run>,
    learned: bool,
}

impl Kept {
    /// Whether the product knew the shop before every run of its own: before those kept and, where it is asked for
    /// now, as `now` says.
    pub fn learned(&self, now: Option<bool>) -> bool {
        let ours = self.runs.iter().any(|run| run.policy == Policy::Ours);
        match now {
            Some(now) => now && (self.learned || !ours),
            None => ours && self.learned,
        }
    }
}

/// The runs of a result of the same trace, length, objective and machine size.
///
/// # Errors
/// The file can't be read, or its runs can't stand beside new ones: the message says by what they differ.
pub fn read(path: &Path, (seconds, mean_rate): (f64, f64)) -> Result<Kept> {
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
    Ok(Kept {
        runs: earlier.runs,
        learned: earlier.learned,
    })
}

/// Whether this run is there already.
pub fn has(runs: &[Run], policy: Policy, repeat: usize) -> bool {
    runs.iter()
        .any(|run| run.policy == policy && run.repeat == repeat)
}

/// Who is asked for or has runs, in one order whatever was asked for when.
pub fn policies(asked: &[Policy], runs: &[Run]) -> Vec<Policy> {
    let mut all = asked.to_vec();
    all.extend(runs.iter().map(|run| run.policy));
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Kept, has, policies, read};
    use crate::peers::Policy;

    fn result(policy: &str, learned: bool) -> Value {
        let run = json!({
            "policy": policy, "repeat": 1, "load": [0.5, 2.0],
            "service": {"requests": 9, "failed": 0, "attainment": 1.0, "violation_minutes": 0.0, "tail_ms": 45.0},
            "core_seconds": 419.0, "actions": {"scales": 3, "resizes": 0}, "driver_lag_p99_ms": 3.0,
            "samples": [{"at_s": 0.0, "cores": 0.9, "pods": 16}],
        });
        let processors = std::thread::available_parallelism().unwrap().get();
        json!({
            "learned": learned, "seconds": 480.0, "mean_rate": 33.5, "percentile": 99.0, "target_ms": 400.0,
            "processors": processors, "rows": [], "verdict": null, "runs": [run],
        })
    }

    #[test]
    fn what_was_learned_before_runs_of_ours_is_kept_by_what_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        for (policy, learned, now, told) in [
            ("ours", true, None, true),
            ("ours", false, None, false),
            ("ours", true, Some(true), true),
            ("ours", true, Some(false), false),
            ("ours", false, Some(true), false),
            // Without ours, what the file says is about no run.
            ("hpa-80", false, Some(true), true),
            ("hpa-80", true, None, false),
        ] {
            std::fs::write(&path, result(policy, learned).to_string()).unwrap();
            let kept = read(&path, (480.0, 33.5)).unwrap();
            assert_eq!(kept.learned(now), told, "{policy} {learned} {now:?}");
        }
        assert!(Kept::default().learned(Some(true)) && !Kept::default().learned(None));
    }

    #[test]
    fn runs_read_back_and_those_of_another_trace_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        std::fs::write(&path, result("hpa-80", true).to_string()).unwrap();
        let runs = read(&path, (480.0, 33.5)).unwrap().runs;
        assert!(has(&runs, Policy::Hpa(80), 1));
        assert!(!has(&runs, Policy::Hpa(80), 0) && !has(&runs, Policy::Ours, 1));
        assert_eq!(
            policies(&[Policy::Fixed, Policy::Hpa(80), Policy::Ours], &runs),
            [Policy::Ours, Policy::Hpa(80), Policy::Fixed]
        );
        let told = read(&path, (480.0, 40.0)).unwrap_err().to_string();
        assert!(told.contains("another mean rate: 33.5, now 40"), "{told}");
    }
}
