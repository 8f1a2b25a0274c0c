//! Roles that call each other over real connections.

use crate::harness::{Pod, SEED, Visitor};
use msars_shop::{Role, Route, Version, behaviour, draw};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Nothing listens there.
const NOBODY: &str = "127.0.0.1:1";

fn catalogue(version: &str, more: &[&str]) -> (Pod, Pod) {
    let database = Pod::start("catalogue-db", "v1", &[], &[]);
    let place = database.address.clone();
    let catalogue = Pod::start("catalogue", version, &[("catalogue-db", &place)], more);
    (catalogue, database)
}

#[tokio::test]
async fn a_request_goes_through_the_chain_and_every_role_counts_it() {
    let visitor = Visitor::new();
    let (catalogue, database) = catalogue("v1", &["--self-time"]);
    let peers = [("catalogue", catalogue.address.as_str())];
    let front = Pod::start("front-end", "v1", &peers, &["--self-time"]);
    for _ in 0..40 {
        assert_eq!(
            visitor.code(&front.address, "GET /catalogue?size=5").await,
            200
        );
    }
    let calls = visitor
        .metric(
            &front.address,
            "shop_calls_total",
            r#"callee="catalogue",outcome="ok""#,
        )
        .await;
    let served = visitor
        .metric(
            &catalogue.address,
            "shop_request_seconds_count",
            r#"code="200""#,
        )
        .await;
    let queried = visitor
        .metric(
            &database.address,
            "shop_request_seconds_count",
            r#"route="GET /query""#,
        )
        .await;
    // One list each, and tags for about half of them.
    assert!((50.0..70.0).contains(&calls), "{calls}");
    assert!((calls - served).abs() < 0.5 && (calls - queried).abs() < 0.5);

    // Nothing is parallel here, so self time and waits add up to the whole.
    let sum = |name: &'static str| visitor.metric(&front.address, name, "");
    let whole = sum("shop_request_seconds_sum").await;
    let parts = sum("shop_self_seconds_sum").await + sum("shop_call_seconds_sum").await;
    assert!((parts / whole - 1.0).abs() < 0.02, "{parts} of {whole}");
    assert_eq!(visitor.code(&front.address, "GET /nowhere").await, 404);
    assert!(
        visitor
            .metric(
                &front.address,
                "shop_request_seconds_count",
                r#"code="404""#
            )
            .await
            > 0.5
    );
}

/// What the harness's seed draws for that many requests after `skip` others, seconds of CPU.
fn drawn_s(route: &Route, skip: usize, count: usize) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let works = (0..skip + count).map(|_| draw(route, &mut rng).work_ms);
    works.skip(skip).sum::<f64>() / 1000.0
}

#[tokio::test]
async fn cpu_per_request_is_the_tables_http_included() {
    // The first windows measure what HTTP costs on this machine.
    const WARM_UP: usize = 200;
    const REQUESTS: usize = 200;
    let visitor = Visitor::new();
    let mut found = Vec::new();
    for version in ["v1", "v2", "v3"] {
        let (catalogue, _database) = catalogue(version, &[]);
        let at = catalogue.address.as_str();
        for _ in 0..WARM_UP {
            assert_eq!(visitor.code(at, "GET /catalogue?size=5").await, 200);
        }
        let before = visitor.metric(at, "process_cpu_seconds_total", "").await;
        for _ in 0..REQUESTS {
            assert_eq!(visitor.code(at, "GET /catalogue?size=5").await, 200);
        }
        let after = visitor.metric(at, "process_cpu_seconds_total", "").await;
        let table = behaviour(Role::Catalogue, version.parse::<Version>().unwrap());
        let route = table.route("GET /catalogue").unwrap();
        found.push((after - before) / drawn_s(route, WARM_UP, REQUESTS));
    }
    eprintln!("measured CPU over drawn CPU, v1 v2 v3: {found:.3?}");
    for ratio in &found {
        assert!((0.93..1.07).contains(ratio), "{found:?}");
    }
}

#[tokio::test]
async fn a_callee_that_is_down_is_an_error_that_is_counted_as_such() {
    let visitor = Visitor::new();
    let catalogue = Pod::start("catalogue", "v1", &[("catalogue-db", NOBODY)], &[]);
    let peers = [
        ("catalogue", catalogue.address.as_str()),
        ("session-db", NOBODY),
    ];
    let front = Pod::start("front-end", "v1", &peers, &[]);
    for _ in 0..3 {
        let answer = visitor.ask(&front.address, "GET /catalogue").await.unwrap();
        assert_eq!(answer.status(), 502);
        assert!(
            answer.body().contains(r#""callee":"catalogue""#),
            "{}",
            answer.body()
        );
    }
    let calls = |pod: String, with: &'static str| {
        let visitor = visitor.clone();
        async move { visitor.metric(&pod, "shop_calls_total", with).await }
    };
    let refused = calls(
        catalogue.address.clone(),
        r#"callee="catalogue-db",outcome="refused""#,
    )
    .await;
    let status = calls(
        front.address.clone(),
        r#"callee="catalogue",outcome="status""#,
    )
    .await;
    let good = calls(front.address.clone(), r#"outcome="ok""#).await;
    assert!((refused - 3.0).abs() < 0.1 && (status - 3.0).abs() < 0.1 && good.abs() < 0.1);
    let failed = visitor
        .metric(
            &front.address,
            "shop_request_seconds_count",
            r#"code="502""#,
        )
        .await;
    assert!((failed - 3.0).abs() < 0.1);
}

#[tokio::test]
async fn a_worker_is_held_while_its_request_waits() {
    let visitor = Visitor::new();
    let (catalogue, _database) = catalogue("v1", &["--self-time"]);
    let peers = [("catalogue", catalogue.address.as_str())];
    let front = Pod::start(
        "front-end",
        "v1",
        &peers,
        &["--self-time", "--workers", "1"],
    );
    let requests = (0..30).map(|_| visitor.code(&front.address, "GET /catalogue"));
    let codes = futures::future::join_all(requests).await;
    assert!(codes.iter().all(|code| *code == 200), "{codes:?}");
    // The front end works 0.8 ms on each; with one worker they queue for the catalogue's
    // time too, and queueing is self time.
    let own = visitor
        .metric(&front.address, "shop_self_seconds_sum", "")
        .await;
    let waits = visitor
        .metric(&front.address, "shop_call_seconds_sum", "")
        .await;
    assert!(
        own > 3.0 * waits,
        "{own} s of self time, {waits} s of waits"
    );
}

#[tokio::test]
async fn a_connection_is_closed_by_the_answer_that_says_so() {
    let visitor = Visitor::new();
    let database = Pod::start("catalogue-db", "v1", &[], &["--connection-requests", "5"]);
    let mut closes = Vec::new();
    for _ in 0..20 {
        let answer = visitor.ask(&database.address, "GET /query").await.unwrap();
        closes.push(answer.headers().contains_key("connection"));
    }
    assert_eq!(
        closes.iter().filter(|close| **close).count(),
        4,
        "{closes:?}"
    );
}
