//! What a split means to the one who asked.

use crate::application::{
    application, budget, busy, call, chain, close, line, ms, par, seq, service, shop, split, takes,
};
use crate::speed::Mix;
use msars_budget::{
    Allocator, Equal, Floor, Latency, Method, Pods, Proportional, Service, Split, Weight,
};
use msars_domain::{EdgeKind, MilliCpu, Percentile, Rate};

fn fixed(budget: f64) -> Service {
    Service {
        latency: Latency::Fixed {
            budget: ms(budget),
            percentile: Percentile::new(0.99).unwrap(),
        },
        ..service(1.0, 1.0, 3.0, 1)
    }
}

/// Replicas are whole, so a slower version may now and then be served by a pod that the old one did not need: what
/// holds is that it nearly always gets more.
#[test]
fn a_slower_version_gets_more_of_the_objective() {
    let (mut more, mut cases) = (0, 0);
    for (rate, looseness) in [(20.0, 3.0), (60.0, 6.0), (200.0, 4.0), (1000.0, 3.0)] {
        let mut mix = Mix(3);
        for _ in 0..100 {
            let bases: Vec<f64> = (0..4).map(|_| mix.between(3.0, 15.0)).collect();
            let steep = mix.between(4.0, 12.0);
            let with = |slow: f64| {
                let tree = seq(
                    "s0",
                    vec![seq("s1", vec![seq("s2", vec![])]), seq("s3", vec![])],
                );
                let objective = bases.iter().sum::<f64>() * looseness;
                let mut request = application(vec![chain("c", rate, objective, tree)], vec![]);
                for (i, base) in bases.iter().enumerate() {
                    let base = if i == 2 { base * slow } else { *base };
                    let service = service(base, 400.0 / base, steep, 200);
                    request.services.insert(format!("s{i}"), service);
                }
                split(&request)
            };
            let (old, new) = (with(1.0), with(3.0));
            if old.feasible && new.feasible {
                cases += 1;
                more += usize::from(budget(&new, "s2") > budget(&old, "s2"));
            }
        }
    }
    println!("{more} of {cases}");
    assert!(cases >= 300 && more * 10 >= cases * 9, "{more} of {cases}");
    let (old, new) = (split(&shop(2.0, 300.0, 1.0)), split(&shop(2.0, 300.0, 4.0)));
    assert!(budget(&new, "catalogue") > budget(&old, "catalogue"));
    assert!(new.cost > old.cost);
}

#[test]
fn time_left_over_is_shared_in_proportion_and_not_given_to_the_last_callee() {
    let split = split(&line(600.0, 20.0));
    let raised: Vec<f64> = (split.services.iter())
        .map(|part| part.budget.get() / part.expected.get())
        .collect();
    assert!(
        raised.iter().all(|factor| close(*factor, raised[0])),
        "{raised:?}"
    );
    assert!(close(split.chains[0].path.get(), 600.0));
    let shares: f64 = split.chains[0].shares.values().sum();
    assert!(close(shares, 1.0), "{shares}");
}

#[test]
fn a_chain_with_time_to_spare_shares_it_among_the_services_that_no_other_chain_holds_back() {
    let request = application(
        vec![
            chain("tight", 20.0, 40.0, seq("a", vec![seq("b", vec![])])),
            chain("loose", 20.0, 400.0, seq("a", vec![seq("c", vec![])])),
        ],
        vec![
            ("a", service(10.0, 40.0, 9.0, 30)),
            ("b", service(10.0, 40.0, 9.0, 30)),
            ("c", service(10.0, 40.0, 9.0, 30)),
        ],
    );
    let split = split(&request);
    assert!(split.feasible);
    assert!(close(split.chain("tight").unwrap().path.get(), 40.0));
    assert!(close(split.chain("loose").unwrap().path.get(), 400.0));
    assert!(close(budget(&split, "a") + budget(&split, "c"), 400.0));
    assert_eq!(split.method, Method::Enumerated);
}

