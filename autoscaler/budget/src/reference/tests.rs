use super::*;
use msars_domain::{Knot, Percentile, SizeCurve};

/// Tail `base · (1 + rate/knee)` at 100m, half of it per doubling of the size.
fn service(base: f64, knee: f64) -> Service {
    let table = |size: u32, factor: f64| SizeCurve {
        size: MilliCpu(size),
        knots: (1..=40)
            .map(|step| {
                let rate = f64::from(step);
                Knot {
                    rate: Rate::new(rate).unwrap(),
                    quantile: Millis::new(base * factor * (1.0 + (rate / knee).powi(2))).unwrap(),
                }
            })
            .collect(),
    };
    Service {
        curve: Curve::new(vec![table(100, 1.0), table(200, 0.6)]).unwrap(),
        max_replicas: 50,
    }
}

fn call(name: &str, kind: EdgeKind, max_visits: u32, children: Vec<Call>) -> Call {
    Call {
        service: name.into(),
        visits: 1.0,
        max_visits,
        kind,
        children,
    }
}

fn tree(kind: EdgeKind) -> Chain {
    let leaves = vec![call("b", kind, 1, vec![]), call("c", kind, 2, vec![])];
    Chain {
        name: "test".into(),
        root: call("a", EdgeKind::Sequential, 1, leaves),
        percentile: Percentile::new(0.99).unwrap(),
    }
}

fn services(scale: f64) -> BTreeMap<String, Service> {
    [("a", 4.0, 8.0), ("b", 9.0 * scale, 5.0), ("c", 3.0, 12.0)]
        .into_iter()
        .map(|(name, base, knee)| (name.to_owned(), service(base, knee)))
        .collect()
}

fn run(
    chain: &Chain,
    services: &BTreeMap<String, Service>,
    units: usize,
) -> Result<Split, SplitError> {
    let objective = Millis::new(90.0).unwrap();
    split(&SplitRequest {
        chain,
        rate: Rate::new(30.0).unwrap(),
        objective,
        units,
        services,
    })
}

/// Every way to give units to a, b and c, by the definition of a path and not by the program.
fn brute(kind: EdgeKind, services: &BTreeMap<String, Service>, units: usize) -> Option<u32> {
    let chain = tree(kind);
    let request = SplitRequest {
        chain: &chain,
        rate: Rate::new(30.0).unwrap(),
        objective: Millis::new(90.0).unwrap(),
        units,
        services,
    };
    let cost =
        |name: &str, units| own(&request, name, &services[name], 30.0, units).map(|plan| plan.cost);
    let mut best = None;
    for a in 0..=units {
        for b in 0..=units {
            for c in 0..=units {
                let below = if kind == EdgeKind::Parallel {
                    b.max(2 * c)
                } else {
                    b + 2 * c
                };
                if a + below > units {
                    continue;
                }
                if let (Some(a), Some(b), Some(c)) = (cost("a", a), cost("b", b), cost("c", c)) {
                    best = Some(best.map_or(a + b + c, |best: u32| best.min(a + b + c)));
                }
            }
        }
    }
    best
}

#[test]
fn the_split_equals_brute_force_on_its_grid() {
    for kind in [EdgeKind::Sequential, EdgeKind::Parallel] {
        for scale in [0.5, 1.0, 2.0, 3.0] {
            for units in [9, 20, 33] {
                let services = services(scale);
                let found = run(&tree(kind), &services, units)
                    .ok()
                    .map(|split| split.cost.0);
                assert_eq!(
                    found,
                    brute(kind, &services, units),
                    "{kind:?} {scale} {units}"
                );
            }
        }
    }
}

#[test]
fn budgets_of_a_path_never_add_up_to_more_than_the_objective() {
    let split = run(&tree(EdgeKind::Sequential), &services(1.0), 60).unwrap();
    let budget = |name: &str| {
        split
            .assignments
            .iter()
            .find(|a| a.service == name)
            .unwrap()
            .budget
            .get()
    };
    assert!(budget("a") + budget("b") + 2.0 * budget("c") <= 90.0 + 1e-9);
}

#[test]
fn a_slower_version_gets_more_of_the_objective() {
    let budget = |scale| {
        let split = run(&tree(EdgeKind::Sequential), &services(scale), 90).unwrap();
        split
            .assignments
            .iter()
            .find(|a| a.service == "b")
            .unwrap()
            .budget
            .get()
    };
    assert!(
        budget(3.0) > budget(1.0),
        "{} against {}",
        budget(3.0),
        budget(1.0)
    );
}

#[test]
fn an_asynchronous_callee_takes_no_budget() {
    let split = run(&tree(EdgeKind::Async), &services(1.0), 30).unwrap();
    assert_eq!(split.assignments.len(), 1);
}

#[test]
fn refusals_name_their_reason() {
    let mut few = services(1.0);
    few.remove("c");
    assert_eq!(
        run(&tree(EdgeKind::Sequential), &few, 30)
            .unwrap_err()
            .category(),
        "NoProfile"
    );
    assert_eq!(
        run(&tree(EdgeKind::Sequential), &services(50.0), 30)
            .unwrap_err()
            .category(),
        "SplitInfeasible"
    );
    let mut unbounded = tree(EdgeKind::Sequential);
    unbounded.root.children[1].max_visits = 0;
    assert_eq!(
        run(&unbounded, &services(1.0), 30).unwrap_err().category(),
        "InvalidVisits"
    );
    assert_eq!(
        run(&tree(EdgeKind::Sequential), &services(1.0), 0)
            .unwrap_err()
            .category(),
        "NoBudgetUnits"
    );
    let mut twice = tree(EdgeKind::Sequential);
    twice.root.children[1].service = "b".into();
    assert_eq!(
        run(&twice, &services(1.0), 30).unwrap_err().category(),
        "RecurringService"
    );
}
