//! Applications to split.

use std::collections::BTreeMap;

use msars_budget::{ChainRequest, Latency, Reference, Service, Split, SplitRequest, Weight};
use msars_domain::{
    Call, Chain, Curve, EdgeKind, Knot, MilliCpu, Millis, Percentile, Rate, SizeCurve,
};

pub fn ms(value: f64) -> Millis {
    Millis::new(value).unwrap()
}

pub fn call(name: &str, kind: EdgeKind, visits: f64, max: u32, children: Vec<Call>) -> Call {
    Call {
        service: name.into(),
        visits,
        max_visits: max,
        kind,
        children,
    }
}

/// One visit, in sequence.
pub fn seq(name: &str, children: Vec<Call>) -> Call {
    call(name, EdgeKind::Sequential, 1.0, 1, children)
}

/// One visit, beside its neighbours.
pub fn par(name: &str, children: Vec<Call>) -> Call {
    call(name, EdgeKind::Parallel, 1.0, 1, children)
}

pub fn chain(name: &str, rate: f64, objective: f64, root: Call) -> ChainRequest {
    let chain = Chain {
        name: name.into(),
        root,
        percentile: Percentile::new(0.99).unwrap(),
    };
    ChainRequest::new(chain, Rate::new(rate).unwrap(), ms(objective))
}

/// A curve per size that is flat up to its knee and steep after, as measured ones are: `base` ms at 100m up to `knee` requests/s,
/// `steep` times that at twice the rate; at 200m 0.6 of the time and 1.9 times the rate.
pub fn service(base: f64, knee: f64, steep: f64, max_replicas: u32) -> Service {
    sized(
        &[(100, 1.0, 1.0), (200, 0.6, 1.9)],
        base,
        knee,
        steep,
        max_replicas,
    )
}

/// The same at sizes from 100m to 1000m.
pub fn fine_service(base: f64, knee: f64, steep: f64, max_replicas: u32) -> Service {
    let sizes: Vec<(u32, f64, f64)> = (1..=10)
        .map(|step| {
            (
                100 * step,
                f64::from(step).powf(-0.7),
                f64::from(step).powf(0.93),
            )
        })
        .collect();
    sized(&sizes, base, knee, steep, max_replicas)
}

fn sized(
    sizes: &[(u32, f64, f64)],
    base: f64,
    knee: f64,
    steep: f64,
    max_replicas: u32,
) -> Service {
    let table = |&(size, time, reach): &(u32, f64, f64)| SizeCurve {
        size: MilliCpu(size),
        knots: [
            (0.2, 1.0),
            (1.0, 1.3),
            (1.5, 1.0 + steep / 3.0),
            (2.0, steep),
        ]
        .map(|(rate, factor)| Knot {
            rate: Rate::new(knee * reach * rate).unwrap(),
            quantile: ms(base * time * factor),
        })
        .to_vec(),
    };
    Service {
        latency: Latency::Profiled {
            curve: Curve::new(sizes.iter().map(table).collect()).unwrap(),
            percentile: Percentile::new(0.99).unwrap(),
        },
        min_replicas: 1,
        max_replicas,
        weight: Weight::LIMIT,
        floor: None,
        elsewhere: None,
    }
}

pub fn application(chains: Vec<ChainRequest>, services: Vec<(&str, Service)>) -> SplitRequest {
    SplitRequest {
        application: "shop".into(),
        chains,
        services: (services.into_iter())
            .map(|(name, service)| (name.to_owned(), service))
            .collect(),
    }
}

/// By definition: a call takes its own time, then each sequential child or group of parallel ones, all of it once per
/// sequential visit.
pub fn takes(call: &Call, times: &BTreeMap<String, f64>) -> f64 {
    let mut total = times[&call.service];
    let mut side_by_side = Vec::new();
    for child in &call.children {
        match child.kind {
            EdgeKind::Async => {}
            EdgeKind::Parallel => side_by_side.push(takes(child, times)),
            EdgeKind::Sequential => {
                total += side_by_side.drain(..).fold(0.0, f64::max);
                total += takes(child, times);
            }
        }
    }
    total += side_by_side.drain(..).fold(0.0, f64::max);
    total * f64::from(call.max_visits)
}

fn load(call: &Call, name: &str, calls: f64) -> f64 {
    let calls = calls * call.visits;
    let own = if call.service == name { calls } else { 0.0 };
    own + (call.children.iter())
        .map(|child| load(child, name, calls))
        .sum::<f64>()
}

