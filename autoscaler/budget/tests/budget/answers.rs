//! What is answered to a request that cannot be met, or not be understood, and how tails move a target.

use std::collections::BTreeMap;

use crate::application::{budget, busy, chain, close, line, ms, seq, service, shop, split, takes};
use msars_budget::{
    Allocator, Equal, Latency, Pods, Proportional, Reference, Split, SplitError, SplitRequest,
    TailFactor, fit_tail, path_latency,
};
use msars_domain::{Curve, MilliCpu, Percentile};

#[test]
fn an_objective_out_of_reach_is_answered_with_the_bottleneck_and_what_is_in_reach() {
    let found = split(&line(20.0, 30.0));
    assert!(!found.feasible);
    let short = found.shortfall.clone().unwrap();
    assert_eq!(
        (short.chain.as_str(), short.bottleneck.as_str()),
        ("browse", "b")
    );
    let reachable = short.reachable.unwrap().get();
    // Every service at its fastest: 0.6 of the base at 200m.
    assert!(close(reachable, 0.6 * 50.0), "{reachable}");
    let path = found.chains[0].path.get();
    assert!(reachable <= path && path <= 1.021 * reachable, "{path}");
    assert!(
        found.reason.contains("cannot be brought below 30.0 ms"),
        "{}",
        found.reason
    );
    assert!(found.reason.contains('b'), "{}", found.reason);
}

#[test]
fn a_service_that_cannot_carry_its_load_is_named_and_gets_all_that_is_allowed() {
    let mut request = line(500.0, 10.0);
    let mut other = chain("other", 5.0, 100.0, seq("c", vec![]));
    other.tail = TailFactor::ONE;
    request.chains.push(other);
    request
        .services
        .insert("b".into(), service(10.0, 4.0, 9.0, 2));
    let found = split(&request);
    assert!(!found.feasible && !found.chains[0].feasible && found.chains[1].feasible);
    let short = found.shortfall.clone().unwrap();
    assert_eq!((short.bottleneck.as_str(), short.reachable), ("b", None));
    let pods = found.service("b").unwrap().pods;
    assert_eq!(
        pods,
        Some(Pods {
            size: MilliCpu(200),
            replicas: 2
        })
    );
    assert!(
        found
            .reason
            .contains("b on chain browse cannot carry its load"),
        "{}",
        found.reason
    );
}

#[test]
fn a_tail_factor_moves_the_target_and_nothing_else() {
    let mut corrected = line(100.0, 10.0);
    corrected.chains[0].tail = TailFactor::observed(ms(60.0), ms(120.0));
    let plain = split(&line(200.0, 10.0));
    let found = split(&corrected);
    assert_eq!(found.services, plain.services);
    assert_eq!(found.chains[0].target, ms(200.0));
    let told = "of 200.0 ms, the objective of 100.0 ms over the tail factor 0.50";
    assert!(found.reason.ends_with(told), "{}", found.reason);
    assert!(plain.reason.ends_with("of 200.0 ms"), "{}", plain.reason);
    assert!(
        !found.bound.holds,
        "budgets beyond the objective prove nothing of it"
    );
    for (observed, predicted, factor) in [
        (1.0, 1000.0, 0.1),
        (9e9, 1.0, 4.0),
        (0.0, 5.0, 1.0),
        (5.0, 0.0, 1.0),
    ] {
        assert_eq!(
            TailFactor::observed(ms(observed), ms(predicted)).get(),
            factor
        );
    }
}

#[test]
fn no_service_alone_gets_more_of_the_objective_than_it_may_take_by_itself() {
    let mut corrected = line(100.0, 10.0);
    corrected.chains[0].tail = TailFactor::new(0.25).unwrap();
    corrected.chains[0].alone = Some(0.5);
    let found = split(&corrected);
    assert_eq!(found.chains[0].target, ms(400.0));
    assert!(
        (found.services.iter()).all(|part| close(part.budget.get(), 50.0)),
        "{:?}",
        found.services
    );
    // What a service takes at its fastest stays, even above.
    let mut slow = line(100.0, 300.0);
    slow.chains[0].tail = TailFactor::new(0.25).unwrap();
    slow.chains[0].alone = Some(0.5);
    let found = split(&slow);
    assert!(budget(&found, "b") > 50.0, "{:?}", found.services);
    assert!(budget(&found, "a") <= 50.0, "{:?}", found.services);
}

#[test]
fn the_last_hundredth_of_a_budget_is_not_bought_at_any_price() {
    // A pod is as fast as ten, but for a hundredth.
    let mut slow = line(100.0, 300.0);
    slow.chains[0].tail = TailFactor::new(0.25).unwrap();
    slow.chains[0].alone = Some(0.5);
    let table = |size: u32, ms_: f64| msars_domain::SizeCurve {
        size: MilliCpu(size),
        knots: [1.0, 900.0]
            .map(|rate| msars_domain::Knot {
                rate: msars_domain::Rate::new(rate).unwrap(),
                quantile: ms(ms_),
            })
            .to_vec(),
    };
    let service = slow.services.get_mut("b").unwrap();
    service.latency = Latency::Profiled {
        curve: Curve::new(vec![table(100, 180.9), table(1000, 180.0)]).unwrap(),
        percentile: Percentile::new(0.99).unwrap(),
    };
    let found = split(&slow);
    let pods = found.service("b").unwrap().pods.unwrap();
    assert_eq!((pods.size, pods.replicas), (MilliCpu(100), 1), "{found:?}");
}

