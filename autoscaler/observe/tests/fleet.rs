//! Ten thousand workloads in one round: answers stay within the client's bound, and every figure is known.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

use std::fmt::Write as _;

use jiff::Timestamp;
use msars_domain::{ObjectKey, Percentile};
use msars_observe::{Answer, Answers, Ask, Pod, Preset, Scope, Windows, assemble, signal_queries};

const WORKLOADS: usize = 10_000;
const PODS: usize = 3;
const NOW: i64 = 1_769_000_000;
const BOUNDS: [&str; 15] = [
    "0.005", "0.01", "0.02", "0.04", "0.06", "0.08", "0.1", "0.15", "0.2", "0.3", "0.5", "0.8",
    "1.5", "3.0", "+Inf",
];

/// The rows of one answer as Prometheus writes them.
struct Body(String);

impl Body {
    fn new() -> Self {
        Self(r#"{"status":"success","data":{"resultType":"vector","result":["#.into())
    }
    fn row(&mut self, labels: &str, value: f64) {
        if !self.0.ends_with('[') {
            self.0.push(',');
        }
        write!(
            self.0,
            r#"{{"metric":{{"namespace":"team-with-a-name",{labels}}},"value":[{NOW}.123,"{value}"]}}"#
        )
        .unwrap();
    }
    fn answer(mut self) -> (Answer, usize) {
        self.0.push_str("]}}");
        (Answer::decode(self.0.as_bytes()).unwrap(), self.0.len())
    }
}

fn body(ask: Ask) -> Body {
    let mut body = Body::new();
    for w in 0..WORKLOADS {
        let hash = format!(r#""pod_template_hash":"7d9f8b{w:04}""#);
        let workload = format!(r#""workload":"service-{w:05}""#);
        match ask {
            Ask::Rate => body.row(&format!("{hash},{workload}"), 90.0),
            Ask::Errors => body.row(&format!("{hash},{workload}"), 0.9),
            Ask::Peak => body.row(&workload, 120.0),
            Ask::CalleeWait => body.row(&format!(r#""caller":"service-{w:05}",{hash}"#), 100.0),
            Ask::Buckets | Ask::SelfBuckets => {
                for (i, le) in BOUNDS.iter().enumerate() {
                    // None above the largest bound, so that the quantile is a number.
                    let below = (i + 1).min(BOUNDS.len() - 1);
                    let count = 123.456_789_012_345 * below as f64 * 8.0;
                    body.row(&format!(r#""le":"{le}",{hash},{workload}"#), count);
                }
            }
            Ask::Cpu | Ask::Throttled | Ask::Alive | Ask::CpuAt => {
                for p in 0..PODS {
                    let pod = format!(r#""pod":"service-{w:05}-7d9f8b{w:04}-abcd{p}""#);
                    match ask {
                        Ask::Cpu => body.row(&format!(r#""container":"main",{pod}"#), 0.25),
                        Ask::Throttled => body.row(&format!(r#""container":"main",{pod}"#), 0.01),
                        _ => body.row(&pod, NOW as f64 - 7.5),
                    }
                }
            }
            Ask::Calls | Ask::CallWait | Ask::CallWaits | Ask::Budget | Ask::BudgetSince => {
                panic!("{ask:?} is no signal")
            }
        }
    }
    body
}

#[test]
fn every_figure_of_ten_thousand_workloads_is_known() {
    let preset = Preset::shop();
    let now = Timestamp::from_second(NOW).unwrap();
    let mut scope = Scope {
        windows: Windows::default(),
        ..Scope::default()
    };
    for w in 0..WORKLOADS {
        let name = format!("service-{w:05}");
        let key = ObjectKey::new("team-with-a-name", name.as_str());
        scope.workloads.insert(key, Percentile::new(0.99).unwrap());
        for p in 0..PODS {
            let pod = format!("{name}-7d9f8b{w:04}-abcd{p}");
            let pod = ObjectKey::new("team-with-a-name", pod);
            let facts = Pod {
                workload: name.clone(),
                revision: format!("7d9f8b{w:04}"),
                ready_since: Some(Timestamp::from_second(NOW - 3600).unwrap()),
                container: None,
            };
            scope.pods.insert(pod, facts);
        }
    }
    let mut answers = Answers::new();
    let mut largest = 0;
    for (ask, _) in signal_queries(&preset, &scope) {
        let (answer, bytes) = body(ask).answer();
        largest = largest.max(bytes);
        answers.insert(ask, Ok(answer));
    }
    // The client's bound leaves room for a rollout of everything at once: two revisions each.
    assert!(2 * largest < 64 << 20, "{largest} bytes");

    let observed = assemble(&preset, &scope, now, &answers);
    assert_eq!(observed.signals.len(), WORKLOADS);
    assert_eq!(observed.revisions.len(), WORKLOADS);
    for s in &observed.signals {
        assert!(s.rate.value().is_some() && s.peak_rate.value().is_some());
        assert!(s.request_quantile.value().is_some(), "{s:?}");
        assert!(s.self_quantile.value().is_some() && s.callee_wait.value().is_some());
        assert!(s.error_share.value().is_some());
        assert!(s.cpu_cores.value().is_some() && s.throttled.value().is_some());
    }
}
