use std::time::Duration;

use jiff::Timestamp;
use msars_domain::{Millis, ObjectKey, Percentile, Reading, Unknown};

use super::{
    BudgetReading, Budgeted, Entry, EntryReading, assemble_budgets, assemble_entries,
    budget_queries, entry_queries,
};
use crate::{Answer, Answers, Ask, Preset, PromError, Sample, Windows};

fn now() -> Timestamp {
    Timestamp::from_second(1_769_000_000).unwrap()
}

fn p99() -> Percentile {
    Percentile::new(0.99).unwrap()
}

fn sample(le: Option<&str>, value: f64) -> Sample {
    let mut labels = vec![("namespace", "shop"), ("workload", "front-end")];
    labels.extend(le.map(|le| ("le", le)));
    Sample {
        labels: labels
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect(),
        evaluated: now(),
        value,
    }
}

fn answers(counts: &[(&str, f64)], age: f64) -> Answers {
    let vector = |samples| {
        Ok(Answer {
            samples,
            ..Answer::default()
        })
    };
    Answers::from([
        (
            Ask::Buckets,
            vector(counts.iter().map(|(le, c)| sample(Some(le), *c)).collect()),
        ),
        (
            Ask::Alive,
            vector(vec![sample(None, 1_769_000_000.0 - age)]),
        ),
    ])
}

fn read(answers: &Answers) -> EntryReading {
    let entry = Entry {
        workload: ObjectKey::new("shop", "front-end"),
        percentile: p99(),
        target: Millis::new(300.0).unwrap(),
    };
    let preset = Preset::shop();
    assert_eq!(
        entry_queries(
            &preset,
            std::slice::from_ref(&entry),
            Duration::from_mins(5)
        )
        .len(),
        2
    );
    assemble_entries(&preset, &[entry], &Windows::default(), now(), answers)
        .readings
        .remove(0)
}

fn near(reading: &Reading<f64>, expected: f64) {
    let value = *reading.value().unwrap_or_else(|| panic!("{reading:?}"));
    assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
}

#[test]
fn attainment_quantile_and_burn_stem_from_the_same_buckets() {
    let slow = [("0.2", 1500.0), ("0.4", 1900.0), ("+Inf", 2000.0)];
    let reading = read(&answers(&slow, 5.0));
    near(&reading.requests, 2000.0);
    near(&reading.attainment, 0.85);
    assert!(reading.quantile.saturated(), "{:?}", reading.quantile);
    assert_eq!(
        reading.quantile.least().map(Millis::get),
        Some(400.0),
        "at least the last bound"
    );
    let burn = reading.burn_rate(p99());
    near(&burn, 15.0);
    assert!(p99().burns_fast(0.85));
}

#[test]
fn a_handful_of_requests_has_an_attainment_and_no_quantile_or_burn() {
    let few = [("0.2", 4.0), ("0.4", 4.0), ("+Inf", 5.0)];
    let reading = read(&answers(&few, 5.0));
    near(&reading.attainment, 0.8);
    let why = Unknown::TooFewSamples;
    assert_eq!(reading.quantile, Reading::Unknown { why });
    assert_eq!(reading.burn_rate(p99()), Reading::Unknown { why });
}

#[test]
fn missing_measurements_say_why() {
    let good = [("0.2", 2000.0), ("+Inf", 2000.0)];
    let stale = read(&answers(&good, 61.0));
    assert_eq!(
        stale.attainment,
        Reading::Unknown {
            why: Unknown::Stale
        }
    );
    assert_eq!(
        stale.burn_rate(p99()),
        Reading::Unknown {
            why: Unknown::Stale
        }
    );
    let idle = read(&answers(&[("0.2", 0.0), ("+Inf", 0.0)], 5.0));
    assert_eq!(
        idle.attainment,
        Reading::Unknown {
            why: Unknown::TooFewSamples
        }
    );
    near(&idle.requests, 0.0);
    let absent = read(&answers(&[], 5.0));
    assert_eq!(
        absent.requests,
        Reading::Unknown {
            why: Unknown::NoSeries
        }
    );
    let broken = read(&answers(&[("0.2", f64::NAN), ("+Inf", 1.0)], 5.0));
    assert_eq!(
        broken.requests,
        Reading::Unknown {
            why: Unknown::NotANumber
        }
    );
    let mut down = answers(&good, 5.0);
    down.insert(Ask::Buckets, Err(PromError::Unreachable("refused".into())));
    assert_eq!(
        read(&down).attainment,
        Reading::Unknown {
            why: Unknown::Unreachable
        }
    );
}

