//! Decoding tables: each starts from a healthy round and breaks one thing.

mod case;

use std::time::Duration;

use msars_domain::{ObjectKey, Reading, Unknown};

use self::case::{Case, NOW, at, histogram, near, per_pod, plain, row, sample, unknown};
use crate::{Ask, PromError};

#[test]
fn a_healthy_round_is_read_per_workload_and_per_revision() {
    let observed = Case::healthy(3600).observe();
    assert_eq!(observed.problems, []);
    let s = &observed.signals[0];
    assert_eq!(s.rate_at_least, None);
    near(&plain(&s.rate), 30.0);
    near(&plain(&s.peak_rate), 45.0);
    // 3000 requests, p95 is the 2850th: 1900 lie below 0.2 s, 1100 between 0.2 and 0.4 s.
    near(&plain(&s.request_quantile), 200.0 + 200.0 * 950.0 / 1100.0);
    near(&plain(&s.self_quantile), 95.0);
    near(&plain(&s.callee_wait), 60_000.0 / 3000.0);
    near(&s.error_share, 0.1);
    near(&s.cpu_cores, 0.6);
    near(&s.throttled, 0.5 / 3.0);
    let times = [&plain(&s.rate), &s.cpu_cores].map(|r| match r {
        Reading::Known { at, .. } => *at,
        Reading::Unknown { why } => panic!("{why:?}"),
    });
    assert_eq!(
        times[0].as_millisecond(),
        (NOW * 1000) - 9_500,
        "the oldest pod's newest sample"
    );
    assert_eq!(times[1], at(20), "cAdvisor's own time");

    let hashes: Vec<&str> = observed
        .revisions
        .iter()
        .map(|r| r.revision.as_str())
        .collect();
    assert_eq!(hashes, ["new", "old"]);
    let (new, old) = (&observed.revisions[0], &observed.revisions[1]);
    assert_eq!((new.pods, old.pods), (1, 2));
    near(&plain(&old.rate), 20.0);
    near(&plain(&old.request_quantile), 200.0);
    near(&plain(&new.request_quantile), 390.0);
    near(&new.error_share, 0.3);
    near(&old.error_share, 0.0);
    near(&new.cpu_cores, 0.2);
    near(&old.throttled, 0.25);
    assert_eq!(plain(&new.self_quantile), unknown(Unknown::NoSeries));
}

#[test]
fn a_surge_revision_counts_for_rates_and_its_warm_up_for_nothing() {
    let observed = Case::healthy(5).observe();
    let s = &observed.signals[0];
    near(&plain(&s.rate), 30.0);
    near(&plain(&s.request_quantile), 200.0);
    near(&plain(&s.callee_wait), 60_000.0 / 2000.0);
    near(&s.cpu_cores, 0.4);
    let new = &observed.revisions[0];
    near(&plain(&new.rate), 10.0);
    assert_eq!(
        plain(&new.request_quantile),
        unknown(Unknown::TooFewSamples)
    );
    assert_eq!(new.cpu_cores, unknown(Unknown::TooFewSamples));
}

#[test]
fn the_revision_stands_in_the_pods_name_where_no_label_has_it() {
    let mut case = Case::healthy(5);
    case.preset.labels.revision = None;
    if let Some(calls) = &mut case.preset.calls {
        calls.labels.revision = None;
    }
    // What the query writes the hash into, instead of Prometheus' own label.
    for sample in case.answers.values_mut().flatten() {
        if let Some(hash) = sample.labels.remove("pod_template_hash") {
            sample.labels.insert("msars_revision".into(), hash);
        }
    }
    let observed = case.observe();
    near(&plain(&observed.signals[0].request_quantile), 200.0);
    let hashes: Vec<&str> = observed
        .revisions
        .iter()
        .map(|found| found.revision.as_str())
        .collect();
    assert_eq!(hashes, ["new", "old"]);
}

#[test]
fn one_pod_not_scraped_leaves_no_sum_but_half_of_the_pods_speak_for_all() {
    let mut case = Case::healthy(3600);
    case.drop_pod(Ask::Alive, "carts-old-1");
    let s = &case.observe().signals[0];
    assert_eq!(plain(&s.rate), unknown(Unknown::Stale));
    assert_eq!(plain(&s.peak_rate), unknown(Unknown::Stale));
    let least = s
        .rate_at_least
        .map(|least| (least.rate.get(), least.at.as_millisecond()));
    assert_eq!(
        least,
        Some((30.0, NOW * 1000 - 9_500)),
        "what there is of it is a lower bound"
    );
    assert!(s.request_quantile.value().is_some() && s.error_share.value().is_some());
    case.drop_pod(Ask::Alive, "carts-old-2");
    let s = &case.observe().signals[0];
    assert_eq!(plain(&s.request_quantile), unknown(Unknown::Stale));
    case.drop_pod(Ask::Alive, "carts-new-1");
    let s = &case.observe().signals[0];
    assert_eq!(plain(&s.rate), unknown(Unknown::NoSeries));
    assert_eq!(s.rate_at_least, None);
}

