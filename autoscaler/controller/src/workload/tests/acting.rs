use std::collections::BTreeMap;
use std::sync::Mutex;

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use msars_plan::{Limits, State, Tick, decide};

use super::super::hands::{Hands, Task};
use super::super::status;
use super::*;
use crate::engine::analytic;
use crate::metrics::Metrics;
use crate::own::Own;

/// Answers by method and end of the path; what is not listed is written back as it came, as an API server does.
pub(super) struct Script {
    refuse: BTreeMap<&'static str, (u16, &'static str)>,
    pub(super) asked: Arc<Mutex<Vec<String>>>,
    pub(super) stored: Arc<Mutex<SloAutoscaler>>,
    pub(super) bodies: Arc<Mutex<Vec<String>>>,
}

fn failure(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": "x"})
}

impl Script {
    pub(super) fn new(refuse: &[(&'static str, (u16, &'static str))]) -> Self {
        Self {
            refuse: refuse.iter().copied().collect(),
            asked: Arc::default(),
            bodies: Arc::default(),
            stored: Arc::new(Mutex::new(autoscaler())),
        }
    }

    pub(super) fn client(&self) -> Client {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let refuse = self.refuse.clone();
        let (asked, stored) = (Arc::clone(&self.asked), Arc::clone(&self.stored));
        let bodies = Arc::clone(&self.bodies);
        tokio::spawn(async move {
            while let Some((request, answer)) = handle.next_request().await {
                let path = request.uri().path().to_owned();
                let end = path.rsplit('/').next().unwrap_or_default().to_owned();
                let method = request.method().clone();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let (code, answered) = if method == Method::GET {
                    let found = match end.as_str() {
                        "scale" => json!({"metadata": {"name": "carts"}, "spec": {"replicas": 2}}),
                        _ => serde_json::to_value(&*stored.lock().unwrap()).unwrap(),
                    };
                    (200, found)
                } else {
                    asked.lock().unwrap().push(format!("{method} {end}"));
                    let sent = String::from_utf8_lossy(&body).into_owned();
                    bodies.lock().unwrap().push(sent);
                    match refuse.get(end.as_str()) {
                        Some((code, message)) => (*code, failure(*code, message)),
                        None if end == "status" => {
                            *stored.lock().unwrap() = serde_json::from_slice(&body).unwrap();
                            (200, serde_json::from_slice(&body).unwrap())
                        }
                        None if end == "resize" => {
                            (200, serde_json::to_value(&*pod("a", "h1")).unwrap())
                        }
                        None if method == Method::DELETE => {
                            (200, json!({"kind": "Status", "status": "Success"}))
                        }
                        None => (201, serde_json::from_slice(&body).unwrap()),
                    }
                };
                let answered = Body::from(answered.to_string().into_bytes());
                answer.send_response(Response::builder().status(code).body(answered).unwrap());
            }
        });
        Client::new(service, "shop")
    }
}

/// Carries out what 500 requests/s ask for; the writes in order, the memory kept, and the status that is stored.
async fn carried(
    refuse: &[(&'static str, (u16, &'static str))],
) -> (Vec<String>, State, State, SloAutoscaler) {
    let script = Script::new(refuse);
    let client = script.client();
    let hands = Hands {
        client: client.clone(),
        own: Own::new(client, "test"),
        now,
        metrics: Metrics::default(),
    };
    let (workload, seen) = seen(500.0);
    let limits = Limits::default();
    let tick = Tick {
        now: now(),
        seed: 1,
        observations: vec![seen.clone()],
        states: vec![State::default()],
    };
    let decision = decide(&tick, &mut analytic(&limits), &limits).remove(0);
    let decided = decision.state.clone();
    let outcome = hands
        .carry(Task {
            workload,
            autoscaler: Arc::new(autoscaler()),
            found: Vec::new(),
            seen,
            decision,
            before: State::default(),
            old: false,
            now: now(),
        })
        .await;
    let asked = script.asked.lock().unwrap().clone();
    let stored = script.stored.lock().unwrap().clone();
    (asked, outcome.state, decided, stored)
}

#[tokio::test]
async fn memory_is_stored_before_anything_is_written() {
    let (asked, kept, decided, stored) = carried(&[]).await;
    assert_eq!(asked[..2], ["PUT status", "PUT scale"]);
    assert!(
        asked[2..].iter().any(|one| one == "PATCH resize"),
        "{asked:?}"
    );
    assert!(asked.iter().any(|one| one == "POST events"), "{asked:?}");
    assert_eq!(kept, decided);
    assert_eq!(status::remembered(stored.status.as_ref(), now()), decided);
}

#[tokio::test]
async fn without_its_memory_stored_nothing_is_written() {
    let (asked, kept, _decided, stored) = carried(&[("status", (503, "shutting down"))]).await;
    assert_eq!(asked, ["PUT status"]);
    assert_eq!(kept, State::default());
    assert_eq!(stored.status, None);
}

#[tokio::test]
async fn a_refused_scale_leaves_no_event_in_the_windows() {
    let (asked, kept, decided, stored) = carried(&[("scale", (403, "exceeded quota: pods"))]).await;
    assert!(!decided.events.is_empty());
    assert!(kept.events.is_empty());
    assert_eq!(kept.replicas, Some(2));
    assert_eq!(asked.iter().filter(|one| *one == "PUT status").count(), 2);
    let status = stored.status.unwrap();
    let able = status
        .conditions
        .iter()
        .find(|c| c.type_ == "AbleToScale")
        .unwrap();
    assert_eq!(
        (able.status.as_str(), able.reason.as_str()),
        ("False", "FailedUpdateScale")
    );
    assert!(able.message.contains("exceeded quota"), "{}", able.message);
    assert_eq!(status::remembered(Some(&status), now()), kept);
}

#[tokio::test]
async fn a_missing_grant_ends_the_writes_of_this_tick() {
    let (asked, kept, _decided, stored) =
        carried(&[("scale", (403, "User \"x\" cannot update resource"))]).await;
    assert!(!asked.iter().any(|one| one == "PATCH resize"), "{asked:?}");
    assert_eq!(kept.replicas, Some(2));
    let all = serde_json::to_string(&stored.status).unwrap();
    assert!(
        all.contains("kubectl apply -k manifests/namespace -n shop"),
        "{all}"
    );
}
