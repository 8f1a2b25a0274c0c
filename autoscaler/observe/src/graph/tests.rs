use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use msars_domain::{EdgeKind, Percentile, Rate};

use super::{CallGraph, Edge, GraphError, Graphs, assemble_graph, graph_queries, merged_chain};
use crate::{Answer, Answers, Ask, Preset, PromError, Sample};

fn now() -> Timestamp {
    Timestamp::from_second(1_769_000_000).unwrap()
}

fn p99() -> Percentile {
    Percentile::new(0.99).unwrap()
}

fn vector(rows: &[(&[(&str, &str)], f64)]) -> Answer {
    let samples = rows
        .iter()
        .map(|(labels, value)| Sample {
            labels: labels
                .iter()
                .chain(&[("namespace", "shop")])
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect(),
            evaluated: now(),
            value: *value,
        })
        .collect();
    Answer {
        samples,
        ..Answer::default()
    }
}

fn answers() -> Answers {
    let orders_carts: &[_] = &[("caller", "orders"), ("callee", "carts")];
    let front_orders: &[_] = &[("caller", "front-end"), ("callee", "orders")];
    let front_carts: &[_] = &[("caller", "front-end"), ("callee", "carts")];
    let carts_db: &[_] = &[("caller", "carts"), ("callee", "carts-db")];
    let probe: &[_] = &[("caller", "prober"), ("callee", "front-end")];
    [
        (
            Ask::Rate,
            vector(&[
                (&[("workload", "front-end")], 100.0),
                (&[("workload", "orders")], 20.0),
                (&[("workload", "carts")], 103.0),
                (&[("workload", "prober")], 5.0),
            ]),
        ),
        (
            Ask::Calls,
            vector(&[
                (front_orders, 20.0),
                (orders_carts, 50.0),
                (front_carts, 103.0),
                (carts_db, 206.0),
                (probe, 1.0),
            ]),
        ),
        (Ask::CallWait, vector(&[(front_orders, 3.0)])),
        (Ask::CallWaits, vector(&[(front_orders, 20.0)])),
    ]
    .map(|(ask, answer)| (ask, Ok(answer)))
    .into()
}

fn application() -> BTreeSet<String> {
    ["front-end", "orders", "carts"].map(Into::into).into()
}

#[test]
fn calls_become_visits_and_waits_and_strangers_stay_outside() {
    let preset = Preset::shop();
    assert_eq!(
        graph_queries(&preset, &["shop"].into(), Duration::from_mins(5))
            .unwrap()
            .len(),
        4
    );
    let graph = assemble_graph(&preset, &application(), now(), &answers()).unwrap();
    let edges: Vec<(&str, &str)> = graph
        .edges
        .iter()
        .map(|e| (e.caller.as_str(), e.callee.as_str()))
        .collect();
    assert_eq!(
        edges,
        [
            ("front-end", "carts"),
            ("front-end", "orders"),
            ("orders", "carts")
        ]
    );
    assert!((graph.edges[1].visits - 0.2).abs() < 1e-12);
    assert_eq!(
        graph.edges[1].mean_wait.map(|w| w.get().round()),
        Some(150.0)
    );
    assert_eq!(graph.edges[0].mean_wait, None);
    assert_eq!(graph.outside.len(), 1);
    assert_eq!(graph.outside[0].callee, "carts-db");
    assert_eq!(graph.rates.len(), 3);

    let chain = merged_chain(&graph, "front-end", p99()).unwrap();
    assert_eq!(chain.validate(), Ok(()));
    assert_eq!(
        (chain.name.as_str(), chain.percentile),
        ("front-end", p99())
    );
    let [carts, orders] = &chain.root.children[..] else {
        panic!("{chain:?}");
    };
    assert_eq!(
        (carts.service.as_str(), carts.max_visits),
        ("carts", 1),
        "1.03 is one visit"
    );
    assert_eq!((orders.service.as_str(), orders.max_visits), ("orders", 1));
    assert_eq!(orders.children[0].max_visits, 3, "2.5 visits");
    assert_eq!(orders.kind, EdgeKind::Sequential);
    let visits = chain.visits();
    assert!(
        (visits[1].1 - (1.03 + 0.2 * 2.5)).abs() < 1e-9,
        "{visits:?}"
    );
}

#[test]
fn no_graph_without_calls_or_rates_but_without_waits() {
    let preset = Preset::shop();
    for ask in [Ask::Rate, Ask::Calls] {
        let mut down = answers();
        down.insert(ask, Err(PromError::Timeout(Duration::from_secs(10))));
        let error = assemble_graph(&preset, &application(), now(), &down).unwrap_err();
        assert_eq!(
            (error.category(), error.retry()),
            ("PrometheusTimeout", true)
        );
        let mut partial = answers();
        if let Some(Ok(answer)) = partial.get_mut(&ask) {
            answer.warnings.push("store b is gone".into());
        }
        let error = assemble_graph(&preset, &application(), now(), &partial).unwrap_err();
        assert_eq!(error.category(), "PartialAnswer");
    }
    let mut down = answers();
    down.insert(
        Ask::CallWait,
        Err(PromError::Timeout(Duration::from_secs(10))),
    );
    let graph = assemble_graph(&preset, &application(), now(), &down).unwrap();
    assert!(graph.edges.iter().all(|e| e.mean_wait.is_none()));
}

