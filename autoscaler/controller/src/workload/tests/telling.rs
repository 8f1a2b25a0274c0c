use std::sync::LazyLock;

use jiff::SignedDuration;
use msars_api::crd::{SloAutoscalerStatus, WantedSize};
use msars_domain::Rival;
use msars_plan::{Decision, Limits, Recommendation, State, Tick, decide};

use super::super::explain::explain;
use super::super::parting::Why;
use super::super::rivals::{Claim, Keeper};
use super::super::status::{self, Said, news, remembered, write};
use super::super::tell::Missing;
use super::*;
use crate::engine::analytic;

fn decided(seen: &Observation, state: &State) -> Decision {
    let limits = Limits::default();
    let tick = Tick {
        now: now(),
        seed: 1,
        observations: vec![seen.clone()],
        states: vec![state.clone()],
    };
    decide(&tick, &mut analytic(&limits), &limits).remove(0)
}

/// The workload of [`seen`].
static CARTS: LazyLock<Workload> = LazyLock::new(|| seen(30.0).0);

fn said<'a>(decision: &'a Decision, seen: &'a Observation) -> Said<'a> {
    Said {
        workload: &CARTS,
        decision,
        seen,
        state: &decision.state,
        failed: None,
        refused: None,
        adoption: None,
        keeper: None,
        reach: None,
        now: now(),
    }
}

fn told(status: &SloAutoscalerStatus, type_: &str) -> (String, String) {
    let found = status.conditions.iter().find(|c| c.type_ == type_).unwrap();
    (found.status.clone(), found.reason.clone())
}

fn pair(status: &str, reason: &str) -> (String, String) {
    (status.into(), reason.into())
}

#[test]
fn a_decision_is_told_once_and_again_when_it_means_something_else() {
    let (_workload, calm) = seen(30.0);
    let first = decided(&calm, &State::default());
    let mut status = SloAutoscalerStatus::default();
    assert!(news(None, &said(&first, &calm)));
    write(&mut status, Some(1), &said(&first, &calm));
    assert!(!news(Some(&status), &said(&first, &calm)));
    assert_eq!(told(&status, "Ready"), pair("True", "Scaling"));
    assert_eq!(
        told(&status, "ScalingActive"),
        pair("True", "ValidMetricFound")
    );
    assert_eq!((status.current_replicas, status.desired_replicas), (2, 2));

    // The same with other figures says nothing new; more that is wanted does.
    let (_workload, alike) = seen(30.5);
    let same = decided(&alike, &first.state);
    assert!(
        !news(Some(&status), &said(&same, &alike)),
        "{}",
        same.explain()
    );
    let (_workload, busy) = seen(500.0);
    let more = decided(&busy, &first.state);
    assert!(news(Some(&status), &said(&more, &busy)));
    write(&mut status, Some(1), &said(&more, &busy));
    let change = status.last_change.clone().unwrap();
    assert_eq!(change.reason, "LoadRose");
    assert!(
        change.message.contains("shop/carts: 2 × 200m →"),
        "{}",
        change.message
    );
    assert_eq!(status.desired_replicas, more.wanted.replicas);
}