#[test]
fn a_missed_scrape_leaves_no_rate_since_prometheus_would_extrapolate_too_little() {
    let mut case = Case::healthy(3600);
    case.answers.get_mut(&Ask::Alive).unwrap()[0].value = NOW as f64 - 19.0;
    let s = &case.observe().signals[0];
    assert_eq!(plain(&s.rate), unknown(Unknown::Stale));
    assert!(s.peak_rate.value().is_some() && s.request_quantile.value().is_some());

    // One in ten pods hardly changes the sum.
    for i in 0..10 {
        let name = format!("carts-old-x{i}");
        let mut seen = case.answers[&Ask::Alive][1].clone();
        seen.labels.insert("pod".into(), name.clone());
        case.answers.get_mut(&Ask::Alive).unwrap().push(seen);
        let grown = case.scope.pods[&ObjectKey::new("shop", "carts-old-1")].clone();
        case.scope.pods.insert(ObjectKey::new("shop", name), grown);
    }
    near(&plain(&case.observe().signals[0].rate), 30.0);
}

#[test]
fn one_pod_without_cpu_leaves_no_sum_of_cores() {
    for ask in [Ask::Cpu, Ask::CpuAt] {
        let mut case = Case::healthy(3600);
        case.drop_pod(ask, "carts-old-1");
        let s = &case.observe().signals[0];
        assert_eq!(s.cpu_cores, unknown(Unknown::Stale), "{ask:?}");
        assert!(s.rate.value().is_some());
    }
}

#[test]
fn a_young_pod_may_be_missing() {
    let mut case = Case::healthy(5);
    for ask in [Ask::Alive, Ask::Cpu, Ask::CpuAt] {
        case.drop_pod(ask, "carts-new-1");
    }
    let s = &case.observe().signals[0];
    near(&plain(&s.rate), 30.0);
    near(&s.cpu_cores, 0.4);
}

#[test]
fn old_samples_are_stale_even_where_rows_are_absent() {
    let mut case = Case::healthy(3600);
    for s in case.answers.get_mut(&Ask::Alive).unwrap() {
        s.value -= 61.0;
    }
    for s in case.answers.get_mut(&Ask::CpuAt).unwrap() {
        s.value -= 71.0;
    }
    case.answers.remove(&Ask::Rate);
    let s = &case.observe().signals[0];
    for reading in [
        plain(&s.rate),
        plain(&s.request_quantile),
        s.error_share.clone(),
        s.cpu_cores.clone(),
    ] {
        assert_eq!(reading, unknown(Unknown::Stale));
    }
}

#[test]
fn a_failed_or_partial_answer_takes_down_only_what_needs_it() {
    let mut failed = Case::healthy(3600);
    failed
        .failed
        .insert(Ask::Rate, PromError::Timeout(Duration::from_secs(10)));
    let mut warned = Case::healthy(3600);
    warned.warned.push(Ask::Rate);
    for (case, category) in [(failed, "PrometheusTimeout"), (warned, "PartialAnswer")] {
        let observed = case.observe();
        let s = &observed.signals[0];
        assert_eq!(plain(&s.rate), unknown(Unknown::Unreachable));
        assert_eq!(s.error_share, unknown(Unknown::Unreachable));
        assert!(s.peak_rate.value().is_some() && s.cpu_cores.value().is_some());
        assert_eq!(observed.problems.len(), 1);
        assert_eq!(
            (observed.problems[0].category, observed.problems[0].retry),
            (category, true)
        );
    }
    let mut blind = Case::healthy(3600);
    blind.warned.push(Ask::Alive);
    assert_eq!(
        plain(&blind.observe().signals[0].rate),
        unknown(Unknown::Unreachable)
    );
}

#[test]
fn no_number_is_no_measurement() {
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        let mut case = Case::healthy(3600);
        for ask in [Ask::Rate, Ask::Peak, Ask::Cpu, Ask::CalleeWait] {
            case.answers.get_mut(&ask).unwrap()[0].value = bad;
        }
        case.answers.get_mut(&Ask::Buckets).unwrap()[1].value = bad;
        let s = &case.observe().signals[0];
        let all = [
            plain(&s.rate),
            plain(&s.peak_rate),
            plain(&s.request_quantile),
            plain(&s.callee_wait),
        ];
        for reading in all {
            assert_eq!(reading, unknown(Unknown::NotANumber), "{bad}");
        }
        assert_eq!(s.cpu_cores, unknown(Unknown::NotANumber), "{bad}");
    }
}

