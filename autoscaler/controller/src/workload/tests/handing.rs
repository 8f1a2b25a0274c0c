use msars_api::annotations::Adopt;
use msars_client::apply::{Applied, apply};
use msars_plan::State;

use super::super::adopt::{self, Case, Next};
use super::super::hands::{Hands, Task};
use super::acting::Script;
use super::adopting::{adopting, copy, decided, hpa, object, stored_hpa};
use super::*;
use crate::metrics::Metrics;
use crate::own::Own;
use crate::world::hpa::{self, Hpa};

fn hands(script: &Script) -> Hands {
    let client = script.client();
    Hands {
        client: client.clone(),
        own: Own::new(client, "test"),
        now,
        metrics: Metrics::default(),
    }
}

/// One tick with the autoscaler there: the writes in order, and what is stored then.
async fn taken(
    refuse: &[(&'static str, (u16, &'static str))],
    rate: f64,
) -> (Vec<String>, SloAutoscaler) {
    let script = Script::new(refuse);
    let all = [object(&stored_hpa())];
    let (workload, seen) = adopting(rate, &autoscaler(), &all);
    let decision = decided(&seen);
    let task = Task {
        found: hpa::found(&all, &key()),
        workload,
        autoscaler: Arc::new(autoscaler()),
        seen,
        decision,
        before: State::default(),
        old: false,
        now: now(),
    };
    hands(&script).carry(task).await;
    let asked = script.asked.lock().unwrap().clone();
    let stored = script.stored.lock().unwrap().clone();
    (
        asked
            .into_iter()
            .filter(|one| one != "POST events")
            .collect(),
        stored,
    )
}

fn condition(autoscaler: &SloAutoscaler) -> (String, String) {
    let status = autoscaler.status.as_ref().unwrap();
    let found = status.conditions.iter().find(|c| c.type_ == "Adopted");
    let found = found.unwrap();
    (found.status.clone(), found.reason.clone())
}

fn pair(status: &str, reason: &str) -> (String, String) {
    (status.into(), reason.into())
}

#[tokio::test]
async fn the_whole_spec_is_stored_before_the_delete() {
    let (asked, stored) = taken(&[], 30.0).await;
    assert_eq!(asked, ["PUT status", "PUT status", "DELETE carts"]);
    assert_eq!(condition(&stored), pair("False", "Stored"));
    let kept = stored.status.unwrap().adopted.unwrap();
    assert_eq!(kept.spec, stored_hpa()["spec"]);
    assert_eq!(kept.at, now().to_string());
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_deleted_and_a_refused_delete_keeps_the_copy() {
    let (asked, stored) = taken(&[("status", (503, "shutting down"))], 30.0).await;
    assert!(!asked.iter().any(|one| one == "DELETE carts"), "{asked:?}");
    assert_eq!(stored.status, None);
    for refused in [
        (403, "User \"x\" cannot delete resource"),
        (409, "the UID in the precondition"),
    ] {
        let (asked, stored) = taken(&[("carts", refused)], 30.0).await;
        assert!(asked.iter().any(|one| one == "DELETE carts"), "{asked:?}");
        let reason = if refused.0 == 403 {
            "FailedAdoption"
        } else {
            "Stored"
        };
        assert_eq!(condition(&stored), pair("False", reason));
        let status = stored.status.unwrap();
        assert!(status.adopted.is_some());
        let all = serde_json::to_string(&status.conditions).unwrap();
        let grant = "kubectl apply -k manifests/namespace -n shop";
        assert_eq!(all.contains(grant), refused.0 == 403, "{all}");
    }
}

#[tokio::test]
async fn the_delete_names_uid_and_version() {
    let script = Script::new(&[]);
    let hpa = hpa(|_| ());
    let case = Case {
        workload: &key(),
        adopt: Adopt::Hpa,
        acts: true,
        found: std::slice::from_ref(&hpa),
        stored: Some(&copy(&hpa)),
        good: true,
    };
    let Next::Delete(action) = adopt::next(&case) else {
        panic!("deleted next");
    };
    assert_eq!(
        apply(&script.client(), &action).await.unwrap(),
        Applied::Done
    );
    let sent: Value = serde_json::from_str(&script.bodies.lock().unwrap()[0]).unwrap();
    assert_eq!(
        sent["preconditions"],
        json!({"uid": "h1", "resourceVersion": "41"})
    );
}

/// Handing back with what is found: whether nothing is stored any more, the writes, and what is stored then.
async fn returned(
    refuse: &[(&'static str, (u16, &'static str))],
    found: &[Hpa],
) -> (bool, Vec<String>, SloAutoscaler) {
    let script = Script::new(refuse);
    let mut stored = autoscaler();
    stored.status.get_or_insert_default().adopted = Some(copy(&hpa(|_| ())));
    *script.stored.lock().unwrap() = stored.clone();
    let workload = workload(&deployment(), &[]);
    let back = hands(&script)
        .hand_back(&workload, &Arc::new(stored), found, now())
        .await;
    let asked = script.asked.lock().unwrap().clone();
    let stored = script.stored.lock().unwrap().clone();
    let asked = asked.into_iter().filter(|one| one != "POST events");
    (back, asked.collect(), stored)
}

#[tokio::test]
async fn the_copy_is_dropped_only_when_an_autoscaler_of_its_name_is_there() {
    const CREATE: &str = "horizontalpodautoscalers";
    let create = format!("POST {CREATE}");
    let (back, asked, stored) = returned(&[], &[]).await;
    assert!(back);
    assert_eq!(asked, [create.as_str(), "PUT status"]);
    assert_eq!(stored.status.as_ref().unwrap().adopted, None);
    assert_eq!(condition(&stored), pair("False", "HandedBack"));

    // One of that name wins: nothing is overwritten.
    let (back, asked, stored) =
        returned(&[(CREATE, (409, "already exists"))], &[hpa(|_| ())]).await;
    assert!(back);
    assert_eq!(asked, [create.as_str(), "PUT status"]);
    assert_eq!(stored.status.as_ref().unwrap().adopted, None);
    assert_eq!(condition(&stored), pair("False", "AutoscalerKept"));

    for refused in [
        (503, "shutting down"),
        (403, "User \"x\" cannot create resource"),
        (403, "exceeded quota"),
    ] {
        let (back, asked, stored) = returned(&[(CREATE, refused)], &[]).await;
        assert!(!back);
        assert_eq!(asked, [create.as_str(), "PUT status"]);
        assert_eq!(condition(&stored), pair("False", "FailedAdoption"));
        assert!(stored.status.unwrap().adopted.is_some());
    }

    // Created, but not dropped: said so, and tried again.
    let (back, _asked, stored) = returned(&[("status", (503, "shutting down"))], &[]).await;
    assert!(!back && stored.status.unwrap().adopted.is_some());

    // A second autoscaler is never made.
    let other = hpa(|hpa| hpa["metadata"]["name"] = json!("carts-2"));
    let (back, asked, stored) = returned(&[], &[other]).await;
    assert!(!back);
    assert_eq!(asked, ["PUT status"]);
    assert_eq!(condition(&stored), pair("False", "AnotherAutoscaler"));
    assert!(stored.status.unwrap().adopted.is_some());
}