#[test]
fn a_service_that_recurs_gets_no_more_of_the_objective_over_all_its_visits() {
    // b is called by a and by c, one after the other.
    let tree = seq(
        "a",
        vec![seq("b", vec![]), seq("c", vec![seq("b", vec![])])],
    );
    let mut request = line(100.0, 10.0);
    request.chains = vec![chain("browse", 5.0, 100.0, tree)];
    request.chains[0].tail = TailFactor::new(0.25).unwrap();
    request.chains[0].alone = Some(0.5);
    let found = split(&request);
    assert!(close(budget(&found, "b"), 25.0), "{:?}", found.services);
    // The first at its ceiling ends what is shared out.
    for once in ["a", "c"] {
        let found = budget(&found, once);
        assert!((20.0..50.0).contains(&found), "{once} {found}");
    }
}

#[test]
fn refusals_name_their_reason() {
    let refused = |change: &dyn Fn(&mut SplitRequest)| {
        let mut request = line(100.0, 10.0);
        change(&mut request);
        Reference::default().split(&request).unwrap_err().category()
    };
    assert_eq!(refused(&|r| drop(r.services.remove("c"))), "NoProfile");
    assert_eq!(refused(&|r| r.chains.clear()), "NoChains");
    assert_eq!(
        refused(&|r| r.chains.push(r.chains[0].clone())),
        "DuplicateChain"
    );
    assert_eq!(refused(&|r| r.chains[0].objective = ms(0.0)), "NoObjective");
    assert_eq!(
        refused(&|r| r.chains[0].beyond = f64::NAN),
        "ShareOutOfRange"
    );
    assert_eq!(
        refused(&|r| r.chains[0].chain.root.max_visits = 0),
        "InvalidVisits"
    );
    assert_eq!(
        refused(&|r| r.services.get_mut("a").unwrap().max_replicas = 0),
        "InvalidReplicaBounds"
    );
    assert_eq!(
        refused(&|r| r.services.get_mut("a").unwrap().weight.ratio = 0.0),
        "InvalidWeight"
    );
    assert_eq!(
        TailFactor::new(0.0).unwrap_err().category(),
        "InvalidTailFactor"
    );
    let empty: Result<Curve, _> = serde_json::from_str("{\"sizes\":[]}");
    let empty = empty.unwrap();
    let without = |r: &mut SplitRequest| {
        r.services.get_mut("a").unwrap().latency = Latency::Profiled {
            curve: empty.clone(),
            percentile: Percentile::new(0.9).unwrap(),
        };
    };
    assert_eq!(refused(&without), "NoProfile");
}

#[test]
fn a_batch_is_answered_in_order_and_one_refusal_spoils_no_other() {
    let (good, mut bad) = (line(120.0, 10.0), line(120.0, 10.0));
    bad.chains.clear();
    for allocator in [
        &mut Reference::default() as &mut dyn Allocator,
        &mut Equal,
        &mut Proportional,
    ] {
        let answers = allocator.allocate(&[good.clone(), bad.clone(), good.clone()]);
        assert_eq!(answers[1], Err(SplitError::NoChains("shop".into())));
        assert!(answers[0].is_ok());
        assert_eq!(answers[0], answers[2]);
    }
}

#[test]
fn requests_and_splits_survive_being_stored() {
    let request = shop(1.0, 300.0, 1.0);
    let stored = serde_json::to_string(&request).unwrap();
    let read: SplitRequest = serde_json::from_str(&stored).unwrap();
    let (one, other) = (split(&request), split(&read));
    assert_eq!(one, other);
    let back: Split = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
    assert_eq!(back.cost, one.cost);
    assert_eq!(one.method.to_string(), "reference/enumerated");
}

#[test]
fn the_predicted_latency_is_the_longest_path() {
    let request = shop(1.0, 300.0, 1.0);
    let found = split(&request);
    let times: BTreeMap<String, f64> = (found.services.iter())
        .map(|part| (part.service.clone(), part.expected.get()))
        .collect();
    for chain in &request.chains {
        let path = path_latency(&chain.chain, |name| times.get(name).map(|time| ms(*time)));
        assert!(close(path.unwrap().get(), takes(&chain.chain.root, &times)));
        assert_eq!(
            path_latency(&chain.chain, |name| (name != "front-end").then(|| ms(1.0))),
            None
        );
    }
}

#[test]
fn tail_factors_are_bisected_to_the_cheapest_split_that_the_model_lets_pass() {
    let request = busy(60.0, 10.0);
    // The truth: the end-to-end quantile is 0.6 of the sum of the services' own.
    let mut asked = 0;
    let mut model = |split: &Split| {
        asked += 1;
        let sum: f64 = split.services.iter().map(|part| part.expected.get()).sum();
        vec![ms(0.6 * sum)]
    };
    let fitted = fit_tail(&mut Reference::default(), &request, 20, &mut model).unwrap();
    let mut known = request.clone();
    known.chains[0].tail = TailFactor::new(0.6).unwrap();
    let (known, plain) = (split(&known), split(&request));
    assert!(fitted.feasible);
    assert_eq!(fitted.cost, known.cost);
    assert!(fitted.cost < plain.cost);
    assert!(asked <= 20, "{asked}");

    let hopeless = fit_tail(&mut Reference::default(), &request, 20, &mut |_| {
        vec![ms(61.0)]
    })
    .unwrap();
    assert!(!hopeless.feasible);
    assert!(hopeless.shortfall.is_some(), "{}", hopeless.reason);
}
