//! Every query of every built-in preset is valid PromQL, is known by its text, and leaves shadow pods out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use msars_domain::{Millis, ObjectKey, Percentile};
use msars_observe::{
    Ask, Budgeted, Entry, MatchOp, Matcher, Preset, Scope, Windows, budget_queries, entry_queries,
    graph_queries, signal_queries,
};

const PRESETS: [&str; 4] = ["shop", "prometheus", "opentelemetry", "istio"];

fn p99() -> Percentile {
    Percentile::new(0.99).unwrap()
}

fn scope(workloads: &[(&str, &str)]) -> Scope {
    Scope {
        windows: Windows {
            scrape: Duration::from_secs(5),
            ..Windows::default()
        },
        workloads: workloads
            .iter()
            .map(|(namespace, name)| (ObjectKey::new(*namespace, *name), p99()))
            .collect(),
        pods: BTreeMap::new(),
    }
}

fn entry() -> Entry {
    Entry {
        workload: ObjectKey::new("shop", "front-end"),
        percentile: p99(),
        target: Millis::new(400.0).unwrap(),
    }
}

/// All queries of a preset.
fn queries(preset: &Preset) -> Vec<(&'static str, Ask, String)> {
    let scope = scope(&[("shop", "carts"), ("shop.two", "orders")]);
    let mut all: Vec<_> = signal_queries(preset, &scope)
        .into_iter()
        .map(|(ask, q)| ("signals", ask, q))
        .collect();
    let entries = entry_queries(preset, &[entry()], Duration::from_mins(5));
    all.extend(entries.into_iter().map(|(ask, q)| ("entry", ask, q)));
    let budgets = [24, 720].map(|hours| Budgeted {
        entry: entry(),
        window: Duration::from_hours(hours),
        bounds: ["0.25", "0.5", "+Inf"].map(str::to_owned).into(),
    });
    let budgets = budget_queries(preset, &budgets);
    all.extend(budgets.into_iter().map(|(ask, q)| ("budget", ask, q)));
    if let Ok(graph) = graph_queries(preset, &["shop"].into(), Duration::from_mins(5)) {
        all.extend(graph.into_iter().map(|(ask, q)| ("graph", ask, q)));
    }
    all
}

#[test]
fn texts_are_valid_and_known() {
    for name in PRESETS {
        let preset = Preset::named(name).unwrap();
        let mut text = String::new();
        for (of, ask, promql) in queries(&preset) {
            promql_parser::parser::parse(&promql).unwrap_or_else(|e| panic!("{promql}: {e}"));
            writeln!(text, "# {of} {}\n{promql}", ask.name()).unwrap();
        }
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn hostile_configuration_stays_inside_its_quotes() {
    let mut preset = Preset::shop();
    preset.only.push(Matcher {
        label: "route".into(),
        op: MatchOp::IsNot,
        value: "\"} or vector(1) or x{a=\"\\".into(),
    });
    for (_, ask, promql) in queries(&preset) {
        let parsed = promql_parser::parser::parse(&promql);
        assert!(parsed.is_ok(), "{}: {promql}: {parsed:?}", ask.name());
    }
}

#[test]
fn the_number_of_queries_does_not_depend_on_the_number_of_workloads() {
    let names: Vec<String> = (0..10_000).map(|i| format!("w-{i}")).collect();
    let spaces: Vec<String> = (0..1_000).map(|i| format!("n-{i}")).collect();
    let many: Vec<(&str, &str)> = names
        .iter()
        .enumerate()
        .map(|(i, n)| (spaces[i % 1_000].as_str(), n.as_str()))
        .collect();
    for name in PRESETS {
        let preset = Preset::named(name).unwrap();
        let one = signal_queries(&preset, &scope(&many[..1]));
        let all = signal_queries(&preset, &scope(&many));
        assert_eq!(one.len(), all.len());
        assert!(one.len() <= 10, "{}", one.len());
        let bytes: usize = all.iter().map(|(_, q)| q.len()).sum();
        assert!(bytes < 10_000, "{name}: {bytes}");
        let window = Duration::from_mins(5);
        let all = spaces.iter().map(String::as_str).collect();
        let Ok(all) = graph_queries(&preset, &all, window) else {
            continue;
        };
        let one = graph_queries(&preset, &["shop"].into(), window).unwrap();
        assert_eq!((one.len(), all.len()), (4, 4));
        let bytes: usize = all.iter().map(|(_, q)| q.len()).sum();
        assert!(bytes < 10_000, "{name}: {bytes}");
    }
}

#[test]
fn shadow_pods_are_left_out_by_every_query_that_has_a_pod_label() {
    for name in PRESETS {
        for (_, ask, promql) in queries(&Preset::named(name).unwrap()) {
            // One exclusion for each selector: `_seconds{`, `up{`, ...
            let selectors = promql.matches('{').count() - promql.matches("{5}").count();
            let left_out = promql
                .matches("!~\".+-msars-[0-9a-z]+-(subject|load)\"")
                .count();
            assert_eq!(selectors, left_out, "{name} {}: {promql}", ask.name());
        }
    }
}
