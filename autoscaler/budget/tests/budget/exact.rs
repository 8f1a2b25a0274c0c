//! The reference split against every allocation there is.

use std::collections::BTreeMap;

use crate::application::{self, application, call, chain, par, seq, service, takes};
use crate::brute::brute_force;
use msars_budget::{Allocator, Equal, Method, Proportional, Reference, Split, SplitRequest};
use proptest::prelude::*;

use msars_domain::{EdgeKind, SizeCurve};

/// What a random case is built from.
#[derive(Debug, Clone)]
struct Draw {
    bases: Vec<f64>,
    knees: Vec<f64>,
    steep: f64,
    rates: Vec<f64>,
    tightness: f64,
    tail: f64,
    alone: Option<f64>,
}

fn draw() -> impl Strategy<Value = Draw> {
    (
        prop::collection::vec(2.0..40.0_f64, 4),
        prop::collection::vec(8.0..60.0_f64, 4),
        3.0..15.0_f64,
        prop::collection::vec(5.0..60.0_f64, 3),
        prop_oneof![0.35..1.2_f64, 1.2..5.0_f64],
        0.5..1.2_f64,
        prop::option::of(0.2..1.0_f64),
    )
        .prop_map(
            |(bases, knees, steep, rates, tightness, tail, alone)| Draw {
                bases,
                knees,
                steep,
                rates,
                tightness,
                tail,
                alone,
            },
        )
}

/// Shapes of trees over services a, b, c, d; `objective` per chain grows with what its tree takes at base.
fn build(shape: usize, draw: &Draw) -> SplitRequest {
    let bases: BTreeMap<String, f64> = (["a", "b", "c", "d"].iter().zip(&draw.bases))
        .map(|(name, base)| ((*name).to_owned(), *base))
        .collect();
    let roots = match shape {
        // One chain, each service once.
        0 => vec![seq(
            "a",
            vec![seq("b", vec![seq("c", vec![])]), seq("d", vec![])],
        )],
        1 => vec![seq(
            "a",
            vec![par("b", vec![]), par("c", vec![seq("d", vec![])])],
        )],
        2 => vec![seq(
            "a",
            vec![
                call("b", EdgeKind::Sequential, 1.4, 2, vec![]),
                par("c", vec![]),
                call("d", EdgeKind::Parallel, 0.7, 3, vec![]),
            ],
        )],
        // One chain, a service recurs: in sequence, beside itself, and asynchronously as well.
        3 => vec![seq(
            "a",
            vec![seq("b", vec![seq("c", vec![])]), seq("c", vec![])],
        )],
        4 => vec![seq(
            "a",
            vec![
                par("b", vec![seq("c", vec![])]),
                par("c", vec![]),
                seq("d", vec![]),
            ],
        )],
        5 => vec![seq(
            "a",
            vec![
                seq("b", vec![]),
                call("b", EdgeKind::Async, 3.0, 1, vec![seq("c", vec![])]),
            ],
        )],
        // Several chains that share services.
        6 => vec![
            seq("a", vec![seq("b", vec![])]),
            seq("a", vec![seq("c", vec![])]),
            seq("d", vec![seq("b", vec![])]),
        ],
        7 => vec![
            seq("a", vec![par("b", vec![]), par("c", vec![])]),
            seq("d", vec![call("c", EdgeKind::Sequential, 1.5, 2, vec![])]),
        ],
        // Several chains that share nothing.
        _ => vec![
            seq("a", vec![seq("b", vec![])]),
            seq("c", vec![seq("d", vec![])]),
        ],
    };
    let chains = (roots.into_iter().enumerate())
        .map(|(i, root)| {
            // Chains differ in how tight they are.
            let objective = takes(&root, &bases) * draw.tightness * (1.0 + 0.3 * i as f64);
            let mut request = chain(&format!("chain-{i}"), draw.rates[i], objective, root);
            request.tail = draw.tail.try_into().unwrap();
            request.alone = draw.alone;
            request
        })
        .collect();
    let names = ["a", "b", "c", "d"];
    let services = (0..4)
        .map(|i| {
            (
                names[i],
                service(draw.bases[i], draw.knees[i], draw.steep, 6),
            )
        })
        .collect();
    application(chains, services)
}

fn reference(request: &SplitRequest) -> Split {
    Reference::default().split(request).unwrap()
}

