//! Accepted and rejected annotation values.
use msars_api::annotations::{self as a, CpuBounds, Objective, Settings, Warning, parse};
use std::collections::BTreeMap;

fn read(pairs: &[(&str, &str)]) -> (Settings, Vec<Warning>) {
    let map: BTreeMap<String, String> = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    parse(&map)
}

/// Annotation, accepted values, rejected values.
type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

const TABLE: &[Row<'static>] = &[
    (
        a::MODE,
        &["auto", " off ", "recommend"],
        &["on", "Auto", ""],
    ),
    (a::GATE, &["hold", "observe"], &["Hold", "true"]),
    (
        a::SLO,
        &[
            "p99<400ms",
            "p99.9 < 1.5s",
            "p50<=3 ms",
            "P95<0.25s",
            "p50<0.001ms",
            "p99.999<600s",
        ],
        &[
            "p49.999<1s",
            "p0.001<1s",
            "p99<600.000001s",
            "p99<600000.001ms",
            "p99<999999999s",
            "400ms",
            "p100<1s",
            "p0<1s",
            "p99<0ms",
            "p99<400",
            "p99>400ms",
            "p99<-1ms",
            "99<400ms",
            "p99<1e3ms",
            "p99.9999<1s",
            "",
            "p<s",
        ],
    ),
    (
        a::PROFILE_RATES,
        &["10", "10, 20,40", "5/s 10/s", "0.5"],
        &["", "0", "-1", "fast", "NaN", "inf", "10;20"],
    ),
    (
        a::GATE_DEADLINE,
        &["90s", "2m", "1m30s", "50s", "600s", "10m"],
        &[
            "0s",
            "9s",
            "601s",
            "120",
            "1h",
            "m",
            "1m1m",
            "-20s",
            "99999999999s",
        ],
    ),
    (a::SKIP_GATE, &["true", "false"], &["yes", "1", ""]),
    (
        a::MIN_REPLICAS,
        &["1", "2", "10000"],
        &["0", "two", "-1", "10001"],
    ),
    (
        a::MAX_REPLICAS,
        &["1", "9", "10000"],
        &["0", "-1", "1.5", "10001", "4294967295", "99999999999"],
    ),
    (
        a::CPU,
        &["50m..1", "0.1 .. 2", "200m..200m", "1m..1000"],
        &[
            "1..50m",
            "50m",
            "..1",
            "50m..",
            "0..1",
            "a..b",
            "50m...1",
            "1..5000",
            "1m..1000001m",
        ],
    ),
    (
        a::ADOPT,
        &["hpa", " hpa "],
        &["HPA", "true", "vpa", "keda", ""],
    ),
    (a::PAUSE, &["false"], &["", "no"]),
    (a::PAUSE_SCALE_DOWN, &["true"], &["1"]),
    (a::EMERGENCY, &["true"], &["fire"]),
];

#[test]
fn table() {
    for (name, good, bad) in TABLE {
        for value in *good {
            assert_eq!(read(&[(name, value)]).1, [], "{name}: {value}");
        }
        for value in *bad {
            let (settings, warnings) = read(&[(name, value)]);
            assert_eq!(warnings.len(), 1, "{name}: {value}");
            assert_eq!(
                settings,
                read(&[]).0,
                "the default is used, {name}: {value}"
            );
        }
    }
}

#[test]
fn an_application_has_a_name_of_at_most_63_characters() {
    let (longest, longer) = ("é".repeat(63), "é".repeat(64));
    for (value, wanted, warned) in [
        ("shop", Some("shop"), false),
        (" shop ", Some("shop"), false),
        (" ", None, false),
        (longest.as_str(), Some(longest.as_str()), false),
        (longer.as_str(), None, true),
    ] {
        let (settings, warnings) = read(&[(a::APPLICATION, value)]);
        assert_eq!(settings.application.as_deref(), wanted, "{value}");
        assert_eq!(!warnings.is_empty(), warned, "{value}");
    }
}

