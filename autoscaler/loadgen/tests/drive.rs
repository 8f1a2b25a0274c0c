//! The driver against a target inside the test. Times are compared with what the seed's schedule implies, never with
//! absolute bounds from above: a slow machine makes latencies longer, not these tests red.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

mod target;

use std::io::Cursor;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use base64::Engine;
use hdrhistogram::Histogram;
use msars_domain::load::{EndedBy, RunResult};
use msars_domain::{Millis, Rate};
use msars_loadgen::{Plan, Schedule, TraceScale, drive};

const MS: Duration = Duration::from_millis(1);

fn plan(address: impl std::fmt::Display, requests: &str, rate: f64, duration: Duration) -> Plan {
    Plan {
        timeout: 60_000 * MS,
        in_flight: 10_000,
        window: 100 * MS,
        ..Plan::new(
            format!("http://{address}").parse().unwrap(),
            requests.parse().unwrap(),
            Schedule::constant(Rate::new(rate).unwrap()),
            duration,
        )
    }
}

async fn run(plan: &Plan) -> RunResult {
    drive(plan, std::future::pending(), |_| {}).await.unwrap()
}

/// Offsets the plan's seed intends.
fn intended(plan: &Plan) -> Vec<Duration> {
    let arrivals = plan.schedule.arrivals(plan.seed);
    arrivals.take_while(|o| *o < plan.duration).collect()
}

fn histogram(result: &RunResult) -> Histogram<u64> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(&result.histogram);
    hdrhistogram::serialization::Deserializer::new()
        .deserialize(&mut Cursor::new(bytes.unwrap()))
        .unwrap()
}

#[tokio::test]
async fn a_stall_shows_in_every_request_intended_during_it() {
    let (address, seen) = target::start().await;
    let plan = plan(address, "GET /stall", 300.0, 400 * MS);
    let offsets = intended(&plan);
    // The stall ends at the earliest STALL after the first intended request, whoever comes late.
    let end = offsets[0] + target::STALL;
    let result = run(&plan).await;
    let found = histogram(&result);
    assert_eq!(found.len(), offsets.len() as u64);
    for left in [20, 50, 100, 150].map(|ms| ms * MS) {
        let held = offsets.iter().filter(|o| **o + left <= end).count() as u64;
        // Three digits of the histogram are 0.1 %.
        let least = left.as_micros() as u64 * 998 / 1000;
        let at_least = found.count_between(least, found.high());
        assert!(
            held > 5 && at_least >= held,
            "{left:?}: {at_least} of {held}"
        );
    }
    // Nobody waited for an answer before sending on: at some time most of the stall's requests were held at once,
    // each on its own connection.
    let during = offsets.iter().filter(|o| **o < end).count();
    assert!(seen.connections.load(SeqCst) >= during.min(8));
    assert_eq!(result.total.sent, offsets.len() as u64);
}

#[tokio::test]
async fn arrivals_above_the_bound_are_dropped_and_the_schedule_goes_on() {
    let (address, seen) = target::start().await;
    let plan = Plan {
        in_flight: 5,
        timeout: 1000 * MS,
        ..plan(address, "GET /never", 200.0, 300 * MS)
    };
    let result = run(&plan).await;
    let total = result.total;
    assert_eq!(total.sent + total.dropped, intended(&plan).len() as u64);
    assert_eq!(
        (total.sent, total.failed, total.outcomes.timeout),
        (5, 5, 5)
    );
    assert_eq!(seen.requests.load(SeqCst), 5);
    assert!(
        total.latency.unwrap().p50.get() >= 998.0,
        "timeouts count with their wait"
    );
    assert!((result.offered.get() - intended(&plan).len() as f64 / 0.3).abs() < 1e-6);
}

#[tokio::test]
async fn ends_on_time_on_count_with_the_trace_and_when_told() {
    let (address, _) = target::start().await;
    let by_time = plan(address, "GET /", 100.0, 300 * MS);
    let result = run(&by_time).await;
    assert_eq!(result.ended_by, EndedBy::Time);
    assert_eq!(result.total.sent, intended(&by_time).len() as u64);
    assert_eq!(result.windows.len(), 3);

    let by_count = Plan {
        max_requests: 10,
        ..plan(address, "GET /", 500.0, Duration::MAX)
    };
    let result = run(&by_count).await;
    assert_eq!((result.ended_by, result.total.sent), (EndedBy::Count, 10));

    let scale = TraceScale {
        time: 600.0,
        ..TraceScale::default()
    };
    let by_trace = Plan {
        schedule: Schedule::trace("100\n0\n200", scale).unwrap(),
        ..plan(address, "GET /", 1.0, Duration::MAX)
    };
    let result = run(&by_trace).await;
    assert_eq!((result.ended_by, result.windows.len()), (EndedBy::Time, 3));
    assert_eq!(result.windows[1].tally.sent, 0);
    assert!(result.windows[2].tally.sent > result.windows[0].tally.sent);

    let told = plan(address, "GET /", 1e-9, Duration::MAX);
    let result = drive(&told, tokio::time::sleep(20 * MS), |_| {})
        .await
        .unwrap();
    assert_eq!((result.ended_by, result.total.sent), (EndedBy::Stop, 0));
    assert_eq!(result.total.latency, None);
}