/// Budgets keep every chain's target, pods keep every budget, and shares are what they claim.
fn check(request: &SplitRequest, split: &Split) {
    let budgets: BTreeMap<String, f64> = (split.services.iter())
        .map(|s| (s.service.clone(), s.budget.get()))
        .collect();
    let mut cost = 0;
    for part in &split.services {
        let service = &request.services[&part.service];
        if let (Some(pods), msars_budget::Latency::Profiled { curve, .. }) =
            (part.pods, &service.latency)
        {
            let table: &SizeCurve = (curve.sizes().iter())
                .find(|table| table.size == pods.size)
                .unwrap();
            let each = application::total_load(request, &part.service) / f64::from(pods.replicas);
            let slightly_more = application::ms(part.budget.get() * (1.0 + 1e-9));
            let capacity = table.capacity(slightly_more).unwrap().get();
            assert!(
                capacity >= each * (1.0 - 1e-9),
                "{part:?} carries {capacity} of {each}"
            );
            assert!(
                part.expected.get() <= part.budget.get() * (1.0 + 1e-9),
                "{part:?}"
            );
            assert!((service.min_replicas..=service.max_replicas).contains(&pods.replicas));
            cost += service.weight.of(pods.size).0 * pods.replicas;
        }
    }
    assert_eq!(split.cost.0, cost);
    for (chain, found) in request.chains.iter().zip(&split.chains) {
        let path = takes(&chain.chain.root, &budgets);
        let target = chain.objective.get() / chain.tail.get();
        assert!(
            (path - found.path.get()).abs() <= 1e-6 * path,
            "{path} {found:?}"
        );
        assert!((target - found.target.get()).abs() <= 1e-6 * target);
        assert!(path <= target * (1.0 + 1e-9), "{path} over {target}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_reference_equals_brute_force(shape in 0..9_usize, draw in draw()) {
        let request = build(shape, &draw);
        let split = reference(&request);
        let Some(cheapest) = brute_force(&request) else {
            prop_assert!(!split.feasible);
            prop_assert!(split.shortfall.is_some());
            return Ok(());
        };
        prop_assert!(split.feasible, "{}", split.reason);
        prop_assert_eq!(u64::from(split.cost.0), cheapest, "{}", split.reason);
        prop_assert_eq!(split.gap, Some(0.0));
        // A service that recurs without being waited for is chosen once all the same.
        let recurs = [3, 4, 6, 7].contains(&shape);
        prop_assert_eq!(split.method == Method::Program, !recurs, "{:?}", split.method);
        check(&request, &split);
    }

    #[test]
    fn a_looser_objective_never_costs_more(shape in 0..9_usize, draw in draw(), looser in 1.0..3.0_f64) {
        let request = build(shape, &draw);
        let mut other = request.clone();
        for chain in &mut other.chains {
            chain.objective = application::ms(chain.objective.get() * looser);
        }
        let (tight, loose) = (reference(&request), reference(&other));
        if tight.feasible {
            prop_assert!(loose.feasible);
            prop_assert!(loose.cost <= tight.cost, "{} then {}", tight.reason, loose.reason);
        }
    }

    #[test]
    fn no_rule_is_cheaper_than_the_reference(shape in 0..9_usize, draw in draw()) {
        let request = build(shape, &draw);
        let best = reference(&request);
        let asked = std::slice::from_ref(&request);
        for split in [Equal.allocate(asked), Proportional.allocate(asked)] {
            let split = split[0].clone().unwrap();
            if split.feasible {
                check(&request, &split);
                prop_assert!(best.feasible);
                prop_assert!(best.cost <= split.cost, "{} against {}", best.reason, split.reason);
            }
        }
    }

    /// However early the enumeration stops, what it returns keeps the targets, and the gap is no lie.
    #[test]
    fn a_bounded_search_is_feasible_and_honest(shape in 3..8_usize, draw in draw()) {
        let request = build(shape, &draw);
        let split = Reference { steps: 1, pairs: 1 }.split(&request).unwrap();
        if let Some(cheapest) = brute_force(&request) {
            prop_assert!(split.feasible);
            check(&request, &split);
            let gap = split.gap.unwrap();
            prop_assert!(f64::from(split.cost.0) <= cheapest as f64 * (1.0 + gap) + 1e-6, "{}", split.reason);
            prop_assert!(u64::from(split.cost.0) >= cheapest);
        }
    }
}