#[test]
fn metrics_that_stay_away_are_told_once_and_once_that_they_are_back() {
    let (_workload, calm) = seen(30.0);
    let mut blind = calm.clone();
    for rate in [&mut blind.signals.rate, &mut blind.signals.peak_rate] {
        *rate = Reading::Unknown {
            why: Unknown::NoSeries,
        };
    }
    let there = decided(&calm, &State::default());
    let gone = decided(&blind, &there.state);
    let mut valid = SloAutoscalerStatus::default();
    write(&mut valid, Some(1), &said(&there, &calm));
    let mut never = SloAutoscalerStatus::default();
    write(&mut never, Some(1), &said(&gone, &blind));
    // Seconds, what is decided, and what is told of it.
    let gap = [(0, &gone, ""), (45, &gone, ""), (60, &there, "")];
    let loss = [
        (0, &there, ""),
        (15, &gone, ""),
        (60, &gone, ""),
        (75, &gone, "!FailedGetPodsMetric"),
        (90, &gone, ""),
        (105, &there, "ValidMetricFound"),
        (120, &there, ""),
    ];
    let new = [(0, &gone, ""), (75, &gone, ""), (90, &there, "")];
    for (case, stored, looks) in [
        ("between two scrapes", &valid, &gap[..]),
        ("lost", &valid, &loss[..]),
        ("never there", &never, &new[..]),
    ] {
        let mut missing = Missing::default();
        for (at, decision, wanted) in looks {
            let at = now() + SignedDuration::from_secs(*at);
            let notice = missing.look(Some(stored), decision, at);
            let found = notice.map_or_else(String::new, |notice| {
                let mark = if notice.warning { "!" } else { "" };
                format!("{mark}{}", notice.reason)
            });
            assert_eq!(&found, wanted, "{case} {at}");
        }
    }
}

#[test]
fn what_stands_in_the_way_is_the_summary() {
    let (workload, whole) = seen(30.0);
    let mut blind = whole.clone();
    blind.revisions[0].curve = None;
    let mut aimless = whole.clone();
    aimless.revisions[0].budget = None;
    let mut shared = whole.clone();
    shared.rival = Some(Rival {
        kind: "HorizontalPodAutoscaler".into(),
        name: "carts".into(),
    });
    let mut declared = whole.clone();
    declared.declared_by = Some("kustomize-controller".into());
    for (seen, reason) in [
        (blind, "NoProfile"),
        (aimless, "NoObjective"),
        (shared, "AmbiguousSelector"),
        (declared, "DeclaredReplicas"),
    ] {
        let decision = decided(&seen, &State::default());
        assert_eq!(decision.actions, []);
        let mut status = SloAutoscalerStatus::default();
        let keeper = Keeper {
            manager: "kustomize-controller".into(),
            claim: Claim::Applies,
        };
        let said = Said {
            keeper: Some(&keeper),
            ..said(&decision, &seen)
        };
        write(&mut status, None, &said);
        assert_eq!(told(&status, "Ready"), pair("False", reason));
        let all = serde_json::to_string(&status).unwrap();
        for (word, way) in [
            ("DeclaredReplicas", "--field-manager=msars-handover"),
            ("AmbiguousSelector", "msars.io/adopt=hpa"),
        ] {
            assert_eq!(all.contains(way), word == reason, "{all}");
        }
        let mut autoscaler = autoscaler();
        autoscaler.status = Some(status);
        let text = explain(&autoscaler);
        assert!(
            text.starts_with("shop/carts: mode auto, 1 to 8 replicas; 2 found, 2 wanted"),
            "{text}"
        );
        assert!(text.contains(reason), "{text}");
        assert!(text.contains("\nWhy: "), "{text}");
        // Of all managers' entries only those of the status tell how old the sentence is.
        let entry = |subresource: Option<&str>, later: i64| {
            let at = now() + SignedDuration::from_secs(later);
            json!({"subresource": subresource, "time": at.to_string()})
        };
        let entries = json!([
            entry(Some("status"), 5),
            entry(None, 90),
            entry(Some("status"), 0)
        ]);
        autoscaler.metadata.managed_fields = serde_json::from_value(entries).unwrap();
        let at = now() + SignedDuration::from_secs(5);
        let text = explain(&autoscaler);
        assert!(text.contains(&format!("\nWhy, as of {at}: ")), "{text}");
    }
    assert_eq!(workload.key, key());
}

#[test]
fn what_the_namespace_lacks_is_a_condition_and_the_summary() {
    let (_workload, calm) = seen(30.0);
    let decision = decided(&calm, &State::default());
    let mut status = SloAutoscalerStatus::default();
    write(&mut status, None, &said(&decision, &calm));
    let lacks = (false, "NamespaceNotGranted", "kubectl apply".to_owned());
    let said = Said {
        reach: Some(&lacks),
        ..said(&decision, &calm)
    };
    assert!(news(Some(&status), &said));
    write(&mut status, None, &said);
    let lacking = pair("False", "NamespaceNotGranted");
    assert_eq!(told(&status, "InReach"), lacking);
    assert_eq!(told(&status, "Ready"), lacking);
}