#[test]
fn a_service_without_a_profile_is_counted_and_not_chosen() {
    let mut request = line(120.0, 10.0);
    request.services.insert("b".into(), fixed(40.0));
    let found = split(&request);
    let part = found.service("b").unwrap();
    assert_eq!((part.budget, part.pods), (ms(40.0), None));
    assert!(close(budget(&found, "a") + budget(&found, "c"), 80.0));
    for rule in [
        Equal.allocate(&[request.clone()]),
        Proportional.allocate(&[request.clone()]),
    ] {
        let rule = rule[0].as_ref().unwrap();
        assert!(
            close(budget(rule, "a") + budget(rule, "c"), 80.0),
            "{}",
            rule.reason
        );
    }

    request.services.insert("b".into(), fixed(130.0));
    let found = split(&request);
    assert!(!found.feasible);
    assert_eq!(found.shortfall.unwrap().bottleneck, "b");
}

#[test]
fn floors_and_least_replicas_are_kept_and_win_over_the_most() {
    let mut request = line(600.0, 10.0);
    let free = split(&request).service("b").unwrap().pods.unwrap();
    assert!(free.size == MilliCpu(100) && free.replicas < 5, "{free:?}");
    let mut with = |change: &dyn Fn(&mut Service)| {
        change(request.services.get_mut("b").unwrap());
        split(&request).service("b").unwrap().pods.unwrap()
    };
    let pods = |size, replicas| Pods {
        size: MilliCpu(size),
        replicas,
    };
    assert_eq!(with(&|b| b.min_replicas = 7), pods(100, 7));
    let floor = |size, replicas| Floor {
        size: MilliCpu(size),
        replicas,
    };
    assert_eq!(with(&|b| b.floor = Some(floor(150, 9))), pods(200, 9));
    assert_eq!(with(&|b| b.floor = Some(floor(900, 50))), pods(200, 50));
}

#[test]
fn a_request_per_limit_and_sidecars_decide_what_is_cheap() {
    let weight = Weight {
        ratio: 0.5,
        sidecars: MilliCpu(30),
    };
    assert_eq!(weight.of(MilliCpu(200)), MilliCpu(130));
    let mut request = busy(60.0, 10.0);
    let small = split(&request).service("b").unwrap().pods.unwrap();
    // With a sidecar as big as that, the fewest pods are best, at whatever size.
    request.services.get_mut("b").unwrap().weight.sidecars = MilliCpu(400);
    let large = split(&request).service("b").unwrap().pods.unwrap();
    assert!(large.replicas < small.replicas, "{small:?} {large:?}");
}

#[test]
fn requests_from_elsewhere_load_pods_as_those_of_a_chain_do() {
    // Nobody but b gets more, by requests that pass a and c nowhere.
    let mut chained = busy(400.0, 10.0);
    chained
        .chains
        .push(chain("other", 600.0, 4000.0, seq("b", vec![])));
    let mut elsewhere = busy(400.0, 10.0);
    let b = elsewhere.services.get_mut("b").unwrap();
    b.elsewhere = Some(Rate::new(600.0).unwrap());
    // Of a service that no chain waits for.
    let mut idle = service(10.0, 20.0, 9.0, 30);
    idle.elsewhere = b.elsewhere;
    elsewhere.services.insert("idle".into(), idle);
    let (alone, chained, found) = (
        split(&busy(400.0, 10.0)),
        split(&chained),
        split(&elsewhere),
    );
    let pods = |split: &Split, name: &str| split.service(name).unwrap().pods;
    for name in ["a", "b", "c"] {
        assert_eq!(pods(&found, name), pods(&chained, name), "{name}");
    }
    assert_eq!(found.cost, chained.cost);
    assert!(found.cost > alone.cost, "{} {}", found.cost, alone.cost);
    let of = |split| pods(split, "b").map_or(0, |pods: Pods| pods.replicas);
    assert!(of(&found) > 2 * of(&alone), "{} {}", of(&found), of(&alone));
    let told = "; requests that come by none of these chains are counted: b 600.0/s";
    assert!(found.reason.ends_with(told), "{}", found.reason);
    assert!(!chained.reason.contains("none of these chains"));
}