#[test]
fn presets_that_do_not_know_callees_say_so() {
    for preset in [Preset::prometheus(), Preset::opentelemetry()] {
        let error = graph_queries(&preset, &["shop"].into(), Duration::from_mins(5)).unwrap_err();
        assert_eq!(
            (error.category(), error.retry()),
            ("CallsNotMeasured", false)
        );
    }
}

fn graph(edges: &[(&str, &str)]) -> CallGraph {
    let rate = Rate::new(10.0).unwrap();
    let names = edges.iter().flat_map(|(a, b)| [*a, *b]);
    CallGraph {
        evaluated: now(),
        rates: names
            .map(|n| (n.to_owned(), rate))
            .collect::<BTreeMap<_, _>>(),
        edges: edges
            .iter()
            .map(|(a, b)| Edge {
                caller: (*a).into(),
                callee: (*b).into(),
                visits: 1.0,
                mean_wait: None,
            })
            .collect(),
        outside: vec![],
        uncounted: BTreeSet::new(),
    }
}

#[test]
fn what_is_no_tree_is_refused_with_its_reason() {
    let cycle = merged_chain(&graph(&[("a", "b"), ("b", "c"), ("c", "b")]), "a", p99());
    let error = cycle.unwrap_err();
    assert_eq!(error.category(), "CallCycle");
    assert_eq!(error.to_string(), "calls form a cycle: b -> c -> b");
    let own = merged_chain(&graph(&[("a", "a")]), "a", p99());
    assert_eq!(own, Err(GraphError::Cycle(vec!["a".into(), "a".into()])));

    let unreached = graph(&[("a", "b"), ("x", "y"), ("y", "x")]);
    assert!(merged_chain(&unreached, "a", p99()).is_ok());

    let silent = merged_chain(&graph(&[("a", "b")]), "z", p99());
    assert_eq!(silent.unwrap_err().category(), "NoTraffic");

    let mut uncounted = graph(&[("a", "b")]);
    uncounted.uncounted.insert("b".into());
    let error = merged_chain(&uncounted, "a", p99()).unwrap_err();
    assert_eq!(error, GraphError::Uncounted("b".into()));

    let names: Vec<String> = (0..12).map(|i| format!("s{i}")).collect();
    let mut ladder = vec![];
    for (i, from) in names.iter().enumerate() {
        ladder.extend(names[i + 1..].iter().map(|to| (from.as_str(), to.as_str())));
    }
    let error = merged_chain(&graph(&ladder), "s0", p99()).unwrap_err();
    assert_eq!(error.category(), "CallTreeTooLarge");
}

#[test]
fn each_namespace_has_its_own_calls_and_those_into_another_are_outside() {
    let preset = Preset::istio();
    let row = |(home, from): (&str, &str), (there, to): (&str, &str), value| Sample {
        labels: [
            ("source_workload_namespace", home),
            ("source_workload", from),
            ("destination_workload_namespace", there),
            ("destination_workload", to),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        evaluated: now(),
        value,
    };
    let answer = |samples| Answer {
        samples,
        ..Answer::default()
    };
    // The same names in two namespaces.
    let (shop, bank) = (("shop", "front"), ("bank", "front"));
    let calls = vec![
        row(shop, ("shop", "db"), 20.0),
        row(shop, ("bank", "db"), 7.0),
        row(bank, ("bank", "db"), 30.0),
    ];
    let answers: Answers = [
        (
            Ask::Rate,
            answer(vec![row(shop, shop, 10.0), row(bank, bank, 10.0)]),
        ),
        (Ask::Calls, answer(calls)),
        (Ask::CallWait, answer(vec![])),
        (Ask::CallWaits, answer(vec![])),
    ]
    .map(|(ask, answer)| (ask, Ok(answer)))
    .into();
    let graphs = Graphs::read(&preset, now(), answers.clone());
    let workloads: BTreeSet<String> = ["front", "db"].map(Into::into).into();
    let calls = |namespace: &str| {
        let graph = graphs.of(namespace, &workloads).unwrap();
        let edges = graph.edges.iter().map(|e| (e.callee.clone(), e.visits));
        assert!(graph.outside.is_empty());
        (graph.rates.len(), edges.collect::<Vec<_>>())
    };
    assert_eq!(calls("shop"), (1, vec![("db".to_owned(), 2.0)]));
    assert_eq!(calls("bank"), (1, vec![("db".to_owned(), 3.0)]));
    assert_eq!(calls("idle"), (0, vec![]));
    // What failed, failed for all.
    let mut down = answers;
    down.insert(Ask::Calls, Err(PromError::Timeout(Duration::from_secs(10))));
    let graphs = Graphs::read(&preset, now(), down);
    for namespace in ["shop", "idle"] {
        let error = graphs.of(namespace, &workloads).unwrap_err();
        assert_eq!(error.category(), "PrometheusTimeout");
    }
}
