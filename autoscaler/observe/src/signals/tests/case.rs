//! A healthy round of answers, to be broken.

use std::collections::BTreeMap;

use jiff::Timestamp;
use msars_domain::{ObjectKey, Percentile, Reading, Unknown};

use crate::{
    Answer, Answers, Ask, Observed, Pod, Preset, PromError, Sample, Scope, Windows, assemble,
    signal_queries,
};

pub(super) const NOW: i64 = 1_769_000_000;

pub(super) fn at(seconds_ago: i64) -> Timestamp {
    Timestamp::from_second(NOW - seconds_ago).unwrap()
}

pub(super) fn sample(labels: &[(&str, &str)], value: f64) -> Sample {
    Sample {
        labels: labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        evaluated: at(0),
        value,
    }
}

/// The workload `shop/carts` with revisions `old` (two grown pods) and `new` (one pod, Ready for `surge` seconds).
pub(super) struct Case {
    pub(super) preset: Preset,
    pub(super) scope: Scope,
    pub(super) answers: BTreeMap<Ask, Vec<Sample>>,
    pub(super) failed: BTreeMap<Ask, PromError>,
    pub(super) warned: Vec<Ask>,
}

pub(super) fn pod(revision: &str, ready_for: i64) -> Pod {
    Pod {
        workload: "carts".into(),
        revision: revision.into(),
        ready_since: Some(at(ready_for)),
        container: Some("carts".into()),
    }
}

pub(super) fn row(revision: &str, value: f64) -> Sample {
    let labels = [
        ("namespace", "shop"),
        ("workload", "carts"),
        ("pod_template_hash", revision),
    ];
    sample(&labels, value)
}

pub(super) fn histogram(revision: &str, counts: [f64; 4]) -> Vec<Sample> {
    ["0.1", "0.2", "0.4", "+Inf"]
        .into_iter()
        .zip(counts)
        .map(|(le, count)| {
            let mut s = row(revision, count);
            s.labels.insert("le".into(), le.into());
            s
        })
        .collect()
}

pub(super) fn per_pod(name: &str, container: &str, value: f64) -> Sample {
    sample(
        &[
            ("namespace", "shop"),
            ("pod", name),
            ("container", container),
        ],
        value,
    )
}

impl Case {
    pub(super) fn healthy(surge: i64) -> Self {
        let seen = |name: &str, ago: f64| {
            sample(&[("namespace", "shop"), ("pod", name)], NOW as f64 - ago)
        };
        let mut wait = row("old", 60.0);
        wait.labels.remove("workload");
        wait.labels.insert("caller".into(), "carts".into());
        let pods = [
            ("carts-old-1", pod("old", 3600)),
            ("carts-old-2", pod("old", 3600)),
            ("carts-new-1", pod("new", surge)),
        ];
        let names = ["carts-old-1", "carts-old-2", "carts-new-1"];
        let mut buckets = histogram("old", [1000.0, 1900.0, 2000.0, 2000.0]);
        buckets.extend(histogram("new", [0.0, 0.0, 1000.0, 1000.0]));
        Self {
            preset: Preset::shop(),
            scope: Scope {
                windows: Windows::default(),
                workloads: BTreeMap::from([(
                    ObjectKey::new("shop", "carts"),
                    Percentile::new(0.95).unwrap(),
                )]),
                pods: pods
                    .into_iter()
                    .map(|(name, pod)| (ObjectKey::new("shop", name), pod))
                    .collect(),
            },
            answers: BTreeMap::from([
                (Ask::Rate, vec![row("old", 20.0), row("new", 10.0)]),
                (
                    Ask::Peak,
                    vec![sample(
                        &[("namespace", "shop"), ("workload", "carts")],
                        45.0,
                    )],
                ),
                (Ask::Buckets, buckets),
                (
                    Ask::SelfBuckets,
                    histogram("old", [2000.0, 2000.0, 2000.0, 2000.0]),
                ),
                (Ask::CalleeWait, vec![wait]),
                (Ask::Errors, vec![row("new", 3.0)]),
                (
                    Ask::Cpu,
                    names.iter().map(|n| per_pod(n, "carts", 0.2)).collect(),
                ),
                (
                    Ask::Throttled,
                    vec![
                        per_pod(names[0], "carts", 0.5),
                        per_pod(names[1], "carts", f64::NAN),
                    ],
                ),
                (
                    Ask::Alive,
                    names
                        .iter()
                        .zip([3.0, 9.5, 1.0])
                        .map(|(n, a)| seen(n, a))
                        .collect(),
                ),
                (
                    Ask::CpuAt,
                    names
                        .iter()
                        .zip([12.0, 8.0, 20.0])
                        .map(|(n, a)| seen(n, a))
                        .collect(),
                ),
            ]),
            failed: BTreeMap::new(),
            warned: vec![],
        }
    }

    pub(super) fn observe(&self) -> Observed {
        let mut answers = Answers::new();
        for (ask, _) in signal_queries(&self.preset, &self.scope) {
            let samples = self.answers.get(&ask).cloned().unwrap_or_default();
            let warnings = if self.warned.contains(&ask) {
                vec!["store b is gone".into()]
            } else {
                vec![]
            };
            let answer = Answer {
                samples,
                warnings,
                infos: vec![],
            };
            answers.insert(
                ask,
                self.failed.get(&ask).map_or(Ok(answer), |e| Err(e.clone())),
            );
        }
        assemble(&self.preset, &self.scope, at(0), &answers)
    }

    pub(super) fn drop_pod(&mut self, ask: Ask, name: &str) {
        self.answers
            .get_mut(&ask)
            .unwrap()
            .retain(|s| s.labels["pod"] != name);
    }
}

pub(super) fn unknown<T>(why: Unknown) -> Reading<T> {
    Reading::Unknown { why }
}

pub(super) fn near(reading: &Reading<f64>, expected: f64) {
    let value = *reading.value().unwrap_or_else(|| panic!("{reading:?}"));
    assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
}

pub(super) fn plain<T: Copy + Into<f64>>(reading: &Reading<T>) -> Reading<f64> {
    match reading {
        Reading::Known { value, at } => Reading::Known {
            value: (*value).into(),
            at: *at,
        },
        Reading::Unknown { why } => unknown(*why),
    }
}