#[test]
fn asynchronous_calls_load_pods_and_take_no_time() {
    let tree = |calls: f64| {
        seq(
            "a",
            vec![
                seq("b", vec![]),
                call("b", EdgeKind::Async, calls, 1, vec![]),
            ],
        )
    };
    let services = || {
        vec![
            ("a", service(10.0, 20.0, 9.0, 30)),
            ("b", service(10.0, 20.0, 9.0, 30)),
        ]
    };
    let quiet = split(&application(
        vec![chain("c", 30.0, 90.0, tree(0.1))],
        services(),
    ));
    let busy = split(&application(
        vec![chain("c", 30.0, 90.0, tree(4.0))],
        services(),
    ));
    let pods = |split: &Split| split.service("b").unwrap().pods.unwrap().replicas;
    assert!(pods(&busy) > pods(&quiet));
    assert!(close(busy.chains[0].path.get(), 90.0));
    assert!(close(budget(&busy, "a") + budget(&busy, "b"), 90.0));
}

#[test]
fn the_bound_counts_every_visit_at_its_own_percentile() {
    let mut request = application(
        vec![chain(
            "c",
            10.0,
            100.0,
            seq("a", vec![call("b", EdgeKind::Sequential, 1.5, 2, vec![])]),
        )],
        vec![("a", service(5.0, 20.0, 9.0, 9)), ("b", fixed(10.0))],
    );
    let found = split(&request);
    assert!(
        close(found.bound.miss, 2.5 * 0.01) && !found.bound.holds,
        "{:?}",
        found.bound
    );
    let strict = Percentile::new(0.999).unwrap();
    for service in request.services.values_mut() {
        match &mut service.latency {
            Latency::Profiled { percentile, .. } | Latency::Fixed { percentile, .. } => {
                *percentile = strict;
            }
        }
    }
    request.chains[0].beyond = 0.004;
    request.chains[0].doubt = 0.003;
    let found = split(&request);
    assert!(close(found.bound.miss, 0.0025 + 0.007), "{:?}", found.bound);
    assert!(close(found.bound.allowed, 0.01) && found.bound.holds);
    request.chains[0].doubt = 0.004;
    assert!(!split(&request).bound.holds);
}

#[test]
fn nothing_but_idle_services_cost_their_least_pods() {
    let mut request = line(200.0, 10.0);
    request.chains[0].rate = Rate::new(0.0).unwrap();
    assert_eq!(split(&request).cost, MilliCpu(300));
}

#[test]
fn too_many_parallel_paths_are_counted_as_sequential_which_is_safe() {
    // Nine groups of two branches: 512 paths.
    let mut children = Vec::new();
    for group in 0..9 {
        for branch in ["x", "y"] {
            children.push(par(&format!("{branch}{group}"), vec![]));
        }
        children.push(seq("between", vec![]));
    }
    let mut names: Vec<String> = vec!["root".into(), "between".into()];
    names.extend((0..9).flat_map(|g| [format!("x{g}"), format!("y{g}")]));
    let services = (names.iter())
        .map(|name| (name.as_str(), service(5.0, 30.0, 8.0, 20)))
        .collect();
    let request = application(
        vec![chain("wide", 20.0, 300.0, seq("root", children))],
        services,
    );
    let found = split(&request);
    assert!(
        found.feasible && found.reason.contains("counted as sequential"),
        "{}",
        found.reason
    );
    let times = (found.services.iter())
        .map(|part| (part.service.clone(), part.budget.get()))
        .collect();
    assert!(takes(&request.chains[0].chain.root, &times) <= 300.0);
}
