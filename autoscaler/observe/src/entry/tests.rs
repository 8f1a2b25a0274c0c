use std::time::Duration;

use jiff::Timestamp;
use msars_domain::{Millis, ObjectKey, Percentile, Reading, Unknown};

use super::{Entry, EntryReading, assemble_entries, entry_queries};
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
    assert_eq!(
        reading.quantile.value().map(|q| q.get()),
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
