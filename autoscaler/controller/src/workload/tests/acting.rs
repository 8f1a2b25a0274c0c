use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use msars_client::leader::Claim;
use msars_plan::{Limits, Refuser, State, Tick, decide};
use tokio::sync::watch;

use super::super::act::Outcome;
use super::super::hands::{Hands, Task};
use super::super::reach::Reach;
use super::super::status;
use super::*;
use crate::engine::analytic;
use crate::lead::Lead;
use crate::metrics::Metrics;
use crate::own::Own;

/// Answers by method and end of the path; what is not listed is written back as it came, as an API server does.
pub(super) struct Script {
    refuse: BTreeMap<&'static str, (u16, &'static str)>,
    pub(super) asked: Arc<Mutex<Vec<String>>>,
    pub(super) stored: Arc<Mutex<SloAutoscaler>>,
    pub(super) bodies: Arc<Mutex<Vec<String>>>,
    claim: watch::Sender<Claim>,
    /// Ends the lead as soon as it is asked: method and end of the path.
    ends: Option<&'static str>,
    /// How long a write of replicas or of a size takes.
    takes: Duration,
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
            claim: watch::Sender::new(Some(now() + jiff::SignedDuration::from_mins(1))),
            ends: None,
            takes: Duration::ZERO,
        }
    }

    /// Hands of a replica that leads.
    pub(super) fn hands(&self) -> Hands {
        let client = self.client();
        let own = Own::new(client.clone(), "test");
        let lead = Lead::new(self.claim.subscribe(), now);
        Hands::new(client, own, lead, Metrics::default())
    }

    pub(super) fn client(&self) -> Client {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let refuse = self.refuse.clone();
        let (asked, stored) = (Arc::clone(&self.asked), Arc::clone(&self.stored));
        let bodies = Arc::clone(&self.bodies);
        let (claim, ends, takes) = (self.claim.clone(), self.ends, self.takes);
        tokio::spawn(async move {
            while let Some((request, answer)) = handle.next_request().await {
                let path = request.uri().path().to_owned();
                let end = path.rsplit('/').next().unwrap_or_default().to_owned();
                let method = request.method().clone();
                if method != Method::GET && ["scale", "resize"].contains(&end.as_str()) {
                    tokio::time::sleep(takes).await;
                }
                if ends == Some(format!("{method} {end}").as_str()) {
                    claim.send_replace(None);
                }
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
    let (decided, outcome) = carry(&script, seen(500.0), Reach::default()).await;
    let asked = script.asked.lock().unwrap().clone();
    let stored = script.stored.lock().unwrap().clone();
    (asked, outcome.state, decided, stored)
}

/// Carries out what is seen beside the status that is stored; the memory decided, and the outcome.
async fn carry(
    script: &Script,
    (workload, seen): (Workload, Observation),
    reach: Reach,
) -> (State, Outcome) {
    let hands = script.hands();
    let stored = script.stored.lock().unwrap().clone();
    let limits = Limits::default();
    let tick = Tick {
        now: now(),
        seed: 1,
        observations: vec![seen.clone()],
        states: vec![State::default()],
    };
    let decision = decide(&tick, &mut analytic(&limits), &limits).remove(0);
    let decided = decision.state.clone();
    let task = Task {
        workload,
        autoscaler: Arc::new(stored),
        found: Vec::new(),
        seen,
        decision,
        before: State::default(),
        reach,
        old: false,
        now: now(),
    };
    (decided, Box::pin(hands.carry(task)).await)
}

/// The events that were sent, as `type reason: note`.
fn events(script: &Script) -> Vec<String> {
    let bodies = script.bodies.lock().unwrap().clone();
    bodies
        .iter()
        .filter_map(|body| serde_json::from_str::<Value>(body).ok())
        .filter(|sent| sent["regarding"]["kind"] == "Deployment")
        .map(|sent| {
            let text = |name: &str| sent[name].as_str().unwrap_or_default().to_owned();
            format!("{} {}: {}", text("type"), text("reason"), text("note"))
        })
        .collect()
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
async fn who_loses_the_lead_between_two_writes_leaves_the_rest_as_not_made() {
    // What is asked as the lead ends, all writes but for events, and whether the one of replicas counts.
    let table: [(&'static str, &[&str], Option<bool>); 4] = [
        // Between what is read and the write that rests on it.
        ("GET carts", &[], None),
        ("PUT status", &["PUT status"], Some(false)),
        ("PUT scale", &["PUT status", "PUT scale"], Some(true)),
        (
            "PATCH resize",
            &["PUT status", "PUT scale", "PATCH resize"],
            Some(true),
        ),
    ];
    for (ends, wanted, scaled) in table {
        let mut script = Script::new(&[]);
        script.ends = Some(ends);
        let (decided, outcome) = carry(&script, seen(500.0), Reach::default()).await;
        let mut asked = script.asked.lock().unwrap().clone();
        asked.retain(|one| one != "POST events");
        assert_eq!(asked, wanted, "{ends}");
        assert!(!decided.events.is_empty());
        match scaled {
            None => assert_eq!(outcome.state, State::default(), "{ends}"),
            Some(false) => {
                assert!(outcome.state.events.is_empty(), "{ends}");
                assert_eq!(outcome.state.replicas, Some(2), "{ends}");
            }
            Some(true) => assert_eq!(outcome.state, decided, "{ends}"),
        }
        // As after a crash, the next leader finds what was stored before the writes.
        let stored = script.stored.lock().unwrap().clone();
        let remembered = status::remembered(stored.status.as_ref(), now());
        let known = scaled.map_or_else(State::default, |_scaled| decided);
        assert_eq!(remembered, known, "{ends}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_writes_take_long_the_rest_comes_with_the_next_tick() {
    let (status, scale, resize) = ("PUT status", "PUT scale", "PATCH resize");
    // (seconds of a write, all of them but for events, whether the rest was left)
    let table: [(u64, &[&str], bool); 2] = [
        (4, &[status, scale, resize, resize], false),
        (6, &[status, scale, resize], true),
    ];
    for (seconds, wanted, late) in table {
        let mut script = Script::new(&[]);
        script.takes = Duration::from_secs(seconds);
        let (decided, outcome) = carry(&script, seen(500.0), Reach::default()).await;
        let mut asked = script.asked.lock().unwrap().clone();
        asked.retain(|one| one != "POST events");
        assert_eq!(asked, wanted, "{seconds}");
        assert_eq!(outcome.late, late, "{seconds}");
        assert_eq!(outcome.state, decided, "{seconds}");
    }
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
    assert_eq!(status.last_change, None);
    assert_eq!(status::remembered(Some(&status), now()), kept);
}

#[tokio::test]
async fn who_was_slower_than_another_writer_claims_no_rescale() {
    let (_asked, kept, _decided, stored) = carried(&[("scale", (409, "changed"))]).await;
    assert!(kept.events.is_empty());
    let status = stored.status.unwrap();
    let able = status.conditions.iter().find(|c| c.type_ == "AbleToScale");
    let able = able.unwrap();
    let told = (able.status.as_str(), able.reason.as_str());
    assert_eq!(told, ("False", "FailedUpdateScale"));
    assert!(
        able.message.contains("at the next tick"),
        "{}",
        able.message
    );
    assert_eq!(status.last_change, None);
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

#[tokio::test]
async fn a_refused_resize_is_remembered_and_told_with_the_api_servers_words() {
    let words = "pods \"a\" is forbidden: maximum cpu usage per Pod is 200m";
    let (asked, kept, decided, stored) = carried(&[("resize", (403, words))]).await;
    assert_eq!(asked.iter().filter(|one| *one == "PATCH resize").count(), 2);
    let refused: Vec<_> = kept.refused.iter().map(|r| (&*r.uid, r.by)).collect();
    assert_eq!(refused, [("a", Refuser::Server), ("b", Refuser::Server)]);
    assert_eq!(kept.replicas, decided.replicas, "the scale stands");
    let status = stored.status.unwrap();
    let mut told = status.conditions.iter();
    let told = told.find(|c| c.type_ == "ResizeBlocked").unwrap();
    assert_eq!(
        (told.status.as_str(), told.reason.as_str()),
        ("True", "ResizeRefused")
    );
    assert!(told.message.contains(words), "{}", told.message);
    assert_eq!(status::remembered(Some(&status), now()), kept);
    // The next tick asks nothing again, and the pods count with what they have.
    let (_workload, seen) = seen(500.0);
    let limits = Limits::default();
    let tick = Tick {
        now: now() + jiff::SignedDuration::from_secs(15),
        seed: 1,
        observations: vec![seen],
        states: vec![kept],
    };
    let next = decide(&tick, &mut analytic(&limits), &limits).remove(0);
    let resizes = next.actions.iter().filter(|a| a.kind() == "resize");
    assert_eq!(resizes.count(), 0, "{}", next.explain());
    assert_eq!(next.wanted.size, MilliCpu(200), "{}", next.explain());
}

#[tokio::test]
async fn a_missing_grant_of_resizes_counts_for_all_pods_and_no_answer_for_none() {
    let words = "User \"x\" cannot patch resource \"pods/resize\"";
    let (asked, kept, ..) = carried(&[("resize", (403, words))]).await;
    assert_eq!(asked.iter().filter(|one| *one == "PATCH resize").count(), 1);
    let by: Vec<_> = kept.refused.iter().map(|r| r.by).collect();
    assert_eq!(by, [Refuser::Grant; 2]);
    let (_asked, kept, decided, _stored) = carried(&[("resize", (503, "busy"))]).await;
    assert_eq!(kept, decided);
}

#[tokio::test]
async fn a_forbidden_resize_is_told_as_a_missing_grant() {
    let script = Script::new(&[("resize", (403, "User \"x\" cannot patch resource"))]);
    let granted = Reach {
        labelled: Some(true),
        granted: Some(true),
    };
    let (decided, outcome) = carry(&script, seen(500.0), granted).await;
    assert!(outcome.forbidden);
    assert_eq!(
        outcome.state.replicas, decided.replicas,
        "replicas were written"
    );
    let stored = script.stored.lock().unwrap().clone();
    let conditions = stored.status.unwrap().conditions;
    let reach = conditions.iter().find(|c| c.type_ == "InReach").unwrap();
    assert_eq!(
        (reach.status.as_str(), reach.reason.as_str()),
        ("False", "NamespaceNotGranted")
    );
    let told = events(&script);
    let grant = "kubectl apply -k manifests/namespace -n shop";
    assert!(
        told.iter()
            .any(|one| one.starts_with("Warning NamespaceNotGranted: ") && one.contains(grant)),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_change_is_told_once_by_an_event() {
    let script = Script::new(&[]);
    let (workload, calm) = seen(30.0);
    let mut declared = calm.clone();
    declared.declared_by = Some("kustomize-controller".into());
    let mut found = Vec::new();
    for seen in [&calm, &declared, &declared, &calm] {
        carry(&script, (workload.clone(), seen.clone()), Reach::default()).await;
        let told = events(&script);
        let words = told.iter().filter_map(|one| one.split_once(": "));
        let words: Vec<String> = words.map(|(words, _)| words.to_owned()).collect();
        assert!(told.iter().all(|one| !one.ends_with(": ")), "{told:?}");
        found.push(words.join(", "));
        script.bodies.lock().unwrap().clear();
    }
    assert_eq!(
        found,
        ["", "Warning DeclaredReplicas", "", "Normal NoConflict"]
    );
}