#[test]
fn absent_series_are_not_zero_and_zero_is_not_absent() {
    let mut case = Case::healthy(3600);
    for ask in [
        Ask::Rate,
        Ask::Peak,
        Ask::Buckets,
        Ask::CalleeWait,
        Ask::Cpu,
    ] {
        case.answers.remove(&ask);
    }
    let s = &case.observe().signals[0];
    assert_eq!(plain(&s.rate), unknown(Unknown::NoSeries));
    assert_eq!(plain(&s.request_quantile), unknown(Unknown::NoSeries));
    assert_eq!(plain(&s.callee_wait), unknown(Unknown::NoSeries));
    assert_eq!(s.error_share, unknown(Unknown::NoSeries));
    assert_eq!(s.cpu_cores, unknown(Unknown::NoSeries));

    let mut idle = Case::healthy(3600);
    idle.answers
        .insert(Ask::Rate, vec![row("old", 0.0), row("new", 0.0)]);
    idle.answers
        .insert(Ask::Buckets, histogram("old", [0.0; 4]));
    idle.answers.remove(&Ask::Errors);
    idle.answers.remove(&Ask::Throttled);
    let s = &idle.observe().signals[0];
    near(&plain(&s.rate), 0.0);
    assert_eq!(plain(&s.request_quantile), unknown(Unknown::TooFewSamples));
    assert_eq!(s.error_share, unknown(Unknown::TooFewSamples));
    near(&s.throttled, 0.0);
}

#[test]
fn a_quantile_of_a_few_requests_is_none() {
    let mut case = Case::healthy(3600);
    case.answers
        .insert(Ask::Buckets, histogram("old", [100.0, 199.0, 199.0, 199.0]));
    assert_eq!(
        plain(&case.observe().signals[0].request_quantile),
        unknown(Unknown::TooFewSamples)
    );
    case.answers
        .insert(Ask::Buckets, histogram("old", [100.0, 200.0, 200.0, 200.0]));
    near(&plain(&case.observe().signals[0].request_quantile), 190.0);
}

#[test]
fn a_quantile_above_the_largest_bound_is_unknown_but_for_that_bound() {
    let mut case = Case::healthy(3600);
    // p95 of 1000 lies among the hundred above 0.4 s.
    let over = [100.0, 200.0, 900.0, 1000.0];
    for ask in [Ask::Buckets, Ask::SelfBuckets] {
        case.answers.insert(ask, histogram("old", over));
    }
    let observed = case.observe();
    let s = &observed.signals[0];
    let old = &observed.revisions[1];
    for reading in [
        &s.request_quantile,
        &s.self_quantile,
        &old.request_quantile,
        &old.self_quantile,
    ] {
        assert!(reading.saturated(), "{reading:?}");
        assert_eq!(reading.least().map(Into::into), Some(400.0));
    }
    // An old one is old first.
    case.answers.get_mut(&Ask::Alive).unwrap().clear();
    let s = &case.observe().signals[0];
    assert_eq!(plain(&s.request_quantile), unknown(Unknown::NoSeries));
}

#[test]
fn only_the_named_container_counts() {
    let mut case = Case::healthy(3600);
    let side = per_pod("carts-old-1", "proxy", 5.0);
    case.answers.get_mut(&Ask::Cpu).unwrap().push(side);
    near(&case.observe().signals[0].cpu_cores, 0.6);
    for pod in case.scope.pods.values_mut() {
        pod.container = None;
    }
    near(&case.observe().signals[0].cpu_cores, 5.6);
}

#[test]
fn pods_that_are_not_ready_and_pods_nobody_told_of_count_for_nothing() {
    let mut case = Case::healthy(3600);
    case.scope
        .pods
        .get_mut(&ObjectKey::new("shop", "carts-new-1"))
        .unwrap()
        .ready_since = None;
    let stray = per_pod("carts-msars-01234567-subject", "carts", 9.0);
    case.answers.get_mut(&Ask::Cpu).unwrap().push(stray);
    near(&case.observe().signals[0].cpu_cores, 0.4);
    case.scope.pods.clear();
    let s = &case.observe().signals[0];
    assert_eq!(plain(&s.rate), unknown(Unknown::NoSeries));
    assert_eq!(s.cpu_cores, unknown(Unknown::NoSeries));
}

#[test]
fn without_proof_of_life_each_pods_newest_request_sample_counts() {
    let mut case = Case::healthy(3600);
    case.preset.alive = None;
    near(&plain(&case.observe().signals[0].rate), 30.0);
    // One that went silent leaves no sum: what is left of the rate would shrink the workload.
    case.drop_pod(Ask::Alive, "carts-old-1");
    let s = &case.observe().signals[0];
    assert_eq!(plain(&s.rate), unknown(Unknown::Stale));
    assert!(s.request_quantile.value().is_some());
}

#[test]
fn where_nothing_tells_pods_apart_the_workloads_newest_request_sample_counts() {
    let mut case = Case::healthy(3600);
    case.preset.alive = None;
    case.preset.labels.pod = None;
    let labels = [("namespace", "shop"), ("workload", "carts")];
    case.answers
        .insert(Ask::Alive, vec![sample(&labels, NOW as f64 - 4.0)]);
    let s = &case.observe().signals[0];
    assert_eq!(
        plain(&s.rate),
        Reading::Known {
            value: 30.0,
            at: at(4)
        }
    );
    case.answers
        .insert(Ask::Alive, vec![sample(&labels, NOW as f64 - 64.0)]);
    assert_eq!(
        plain(&case.observe().signals[0].rate),
        unknown(Unknown::Stale)
    );
}