#[test]
fn only_the_buckets_around_the_target_are_asked_for_again() {
    let bounds = |counts: &[(&str, f64)]| {
        let found = read(&answers(counts, 5.0)).bounds;
        found.into_iter().collect::<Vec<_>>()
    };
    let all = [
        ("0.1", 1.0),
        ("0.2", 2.0),
        ("0.4", 3.0),
        ("0.8", 4.0),
        ("+Inf", 5.0),
    ];
    assert_eq!(bounds(&all), ["+Inf", "0.2", "0.4"]);
    assert_eq!(bounds(&[("0.3", 1.0), ("+Inf", 2.0)]), ["+Inf", "0.3"]);
    assert_eq!(bounds(&[("0.5", 1.0), ("+Inf", 2.0)]), ["+Inf", "0.5"]);
    assert!(bounds(&[]).is_empty());
}

fn budgeted(hours: u64) -> Budgeted {
    Budgeted {
        entry: Entry {
            workload: ObjectKey::new("shop", "front-end"),
            percentile: p99(),
            target: Millis::new(300.0).unwrap(),
        },
        window: Duration::from_hours(hours),
        bounds: ["0.2", "0.4", "+Inf"].map(str::to_owned).into(),
    }
}

#[test]
fn windows_of_several_objectives_share_one_query() {
    let asked = [budgeted(720), budgeted(24), budgeted(720)];
    let [(_, counted), (_, oldest)] = &budget_queries(&Preset::shop(), &asked)[..] else {
        panic!("two queries");
    };
    assert_eq!(counted.matches("increase(").count(), 2, "{counted}");
    for window in ["[86400s]", "[2592000s]"] {
        assert_eq!(counted.matches(window).count(), 1, "{counted}");
    }
    let only = r#"le=~"\\+Inf|0\\.2|0\\.4""#;
    assert_eq!(counted.matches(only).count(), 2, "{counted}");
    assert!(oldest.contains("[2592000s:3600s]"), "{oldest}");
}

/// Each of `windows` with 1000 requests, so many of which were within the target.
fn spent(windows: &[(u64, f64)], since_hours: f64, asked: u64) -> BudgetReading {
    let row = |hours: u64, le: &str, count: f64| {
        let mut sample = sample(Some(le), count);
        let seconds = (hours * 3600).to_string();
        sample.labels.insert("msars_window".into(), seconds);
        sample
    };
    let samples = windows.iter().flat_map(|(hours, within)| {
        let (below, all) = (within - 1.0, 1000.0);
        [
            row(*hours, "0.2", below),
            row(*hours, "0.4", within + 1.0),
            row(*hours, "+Inf", all),
        ]
    });
    let vector = |samples| {
        Ok(Answer {
            samples,
            ..Answer::default()
        })
    };
    let oldest = 1_769_000_000.0 - since_hours * 3600.0;
    let answers = Answers::from([
        (Ask::Budget, vector(samples.collect())),
        (Ask::BudgetSince, vector(vec![sample(None, oldest)])),
    ]);
    assemble_budgets(&Preset::shop(), &[budgeted(asked)], now(), &answers)
        .readings
        .remove(0)
}

#[test]
fn a_budget_is_read_over_its_own_window_as_far_as_metrics_go() {
    let hours = |reading: &BudgetReading| reading.covered.value().map(Duration::as_secs);
    let windows = [(720, 990.0), (24, 999.0)];
    let month = spent(&windows, 360.0, 720);
    near(&month.attainment, 0.99);
    near(&month.requests, 1000.0);
    assert_eq!(hours(&month), Some(360 * 3600));
    let day = spent(&windows, 360.0, 24);
    near(&day.attainment, 0.999);
    assert_eq!(hours(&day), Some(24 * 3600));
    let why = Unknown::NoSeries;
    let none = spent(&windows, 360.0, 48);
    assert_eq!(none.attainment, Reading::Unknown { why });
}