#[tokio::test]
async fn windows_are_gapless_seen_once_and_add_up() {
    let (address, _) = target::start().await;
    let plan = Plan {
        window: 50 * MS,
        ..plan(
            address,
            "GET /; POST /echo {\"a\": \";\"}; GET /503; GET /404",
            400.0,
            525 * MS,
        )
    };
    let mut seen = Vec::new();
    let result = drive(&plan, std::future::pending(), |w| seen.push(*w))
        .await
        .unwrap();
    assert_eq!(seen, result.windows);
    assert_eq!(seen.len(), 11);
    assert!(seen.windows(2).all(|w| w[0].end == w[1].start));
    assert_eq!(
        (seen[0].start, seen[10].end),
        (result.started, result.ended)
    );
    let total = result.total;
    assert_eq!(seen.iter().map(|w| w.tally.sent).sum::<u64>(), total.sent);
    assert_eq!(total.outcomes.failed(), total.failed);

    let class = |name: &str| {
        let mut classes = result.classes.iter();
        classes.find(|c| c.request == name).unwrap().tally
    };
    assert_eq!(
        result.classes.iter().map(|c| c.tally.sent).sum::<u64>(),
        total.sent
    );
    let (down, gone) = (class("GET /503"), class("GET /404"));
    assert_eq!((down.failed, down.latency), (down.sent, None));
    assert_eq!((gone.failed, gone.outcomes.client_error), (0, gone.sent));
    assert_eq!(
        class("POST /echo").outcomes.success,
        class("POST /echo").sent
    );
    assert!(result.driver.cpu_us_per_request > 0.0);
    assert!(result.driver.lag_p50 <= result.driver.lag_p99);
}

#[tokio::test]
async fn connections_are_kept_and_given_up_with_age() {
    let (address, seen) = target::start().await;
    let kept = Plan {
        connection_age: 3_600_000 * MS,
        spread: 3,
        in_flight: 20,
        ..plan(address, "GET /", 300.0, 300 * MS)
    };
    let result = run(&kept).await;
    let opened = seen.connections.load(SeqCst) as u64;
    assert_eq!(result.driver.connections, opened);
    // Never more than are in flight at once: none is opened while one is idle.
    assert!((3..=20).contains(&opened), "{opened}");

    let aged = Plan {
        connection_age: Duration::ZERO,
        in_flight: 10_000,
        ..kept
    };
    let result = run(&aged).await;
    assert_eq!(result.driver.connections, result.total.sent);
    assert_eq!(result.total.failed, 0);
}

#[tokio::test]
async fn a_target_that_is_not_there_is_a_result() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let result = run(&plan(address, "GET /", 100.0, 200 * MS)).await;
    assert!(result.total.sent > 0);
    assert_eq!(result.total.outcomes.connection, result.total.sent);
    assert_eq!(result.total.latency, None);
}

#[tokio::test]
async fn dropping_a_run_closes_its_connections() {
    let (address, seen) = target::start().await;
    let plan = plan(address, "GET /never", 200.0, Duration::MAX);
    let run = tokio::spawn(async move { run(&plan).await });
    while seen.under_way.load(SeqCst) < 5 {
        tokio::time::sleep(MS).await;
    }
    run.abort();
    while seen.under_way.load(SeqCst) > 0 {
        tokio::time::sleep(MS).await;
    }
}

#[tokio::test]
async fn a_driver_that_is_itself_late_says_so() {
    let (address, _) = target::start().await;
    let plan = plan(address, "GET /", 400.0, 100 * MS);
    let first = intended(&plan)[0];
    // Takes the only thread as soon as the driver waits for its first arrival.
    tokio::spawn(async { std::thread::sleep(100 * MS) });
    let result = run(&plan).await;
    let least = (100 * MS).checked_sub(first).unwrap().as_secs_f64() * 1000.0 * 0.98;
    assert!(result.driver.lag_max.get() >= least, "{:?}", result.driver);
    assert!(result.windows[0].driver_late(Millis::new(least / 2.0).unwrap()));
    assert_eq!(result.total.sent, intended(&plan).len() as u64);
}