/// Requests per second of a service over all chains.
pub fn total_load(request: &SplitRequest, name: &str) -> f64 {
    (request.chains.iter())
        .map(|c| load(&c.chain.root, name, c.rate.get()))
        .sum()
}

pub fn split(request: &SplitRequest) -> Split {
    Reference::default().split(request).unwrap()
}

pub fn budget(split: &Split, service: &str) -> f64 {
    split.service(service).unwrap().budget.get()
}

pub fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b.abs().max(1.0)
}

/// a calls b calls c; `base` is b's.
pub fn line(objective: f64, base: f64) -> SplitRequest {
    application(
        vec![chain(
            "browse",
            40.0,
            objective,
            seq("a", vec![seq("b", vec![seq("c", vec![])])]),
        )],
        vec![
            ("a", service(10.0, 20.0, 9.0, 30)),
            ("b", service(base, 20.0, 9.0, 30)),
            ("c", service(10.0, 20.0, 9.0, 30)),
        ],
    )
}

/// The same under load that takes many pods.
pub fn busy(objective: f64, base: f64) -> SplitRequest {
    let mut request = line(objective, base);
    request.chains[0].rate = Rate::new(200.0).unwrap();
    request
}

/// A shop like Sock-Shop: 14 services of which 13 are waited for, five chains. `slow` multiplies the catalogue's work.
pub fn shop(load: f64, objective: f64, slow: f64) -> SplitRequest {
    let db = |name: &str| seq(name, vec![]);
    let catalogue = || {
        let queries = call("catalogue-db", EdgeKind::Sequential, 1.3, 2, vec![]);
        seq("catalogue", vec![queries])
    };
    let carts = || seq("carts", vec![db("carts-db")]);
    let user = || seq("user", vec![db("user-db")]);
    let user_beside = || par("user", vec![db("user-db")]);
    let shipping = {
        let queue = call("queue-master", EdgeKind::Async, 1.0, 1, vec![]);
        let broker = call("rabbitmq", EdgeKind::Async, 1.0, 1, vec![queue]);
        seq("shipping", vec![broker])
    };
    let orders = vec![
        user_beside(),
        par("carts", vec![db("carts-db")]),
        seq("payment", vec![]),
        shipping,
        db("orders-db"),
    ];
    let checkout = vec![user(), user_beside(), user_beside(), seq("orders", orders)];
    let history = vec![user(), seq("orders", vec![db("orders-db")])];
    let with_session = |mut children: Vec<Call>| {
        children.insert(0, db("session-db"));
        seq("front-end", children)
    };
    let chains = vec![
        chain(
            "browse",
            60.0 * load,
            objective,
            with_session(vec![catalogue()]),
        ),
        chain(
            "cart",
            30.0 * load,
            objective,
            with_session(vec![catalogue(), carts()]),
        ),
        chain(
            "login",
            10.0 * load,
            objective * 1.2,
            with_session(vec![user(), carts()]),
        ),
        chain(
            "checkout",
            6.0 * load,
            objective * 2.0,
            with_session(checkout),
        ),
        chain(
            "history",
            8.0 * load,
            objective * 1.2,
            with_session(history),
        ),
    ];
    let pods = 60;
    let services = vec![
        ("front-end", service(25.0, 30.0, 9.0, pods)),
        ("session-db", service(2.0, 300.0, 6.0, pods)),
        ("catalogue", service(9.0 * slow, 45.0 / slow, 12.0, pods)),
        ("catalogue-db", service(6.0, 80.0, 8.0, pods)),
        ("carts", service(30.0, 18.0, 7.0, pods)),
        ("carts-db", service(8.0, 60.0, 8.0, pods)),
        ("user", service(12.0, 40.0, 10.0, pods)),
        ("user-db", service(5.0, 90.0, 8.0, pods)),
        ("orders", service(45.0, 10.0, 6.0, pods)),
        ("orders-db", service(8.0, 60.0, 8.0, pods)),
        ("payment", service(4.0, 100.0, 10.0, pods)),
        ("shipping", service(6.0, 60.0, 10.0, pods)),
        ("rabbitmq", service(3.0, 200.0, 10.0, pods)),
        ("queue-master", service(10.0, 30.0, 10.0, pods)),
    ];
    application(chains, services)
}