#[test]
fn values_mean_what_they_say() {
    let (settings, warnings) = read(&[
        (a::SLO, "p99.9<1.5s"),
        (a::CPU, "50m..1"),
        (a::GATE_DEADLINE, "1m30s"),
        (a::PROFILE_RATES, "40, 10, 20, 10"),
        (a::EMERGENCY, "true"),
        (a::ADOPT, "hpa"),
        (a::PROFILE_REQUEST, " GET /catalogue "),
    ]);
    assert_eq!(warnings, []);
    let slo = settings.slo.unwrap();
    assert_eq!(
        slo,
        Objective {
            percentile: 99_900,
            latency_us: 1_500_000
        }
    );
    assert!((slo.share() - 0.999).abs() < 1e-12 && (slo.millis() - 1500.0).abs() < 1e-9);
    assert_eq!(
        settings.cpu,
        Some(CpuBounds {
            min_m: 50,
            max_m: 1000
        })
    );
    assert_eq!(settings.gate_deadline_s, 90);
    assert_eq!(settings.profile_rates, [10.0, 20.0, 40.0]);
    assert!(settings.emergency);
    assert_eq!(settings.adopt, a::Adopt::Hpa);
    assert_eq!(settings.profile_request.as_deref(), Some("GET /catalogue"));
}

#[test]
fn cpu_quantities_as_kubernetes_writes_them() {
    for (text, millis) in [
        ("250m", Some(250)),
        ("1", Some(1000)),
        ("0.5", Some(500)),
        ("1.5", Some(1500)),
        ("100000u", Some(100)),
        ("1500000n", Some(2)),
        ("0", Some(0)),
        ("", None),
        ("m", None),
        ("-1", None),
        ("1Gi", None),
        ("1e3", None),
        ("99999999999999999999999", None),
    ] {
        assert_eq!(a::cpu_millis(text), millis, "{text}");
    }
}

#[test]
fn a_minimum_above_the_maximum_is_a_warning_and_the_maximum() {
    let (settings, warnings) = read(&[(a::MIN_REPLICAS, "5"), (a::MAX_REPLICAS, "3")]);
    assert_eq!(
        (settings.min_replicas, settings.max_replicas),
        (Some(3), Some(3))
    );
    assert_eq!(
        warnings[0].to_string(),
        "msars.io/min-replicas: \"5\" is not at most msars.io/max-replicas; using the maximum for both"
    );
}

#[test]
fn a_warning_names_annotation_value_accepted_form_and_default() {
    let (settings, warnings) = read(&[(a::GATE_DEADLINE, "2h")]);
    assert_eq!(
        warnings[0].to_string(),
        "msars.io/gate-deadline: \"2h\" is not 10s to 600s, like 120s or 1m30s; using 120s"
    );
    assert_eq!(settings.gate_deadline_s, 120);
    for (name, value, wanted) in [
        (
            a::SLO,
            "p10<1s",
            "msars.io/slo: \"p10<1s\" is not like p99<400ms, from p50 on and at most 10 minutes; using no objective",
        ),
        (
            a::MAX_REPLICAS,
            "10001",
            "msars.io/max-replicas: \"10001\" is not a whole number from 1 to 10000; using no maximum",
        ),
    ] {
        assert_eq!(read(&[(name, value)]).1[0].to_string(), wanted);
    }
    let long = "a".repeat(64);
    let text = read(&[(a::APPLICATION, &long)]).1[0].to_string();
    let wanted = "is not a name of at most 63 characters; using the application of the namespace";
    assert!(text.ends_with(wanted), "{text}");
}

#[test]
fn a_deadline_too_short_for_a_profile_is_kept_with_a_warning_of_what_happens() {
    for (value, seconds, warned) in [("10s", 10, true), ("49s", 49, true), ("50s", 50, false)] {
        let (settings, warnings) = read(&[(a::GATE_DEADLINE, value)]);
        assert_eq!(settings.gate_deadline_s, seconds, "{value}");
        assert_eq!(!warnings.is_empty(), warned, "{value}");
    }
    let (_, warnings) = read(&[(a::GATE_DEADLINE, "30s")]);
    let needed = format!("{}s or more", a::DEADLINE_USEFUL_S);
    let text = warnings[0].to_string();
    assert!(text.contains(&needed), "{text}");
    assert_eq!(
        text,
        "msars.io/gate-deadline: \"30s\" is not 50s or more, which a profile needs; using it as given: holds end without a profile"
    );
}

#[test]
fn a_warning_stays_one_short_line_whatever_the_value() {
    let (_, warnings) = read(&[(a::SLO, &"p99\n".repeat(10_000))]);
    let text = warnings[0].to_string();
    assert!(text.len() < 160 && !text.contains('\n'), "{text}");
}
