//! Draining, against an API server of a few objects.

use std::time::Duration;

use http::Method;
use msars_api::annotations::{HOLD_HASH, HOLD_SINCE, HOLD_UNTIL};
use msars_gate::revision_hash;
use msars_observe::Observed;
use msars_plan::State;

use super::super::Workloads;
use super::super::drain::{Drained, settled};
use super::adopting::{copy, hpa};
use super::server::{AUTOSCALERS, DEPLOYMENTS, PODS, Server, deployed, lead, scaled};
use super::*;

const SOON: Duration = Duration::from_secs(20);

/// Pods of twice the template's size are in force.
fn remembers(name: &str) -> Value {
    let state = State {
        size: Some(MilliCpu(400)),
        replicas: Some(2),
        ..State::default()
    };
    let mut autoscaler = scaled(name);
    let born = json!({"revision": "h1", "sizeMilli": 400, "replicas": 2});
    autoscaler["status"] =
        json!({"memory": serde_json::to_string(&state).unwrap(), "sizes": [born]});
    autoscaler
}

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

/// Stores how a Deployment's controller answers: everything it asks for is available.
fn available(server: &Server, name: &str) {
    let mut object = server.get(DEPLOYMENTS, name);
    object["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
    object["status"]["availableReplicas"] = object["spec"]["replicas"].clone();
    server.put(DEPLOYMENTS, &object);
}

/// A drain of its own, which waits for nobody.
async fn drained(server: &Server) -> Drained {
    available(server, "shop/carts");
    let (mut workloads, _tasks) = server.workloads(lead(60)).await;
    Box::pin(workloads.drain(None, Duration::ZERO)).await
}

fn replicas(server: &Server) -> Value {
    server.get(DEPLOYMENTS, "shop/carts")["spec"]["replicas"].clone()
}

#[tokio::test]
async fn a_drain_waits_for_what_it_wrote_and_forgets() {
    let server = Server::default();
    server.put(DEPLOYMENTS, &held("carts"));
    server.put(AUTOSCALERS, &remembers("carts"));
    for name in ["a", "b"] {
        server.put(PODS, &serde_json::to_value(&*pod(name, "h1")).unwrap());
    }
    let (mut workloads, _tasks) = server.workloads(lead(60)).await;
    let drain = Box::pin(workloads.drain(None, SOON));
    let controller = async {
        // Nothing is known of its load: as much CPU as before.
        while replicas(&server) != json!(4) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        available(&server, "shop/carts");
    };
    let begun = tokio::time::Instant::now();
    let (drained, ()) = tokio::join!(drain, controller);
    assert!(begun.elapsed() >= Duration::from_millis(50), "it waits");
    let wanted = Drained {
        left: vec![key()],
        released: vec![key()],
        ..Drained::default()
    };
    assert_eq!(drained, wanted);
    let stored = server.get(DEPLOYMENTS, "shop/carts");
    assert!(
        stored["spec"]
            .get("paused")
            .is_none_or(|paused| paused == false)
    );
    let autoscaler = server.get(AUTOSCALERS, "shop/carts");
    assert_eq!(autoscaler["spec"]["mode"], "off");
    assert!(autoscaler["status"]["memory"].is_null());
    // Those that are born now are of the size by which they were counted.
    let written = server.written();
    let at = |end: &str| written.iter().position(|one| one.ends_with(end));
    let (sizes, scale) = (at("sloautoscalers/carts/status"), at("carts/scale"));
    assert!(sizes.is_some() && sizes < scale, "{written:?}");
}

#[tokio::test]
async fn what_is_not_enough_is_told_and_found_again_by_the_next_drain() {
    let server = Server::default();
    let mut bounded = deployed("carts");
    bounded["metadata"]["annotations"]["msars.io/max-replicas"] = json!("3");
    server.put(DEPLOYMENTS, &bounded);
    server.put(AUTOSCALERS, &remembers("carts"));
    // (what is refused; replicas then, and the words that tell it)
    let table = [
        (Some(("carts/scale", 403)), 2, "was refused"),
        (Some(("carts/scale", 503)), 2, "got no answer"),
        (None, 3, "--replicas=4"),
        (None, 3, "--replicas=4"),
    ];
    for (refused, found, words) in table {
        server.relent();
        if let Some((end, code)) = refused {
            server.refuse(Method::PUT, end, code);
        }
        let drained = drained(&server).await;
        assert_eq!(replicas(&server), json!(found), "{drained:?}");
        let told = drained.wrong.iter().any(|one| one.contains(words));
        assert!(told && drained.left.is_empty(), "{drained:?}");
        let autoscaler = server.get(AUTOSCALERS, "shop/carts");
        assert_eq!(autoscaler["spec"]["mode"], "auto");
        assert!(!autoscaler["status"]["memory"].is_null());
    }
    let mut raised = server.get(DEPLOYMENTS, "shop/carts");
    raised["spec"]["replicas"] = json!(4);
    server.put(DEPLOYMENTS, &raised);
    let wanted = Drained {
        left: vec![key()],
        ..Drained::default()
    };
    assert_eq!(drained(&server).await, wanted);
}

#[tokio::test]
async fn without_the_lead_nothing_is_left() {
    let server = Server::default();
    server.put(DEPLOYMENTS, &deployed("carts"));
    server.put(AUTOSCALERS, &remembers("carts"));
    let (mut workloads, _tasks) = server.workloads(lead(0)).await;
    let drained = Box::pin(workloads.drain(None, SOON)).await;
    assert_eq!(server.written(), Vec::<String>::new());
    assert!(
        drained.wrong[0].contains("another replica leads"),
        "{drained:?}"
    );
}

#[tokio::test]
async fn a_shadow_pod_goes_and_one_of_its_name_made_since_stays() {
    let copy = |uid: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop", "name": "copy", "uid": uid, "labels": {"msars.io/shadow": "subject"}},
        })
    };
    for (stored, left) in [("p1", Value::Null), ("p2", json!("p2"))] {
        let server = Server::default();
        server.put(PODS, &copy("p1"));
        let (mut workloads, _tasks) = server.workloads(lead(60)).await;
        server.silence(PODS);
        server.put(PODS, &copy(stored));
        let drained = Box::pin(workloads.drain(None, Duration::ZERO)).await;
        let wanted = Drained {
            deleted: vec![ObjectKey::new("shop", "copy")],
            ..Drained::default()
        };
        assert_eq!(drained, wanted, "{stored}");
        let found = server.get(PODS, "shop/copy");
        assert_eq!(found["metadata"]["uid"], left, "{stored}");
    }
}

