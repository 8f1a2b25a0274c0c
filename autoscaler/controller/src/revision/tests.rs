//! Rounds against an API server of a few objects, of a replica that leads and of one that does no more.

use msars_api::annotations::{HOLD_HASH, HOLD_SINCE, HOLD_UNTIL};
use msars_api::names;
use msars_gate::revision_hash;
use msars_ops::shutdown::Tasks;
use serde_json::{Value, json};

use super::queue::Running;
use super::size::tests::{answers, lead};
use super::*;
use crate::lead::Lead;
use crate::workload::tests::server::{DEPLOYMENTS, PODS, Server, deployed};

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// The task on a complete copy of what is stored. The tasks end with the second.
async fn revisions(server: &Server, lead: Lead) -> (Revisions, Tasks) {
    let (world, client, tasks) = server.world().await;
    let own = Own::new(client.clone(), "test");
    let mut bench = answers(Vec::new());
    bench.client = client;
    bench.lead = lead;
    bench.now = now;
    let board = Arc::clone(&bench.board);
    (Revisions::new(world, own, bench, board, 2), tasks)
}

/// A lead that the server may end.
fn ended_by(server: &Server) -> Lead {
    Lead::new(server.lead(), now)
}

/// A Deployment that is held and no longer asks for it.
fn held(name: &str) -> Value {
    let mut object = deployed(name);
    object["spec"]["paused"] = json!(true);
    let hash = revision_hash(&object["spec"]["template"]).to_string();
    let notes = &mut object["metadata"]["annotations"];
    notes[HOLD_HASH] = json!(hash);
    notes[HOLD_SINCE] = json!("2026-03-01T11:59:00Z");
    notes[HOLD_UNTIL] = json!("2026-03-01T12:01:00Z");
    object
}

/// A shadow pod of no job.
fn stray(uid: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": "stray", "uid": uid, "labels": {names::SHADOW_LABEL: "subject"}},
    })
}

/// A server with two holds to end, and a pod to sweep.
fn busy() -> Server {
    let server = Server::default();
    for name in ["carts", "orders"] {
        server.put(DEPLOYMENTS, &held(name));
    }
    server.put(PODS, &stray("p1"));
    server
}

#[tokio::test]
async fn who_loses_the_lead_between_two_writes_of_a_round_leaves_the_rest() {
    let swept = "DELETE /api/v1/namespaces/shop/pods/stray";
    let let_go = |name| format!("PATCH /apis/apps/v1/namespaces/shop/deployments/{name}");
    let all = [swept.to_owned(), let_go("carts"), let_go("orders")];
    // What is asked as the lead ends, and how many writes were made by then.
    for (ends, written) in [
        (None, 3),
        (Some("pods/stray"), 1),
        (Some("deployments/carts"), 2),
    ] {
        let server = busy();
        let (mut revisions, _tasks) = revisions(&server, ended_by(&server)).await;
        if let Some(end) = ends {
            server.end_lead_at(end);
        }
        let whole = Box::pin(revisions.round()).await;
        assert_eq!(whole.is_some(), ends.is_none(), "{ends:?}");
        assert_eq!(server.written(), all[..written], "{ends:?}");
    }
    let server = busy();
    let (mut revisions, _tasks) = revisions(&server, lead(false)).await;
    // It led when the round began.
    assert_eq!(Box::pin(revisions.round()).await, None);
    assert_eq!(server.written(), Vec::<String>::new());
}

#[tokio::test]
async fn who_loses_the_lead_in_a_round_tells_its_jobs_to_end() {
    let server = busy();
    let (mut revisions, _tasks) = revisions(&server, ended_by(&server)).await;
    let workloads = revisions.world.workloads();
    let key = ObjectKey::new("shop", "carts");
    let key = (key.clone(), workloads[&key].revision.clone());
    let times = Running {
        since: now(),
        until: now(),
    };
    revisions.jobs.start(
        key.clone(),
        (times, None),
        |progress, mut stop| async move {
            drop(stop.wait_for(|stop| *stop).await);
            drop(progress);
            Err(JobError::Stopped)
        },
    );
    server.end_lead_at("pods/stray");
    Box::pin(revisions.turn()).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), revisions.jobs.ended()).await;
    assert_eq!(ended.unwrap().unwrap().0, key);
}

#[tokio::test]
async fn the_janitor_spares_a_pod_of_the_same_name_made_since() {
    for (stored, left) in [("p1", Value::Null), ("p2", json!("p2"))] {
        let server = Server::default();
        server.put(PODS, &stray("p1"));
        let (mut revisions, _tasks) = revisions(&server, lead(true)).await;
        // The copy does not show it yet.
        server.put(PODS, &stray(stored));
        let whole = Box::pin(revisions.round()).await;
        assert_eq!(whole, Some(()), "{stored}");
        let found = server.get(PODS, "shop/stray");
        assert_eq!(found["metadata"]["uid"], left, "{stored}");
    }
}

#[tokio::test]
async fn what_fails_for_who_leads_no_more_is_no_failure_of_the_revision() {
    let key: Key = (ObjectKey::new("shop", "carts"), "r2".into());
    for leads in [true, false] {
        let server = Server::default();
        let (mut revisions, _tasks) = revisions(&server, lead(leads)).await;
        // The next leader swept its pods.
        let failure = JobError::Evicted("pod shop/copy is gone".into());
        revisions.end(key.clone(), Ok(Err(failure))).await;
        assert_eq!(revisions.failed.contains_key(&key), leads);
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_events_makes_few_rounds_and_a_lone_one_is_told_at_once() {
    let changed = Arc::new(Notify::new());
    let begun = Instant::now();
    changed.notify_one();
    news(&changed, begun).await;
    assert!(begun.elapsed() < PAUSE / 10);

    let events = Arc::clone(&changed);
    let burst = tokio::spawn(async move {
        loop {
            events.notify_one();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut rounds = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        news(&changed, Instant::now() + PAUSE).await;
        rounds += 1;
    }
    assert!((9..=10).contains(&rounds), "{rounds} in two seconds");
    burst.abort();

    // The last of a burst is not lost, and is told after the pause at the latest.
    let last = Instant::now();
    changed.notify_one();
    news(&changed, last + PAUSE).await;
    assert!((PAUSE..PAUSE * 2).contains(&last.elapsed()));
}
