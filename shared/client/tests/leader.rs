//! The election loop against a scripted API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

use std::{sync::Arc, time::Duration};

use http::{Method, Request, Response};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, client::Body};
use msars_client::leader::{Candidate, leads};
use msars_client::lease::Seen;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower_test::mock::{self, Handle};

type Server = Handle<Request<Body>, Response<Body>>;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn candidate() -> Candidate {
    Candidate {
        lease: "msars".to_owned(),
        me: "me".to_owned(),
        duration: SignedDuration::from_secs(15),
        every: Duration::from_secs(5),
    }
}

fn lease(holder: &str, age: i64) -> Value {
    let renewed = now() - SignedDuration::from_secs(age);
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "msars", "resourceVersion": "7" },
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 3,
            "renewTime": format!("{renewed:.6}"),
        },
    })
}

fn failure(code: u16) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
            "reason": if code == 404 { "NotFound" } else { "Conflict" }, "message": "scripted" })
}

/// Answers the next request; returns its method and body.
async fn answer(server: &mut Server, code: u16, body: Value) -> (Method, Value) {
    let (request, send) = server.next_request().await.unwrap();
    let (head, sent) = request.into_parts();
    let sent = sent.collect_bytes().await.unwrap();
    let answer = Response::builder().status(code);
    send.send_response(
        answer
            .body(Body::from(body.to_string().into_bytes()))
            .unwrap(),
    );
    (
        head.method,
        serde_json::from_slice(&sent).unwrap_or_default(),
    )
}

fn api() -> (Api<Lease>, Server) {
    let (service, server) = mock::pair();
    (Api::namespaced(Client::new(service, "ns"), "ns"), server)
}

#[test]
fn a_claim_leads_before_its_end_and_not_at_it() {
    for (claim, leading) in [
        (None, false),
        (Some(now() - SignedDuration::from_secs(1)), false),
        (Some(now()), false),
        (Some(now() + SignedDuration::from_millis(1)), true),
    ] {
        assert_eq!(leads(&watch::channel(claim).1, now()), leading, "{claim:?}");
    }
}

/// One round that finds this Lease and writes nothing.
async fn reads(
    seen: &mut Seen,
    (api, server): (&Api<Lease>, &mut Server),
    found: Value,
) -> Option<Timestamp> {
    let me = candidate();
    let (claim, _) = tokio::join!(me.round(api, seen, now()), answer(server, 200, found));
    claim.unwrap()
}

#[tokio::test(start_paused = true)]
async fn takes_a_lease_that_stood_still_for_its_duration_at_the_version_it_read() {
    // By the holder's clock it is long over, just renewed, or renewed in 20 minutes.
    for age in [3600, 0, -1200] {
        let (api, mut server) = api();
        let (me, mut seen) = (candidate(), Seen::default());
        for seconds in [14, 1] {
            let found = lease("other", age);
            assert_eq!(reads(&mut seen, (&api, &mut server), found).await, None);
            tokio::time::advance(Duration::from_secs(seconds)).await;
        }
        let script = async {
            answer(&mut server, 200, lease("other", age)).await;
            answer(&mut server, 200, lease("me", 0)).await
        };
        let (claim, (method, sent)) = tokio::join!(me.round(&api, &mut seen, now()), script);
        assert_eq!(claim.unwrap(), Some(now() + SignedDuration::from_secs(15)));
        assert_eq!(method, Method::PUT);
        assert_eq!(sent["metadata"]["resourceVersion"], "7");
        assert_eq!(sent["spec"]["holderIdentity"], "me");
        assert_eq!(sent["spec"]["leaseTransitions"], 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_renews_keeps_its_lease_however_far_its_clock_is_behind() {
    let (api, mut server) = api();
    let mut seen = Seen::default();
    for round in 0..12 {
        let found = lease("other", 3600 - 5 * round);
        assert_eq!(reads(&mut seen, (&api, &mut server), found).await, None);
        tokio::time::advance(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_whose_clock_was_ahead_is_followed_after_its_duration() {
    let (api, mut server) = api();
    let begun = tokio::time::Instant::now();
    let stop = watch::Sender::new(false);
    let running = {
        let stop = stop.subscribe();
        tokio::spawn(async move {
            let claim = watch::Sender::new(None);
            candidate().run(&api, now, &claim, stop).await;
        })
    };
    let sent = loop {
        let (method, sent) = answer(&mut server, 200, lease("other", -1200)).await;
        if method == Method::PUT {
            break sent;
        }
    };
    assert_eq!(sent["spec"]["holderIdentity"], "me");
    let took = begun.elapsed();
    assert!((15..=20).contains(&took.as_secs()), "{took:?}");
    running.abort();
}

#[tokio::test]
async fn conflict_is_no_claim_and_no_error() {
    // Neither is one that was given up waited for.
    for (read, found) in [(404, failure(404)), (200, lease("", 1))] {
        let (api, mut server) = api();
        let script = async {
            answer(&mut server, read, found).await;
            answer(&mut server, 409, failure(409)).await;
        };
        let (me, mut seen) = (candidate(), Seen::default());
        let (claim, ()) = tokio::join!(me.round(&api, &mut seen, now()), script);
        assert_eq!(claim.unwrap(), None);
    }
}

#[tokio::test]
async fn waits_for_a_running_lease_without_writing() {
    let (api, mut server) = api();
    let mut seen = Seen::default();
    let found = lease("other", 1);
    assert_eq!(reads(&mut seen, (&api, &mut server), found).await, None);
}

#[tokio::test(start_paused = true)]
async fn silence_lets_the_claim_run_out_and_the_end_vacates() {
    let (api, mut server) = api();
    let begun = tokio::time::Instant::now();
    let clock = move || {
        let passed = SignedDuration::try_from(begun.elapsed()).unwrap();
        now() + passed
    };
    let claim = Arc::new(watch::Sender::new(None));
    let stop = watch::Sender::new(false);
    let running = {
        let (claim, stop) = (Arc::clone(&claim), stop.subscribe());
        tokio::spawn(async move { candidate().run(&api, clock, &claim, stop).await })
    };
    let mut seen = claim.subscribe();
    answer(&mut server, 200, lease("me", 1)).await;
    answer(&mut server, 200, lease("me", 0)).await;
    seen.wait_for(Option::is_some).await.unwrap();

    // From here on the API server takes requests and says nothing.
    let mut silent = Vec::new();
    while claim.borrow().is_some() {
        tokio::select! {
            request = server.next_request() => silent.push(request),
            changed = seen.changed() => changed.unwrap(),
        }
    }
    let lasted = begun.elapsed();
    assert!((15..=30).contains(&lasted.as_secs()), "{lasted:?}");

    // It speaks again: the claim comes back, and the end gives the Lease away.
    drop(silent);
    answer(&mut server, 200, lease("me", 30)).await;
    answer(&mut server, 200, lease("me", 0)).await;
    seen.wait_for(Option::is_some).await.unwrap();
    stop.send_replace(true);
    answer(&mut server, 200, lease("me", 0)).await;
    let (method, sent) = answer(&mut server, 200, lease("", 0)).await;
    assert_eq!(method, Method::PUT);
    assert!(sent["spec"].get("holderIdentity").is_none());
    running.await.unwrap();
    assert_eq!(*claim.borrow(), None);
}