#[tokio::test]
async fn a_hold_that_begins_during_a_drain_is_released_too() {
    let server = Server::default();
    server.put(DEPLOYMENTS, &deployed("carts"));
    // The Lease was given back.
    let (workloads, _tasks) = server.workloads(lead(0)).await;
    let mut drained = Drained::default();
    let free = workloads.free(Some("shop"), &mut drained);
    let update = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.put(DEPLOYMENTS, &held("carts"));
    };
    let ((), ()) = tokio::join!(free, update);
    assert_eq!((drained.released, drained.wrong), (vec![key()], vec![]));
}

#[test]
fn a_deployment_is_settled_when_all_that_was_written_is_seen_and_available() {
    // (generation, the one seen by its controller, replicas, available; the one to wait for)
    let table = [
        ((3, 3, 2, 2), None, true),
        ((3, 2, 2, 2), None, false),
        ((3, 3, 2, 1), None, false),
        ((3, 3, 2, 2), Some(4), false),
        ((4, 4, 4, 2), Some(4), false),
        ((4, 4, 4, 4), Some(4), true),
        ((5, 5, 4, 4), Some(4), true),
    ];
    for ((generation, observed, replicas, available), since, wanted) in table {
        let object = json!({
            "metadata": {"generation": generation}, "spec": {"replicas": replicas},
            "status": {"observedGeneration": observed, "availableReplicas": available},
        });
        assert_eq!(settled(&object, since), wanted, "{object} since {since:?}");
    }
}

/// Ticks of a workload whose autoscaler was taken over and cannot be made again; its replicas after each.
async fn owed(server: &Server, ticks: u32) -> Vec<Value> {
    server.refuse(Method::POST, "horizontalpodautoscalers", 403);
    let (mut workloads, _tasks) = server.workloads(lead(60)).await;
    let seen = Observed {
        signals: vec![signals(1.0)],
        ..Observed::default()
    };
    let mut found = Vec::new();
    for _ in 0..ticks {
        workloads.tick(&seen).await;
        let stored = |workloads: &Workloads| {
            let wanted = server.get(DEPLOYMENTS, "shop/carts")["metadata"]["generation"].clone();
            let all = workloads.world.workloads();
            let seen = all
                .get(&key())
                .map(|one| one.object["metadata"]["generation"].clone());
            seen.is_none_or(|seen| seen == wanted)
        };
        while !stored(&workloads) {
            workloads.world.changed.notified().await;
        }
        found.push(replicas(server));
    }
    found
}

#[tokio::test]
async fn while_an_autoscaler_is_owed_replicas_are_raised_once() {
    // Opted out, or without the annotation that takes over: pods of twice the template's size are in force.
    for mode in ["off", "auto"] {
        let server = Server::default();
        let mut object = deployed("carts");
        object["metadata"]["annotations"]["msars.io/mode"] = json!(mode);
        server.put(DEPLOYMENTS, &object);
        let mut taken = remembers("carts");
        let copy = serde_json::to_value(copy(&hpa(|_| ()))).unwrap();
        taken["status"]["adopted"] = copy;
        server.put(AUTOSCALERS, &taken);
        for name in ["a", "b"] {
            server.put(PODS, &serde_json::to_value(&*pod(name, "h1")).unwrap());
        }
        let found = owed(&server, 4).await;
        assert_eq!(found, vec![json!(4); 4], "{mode}");
    }
}