#[test]
fn a_failed_write_is_told_in_hpas_words() {
    let (_workload, busy) = seen(500.0);
    let decision = decided(&busy, &State::default());
    let mut status = SloAutoscalerStatus::default();
    let state = decision.state_without_scale(now());
    let failed = Said {
        state: &state,
        failed: Some("quota"),
        ..said(&decision, &busy)
    };
    write(&mut status, None, &failed);
    assert_eq!(
        told(&status, "AbleToScale"),
        pair("False", "FailedUpdateScale")
    );
    assert_eq!(told(&status, "Ready"), pair("False", "FailedUpdateScale"));
    assert_eq!(status.last_change, None);
    assert_eq!(remembered(Some(&status), now()).replicas, Some(2));
}

#[test]
fn memory_survives_a_leader_and_its_last_recommendation_held_until_then() {
    let (_workload, busy) = seen(70.0);
    let decision = decided(&busy, &State::default());
    let mut status = SloAutoscalerStatus::default();
    write(&mut status, None, &said(&decision, &busy));
    assert_eq!(remembered(Some(&status), now()), decision.state);
    let later = now() + jiff::SignedDuration::from_secs(290);
    let state = remembered(Some(&status), later);
    let last = state.recommendations.last().unwrap();
    assert_eq!(last.at, later);
    // So that the window of 300 s does not end with the leader.
    let before = decision.state.recommendations.last().unwrap().fleet;
    assert_eq!(
        *last,
        Recommendation {
            at: later,
            fleet: before
        }
    );
    status.memory = Some("{\"size\": \"large\"}".into());
    assert_eq!(remembered(Some(&status), later), State::default());
}

#[test]
fn pods_of_what_runs_are_born_with_the_size_in_force() {
    let size = |revision: &str, milli: u32| WantedSize {
        revision: revision.into(),
        size_milli: milli,
        replicas: 2,
    };
    let (workload, mut seen) = seen(30.0);
    let running = workload.revision.as_str();
    let born = |seen: &Observation, stored: &[WantedSize]| {
        status::born_with(stored, &workload, seen, Some(MilliCpu(300)))
    };
    assert_eq!(born(&seen, &[]), [size(running, 300)]);
    let stored = [size(running, 800), size("older", 150)];
    assert_eq!(
        born(&seen, &stored),
        [size(running, 300), size("older", 150)]
    );
    // Until a rollout completes, the larger floor holds.
    seen.rolling = true;
    assert_eq!(born(&seen, &stored)[0], size(running, 800));
    for pod in &mut seen.pods {
        pod.revision = "older".into();
    }
    let stored = [size(running, 200), size("older", 400)];
    assert_eq!(
        born(&seen, &stored),
        [size(running, 300), size("older", 400)]
    );
}

#[test]
fn a_workload_that_is_left_is_forgotten_and_told_why() {
    let (_workload, busy) = seen(500.0);
    let decision = decided(&busy, &State::default());
    let mut status = SloAutoscalerStatus::default();
    write(&mut status, None, &said(&decision, &busy));
    assert!(status.memory.is_some() && !status.sizes.is_empty());
    status::leave(&mut status, &Why::OptedOut.told(None), Some(2), now());
    assert!(status.memory.is_none() && status.sizes.is_empty());
    assert_eq!(told(&status, "Ready"), pair("False", "ScalingDisabled"));
    assert!(
        Why::OptedOut
            .told(None)
            .starts_with("the workload opted out; ")
    );
    let recommends = "the workload only asks for recommendations from now on; pods of the template's size carry the load";
    assert_eq!(Why::StepsBack.told(None), recommends);
}
