use msars_api::annotations::Adopt;
use msars_client::apply::{Applied, apply};
use msars_plan::{Decision, Limits, State, Tick, decide};

use super::super::adopt::{self, Case, Next};
use super::super::hands::Task;
use super::super::reach::Reach;
use super::super::status;
use super::acting::Script;
use super::adopting::{adopting, copy, decided, hpa, object, ours, scaled, stored_hpa};
use super::*;
use crate::engine::analytic;
use crate::world::hpa::{self, Hpa};

/// One tick with the autoscaler there: the writes in order, and what is stored then.
async fn taken(
    refuse: &[(&'static str, (u16, &'static str))],
    rate: f64,
) -> (Vec<String>, SloAutoscaler) {
    let script = Script::new(refuse);
    let all = [object(&stored_hpa())];
    let ours = ours(&all);
    let (workload, seen) = adopting(rate, &ours, &all);
    let decision = decided(&seen);
    let task = Task {
        found: hpa::found(&scaled(&all), &key()),
        workload,
        autoscaler: Arc::new(ours),
        seen,
        decision,
        before: State::default(),
        reach: Reach::default(),
        old: false,
        now: now(),
    };
    Box::pin(script.hands().carry(task)).await;
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

/// Ticks of one workload while another autoscaler scales it, then as it is taken over, then alone.
struct Ticks {
    ours: SloAutoscaler,
    state: State,
    /// Seconds after the takeover.
    at: i64,
}

impl Ticks {
    /// The next decision, 15 s later, with readings of that moment.
    fn decide(&mut self, all: &[Arc<kube::api::DynamicObject>]) -> (Workload, Observation, Tick) {
        fn renew<T>(reading: &mut Reading<T>, now: Timestamp) {
            if let Reading::Known { at, .. } = reading {
                *at = now;
            }
        }
        self.at += 15;
        let at = now() + jiff::SignedDuration::from_secs(self.at);
        let (workload, mut seen) = adopting(1.0, &self.ours, all);
        let signals = &mut seen.signals;
        renew(&mut signals.rate, at);
        renew(&mut signals.peak_rate, at);
        renew(&mut signals.request_quantile, at);
        renew(&mut signals.self_quantile, at);
        let tick = Tick {
            now: at,
            seed: 1,
            observations: vec![seen.clone()],
            states: vec![self.state.clone()],
        };
        (workload, seen, tick)
    }

    fn made(tick: &Tick) -> Decision {
        let limits = Limits::default();
        decide(tick, &mut analytic(&limits), &limits).remove(0)
    }
}

#[tokio::test]
async fn what_the_other_one_left_stays_for_the_window_downward() {
    let mut hpa = stored_hpa();
    hpa["spec"]["minReplicas"] = json!(1);
    let all = [object(&hpa)];
    let mut ticks = Ticks {
        ours: ours(&all),
        state: State::default(),
        at: -120,
    };
    // Beside the other one, fewer are recommended for longer than its window of 60 s.
    for _ in 0..7 {
        let (_workload, _seen, tick) = ticks.decide(&all);
        ticks.state = Ticks::made(&tick).state;
    }
    let (workload, seen, tick) = ticks.decide(&all);
    let decision = Ticks::made(&tick);
    assert_eq!((ticks.at, decision.wanted.replicas), (0, 1));
    let script = Script::new(&[]);
    *script.stored.lock().unwrap() = ticks.ours.clone();
    let outcome = script
        .hands()
        .carry(Task {
            found: hpa::found(&scaled(&all), &key()),
            workload,
            autoscaler: Arc::new(ticks.ours.clone()),
            seen,
            decision,
            before: ticks.state.clone(),
            reach: Reach::default(),
            old: false,
            now: tick.now,
        })
        .await;
    let asked = script.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|one| one == "DELETE carts"), "{asked:?}");
    ticks.ours = script.stored.lock().unwrap().clone();
    // The next leader knows it too.
    ticks.state = status::remembered(ticks.ours.status.as_ref(), now());
    assert_eq!(ticks.state, outcome.state);
    let mut shrank = None;
    while shrank.is_none() && ticks.at < 90 {
        let (_workload, _seen, tick) = ticks.decide(&[]);
        let decision = Ticks::made(&tick);
        shrank = (!decision.actions.is_empty()).then_some(ticks.at);
        ticks.state = decision.state;
    }
    assert_eq!(shrank, Some(60));
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
        teams: None,
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
    let back = script
        .hands()
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
