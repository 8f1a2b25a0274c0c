//! What is made of stored material, and what is written in which order.

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use k8s_openapi::ByteString;
use kube::Client;
use kube::client::Body;
use msars_api::names;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::lead::Lead;

const LIVES: Lives = Lives {
    authority: SignedDuration::from_hours(300),
    leaf: SignedDuration::from_hours(30),
};

fn at(hours: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_hours(hours)
}

/// With what the webhook configuration trusts by then.
fn step(stored: Option<&Material>, trusted: &str, hours: i64) -> Step {
    again(stored, None, trusted, hours)
}

/// With what was made before and could not be stored, too.
fn again(stored: Option<&Material>, made: Option<&Material>, trusted: &str, hours: i64) -> Step {
    let names = ["msars-admission.msars-system.svc"];
    next(stored, made, trusted, &names, LIVES, at(hours)).unwrap()
}

fn written(step: Step) -> Material {
    match step {
        Step::Write(material) => *material,
        Step::Keep(until) => unreachable!("kept until {until}"),
    }
}

#[test]
fn leaf_and_authority_are_exchanged_in_turn_and_both_authorities_stay_trusted() {
    let first = written(step(None, "", 0));
    let trusted = first.bundle.as_str();
    assert!(matches!(step(Some(&first), trusted, 19), Step::Keep(_)));
    let renewed = written(step(Some(&first), trusted, 20));
    assert_eq!(renewed.ca, first.ca);
    assert_ne!(renewed.leaf, first.leaf);
    let turned = written(step(Some(&renewed), trusted, 200));
    assert_ne!(turned.ca, first.ca);
    let both = bundle(&turned.ca.cert, &[first.ca.cert.as_str()]);
    assert_eq!(turned.bundle, both);
    let kept = step(Some(&turned), &turned.bundle, 219);
    assert!(matches!(kept, Step::Keep(_)), "both stay trusted meanwhile");
    // Every pod has served a leaf of the new one for two thirds of its life.
    let renewed = written(step(Some(&turned), &turned.bundle, 220));
    assert_eq!(renewed.ca, turned.ca);
    assert_eq!(renewed.bundle, bundle(&turned.ca.cert, &[]));
}

/// What was trusted beside a new authority goes with the next leaf, but not before pods can have the one it came with.
#[test]
fn what_stayed_trusted_after_a_loss_goes_when_the_leaf_is_renewed() {
    let minute = Lives {
        authority: SignedDuration::from_hours(300),
        leaf: SignedDuration::from_mins(3),
    };
    let lost = written(step(None, "", 0));
    for (lives, hours, minutes, kept) in [(LIVES, 20, 0, 1), (minute, 0, 3, 2), (minute, 0, 15, 1)]
    {
        let from = at(0);
        let made = next(None, None, &lost.bundle, &["msars"], lives, from).unwrap();
        let made = written(made);
        assert_eq!(readable(&made.bundle).len(), 2);
        let then = at(hours) + SignedDuration::from_mins(minutes);
        let renewed = next(Some(&made), None, &made.bundle, &["msars"], lives, then).unwrap();
        let renewed = written(renewed);
        assert_eq!(renewed.ca, made.ca);
        assert_ne!(renewed.leaf, made.leaf);
        let found = readable(&renewed.bundle).len();
        assert_eq!(found, kept, "{lives:?} after {hours} h {minutes} min");
    }
}

#[test]
fn an_authority_that_could_not_be_stored_is_taken_again() {
    let (oldest, older) = (written(step(None, "", 0)), written(step(None, "", 1)));
    let mut aged = older.clone();
    aged.leaf.cert = "garbage".into();
    let served = bundle(&older.ca.cert, &[oldest.ca.cert.as_str()]);
    // Absent, of no use, and at two thirds of its life.
    for (name, stored, hours, kept) in [
        ("absent", None, 2, 2),
        ("of no use", Some(&aged), 2, 2),
        ("to be exchanged", Some(&older), 202, 1),
    ] {
        let made = written(step(stored, &served, hours));
        let (mut trusted, mut last) = (made.bundle.clone(), made.clone());
        for _ in 0..9 {
            last = written(again(stored, Some(&last), &trusted, hours));
            assert_eq!(last, made, "{name}");
            trusted.clone_from(&last.bundle);
        }
        assert_eq!(readable(&trusted).len(), 1 + kept, "{name}");
        assert!(trusted.contains(older.ca.cert.trim()), "{name}");
        // Nor does what another leader made meanwhile put it out.
        let theirs = written(step(stored, &trusted, hours));
        let mine = written(again(stored, Some(&made), &theirs.bundle, hours));
        assert_eq!(mine.ca, made.ca, "{name}");
        assert!(mine.bundle.contains(older.ca.cert.trim()), "{name}");
        // Not once its leaf is to be renewed.
        let late = written(again(stored, Some(&made), &trusted, hours + 20));
        assert_ne!(late.ca, made.ca, "{name}");
    }
    // Nor where the Secret is well again.
    let kept = again(Some(&older), Some(&oldest), &served, 2);
    assert!(matches!(kept, Step::Keep(_)));
}

#[test]
fn what_is_lost_or_of_no_use_is_made_anew_and_what_was_trusted_stays_so() {
    let (first, other) = (written(step(None, "", 0)), written(step(None, "", 0)));
    let with = |change: fn(&mut Material, &Material)| {
        let mut changed = first.clone();
        change(&mut changed, &other);
        Some(changed)
    };
    let rows = [
        ("the Secret was deleted", None),
        (
            "an unreadable leaf",
            with(|it, _| it.leaf.cert = "garbage".into()),
        ),
        (
            "an unreadable authority",
            with(|it, _| it.ca.cert = "garbage".into()),
        ),
        (
            "an unreadable key of the leaf",
            with(|it, _| it.leaf.key = "garbage".into()),
        ),
        (
            "another leaf's key",
            with(|it, other| it.leaf.key.clone_from(&other.leaf.key)),
        ),
        (
            "another authority's leaf",
            with(|it, other| it.leaf.clone_from(&other.leaf)),
        ),
        (
            "another authority",
            with(|it, other| it.ca.clone_from(&other.ca)),
        ),
        (
            "an unreadable key of the authority",
            with(|it, _| it.ca.key = "garbage".into()),
        ),
        (
            "another authority's key",
            with(|it, other| it.ca.key.clone_from(&other.ca.key)),
        ),
        (
            "a bundle without the authority",
            with(|it, other| it.bundle.clone_from(&other.bundle)),
        ),
    ];
    for (name, stored) in rows {
        let made = written(step(stored.as_ref(), &first.bundle, 1));
        assert_ne!(made.ca, first.ca, "{name}");
        assert_ne!(made.leaf, first.leaf, "{name}");
        assert!(made.bundle.starts_with(made.ca.cert.trim()), "{name}");
        assert!(made.bundle.contains(first.ca.cert.trim()), "{name}");
        let kept = step(Some(&made), &made.bundle, 2);
        assert!(matches!(kept, Step::Keep(_)), "{name}");
    }
}

#[test]
fn the_stored_authority_stays_trusted_though_the_configuration_lost_it() {
    let mut broken = written(step(None, "", 0));
    broken.leaf.cert = "garbage".into();
    for trusted in ["", "garbage"] {
        let made = written(step(Some(&broken), trusted, 1));
        assert_eq!(
            made.bundle,
            bundle(&made.ca.cert, &[broken.ca.cert.as_str()])
        );
    }
}

#[test]
fn the_authority_that_pods_serve_outlives_any_number_of_tries() {
    let first = written(step(None, "", 0));
    let mut trusted = first.bundle.clone();
    for _ in 0..6 {
        trusted = written(step(None, &trusted, 1)).bundle;
        assert!(trusted.contains(first.ca.cert.trim()), "{trusted}");
    }
    assert_eq!(readable(&trusted).len(), KEPT + 1);
}

#[test]
fn an_authority_that_has_expired_is_trusted_no_more() {
    let first = written(step(None, "", 0));
    let made = written(step(None, &first.bundle, 301));
    assert_eq!(made.bundle, bundle(&made.ca.cert, &[]));
}

/// Method, path and body.
type Asked = (Method, String, Value);

/// An API server without our Secret, whose webhook configuration trusts these authorities, and which may refuse to store
/// a Secret; what it was asked.
fn server(trusted: &str, stores: bool) -> (Client, JoinHandle<Vec<Asked>>) {
    let trusted = ByteString(trusted.as_bytes().to_vec());
    let webhooks: Vec<Value> = ["deployments.msars.io", "pods.msars.io"]
        .map(|name| {
            json!({"name": name, "clientConfig": {"caBundle": trusted}, "sideEffects": "None",
                "admissionReviewVersions": ["v1"]})
        })
        .into();
    let mut configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": names::WEBHOOK_CONFIGURATION, "resourceVersion": "41"}, "webhooks": webhooks,
    });
    let status = |code: u16| {
        let reason = if code == 404 {
            "NotFound"
        } else {
            "InternalError"
        };
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
            "message": "scripted", "reason": reason})
    };
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let server = tokio::spawn(async move {
        let mut asked = Vec::new();
        while let Some((request, answer)) = handle.next_request().await {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let sent = request.into_body().collect().await.unwrap().to_bytes();
            let sent: Value = serde_json::from_slice(&sent).unwrap_or_default();
            let (code, body) = if path.contains("/mutatingwebhookconfigurations/") {
                if method == Method::PATCH {
                    for (index, webhook) in sent["webhooks"].as_array().unwrap().iter().enumerate()
                    {
                        let bundle = &webhook["clientConfig"]["caBundle"];
                        configuration["webhooks"][index]["clientConfig"]["caBundle"] =
                            bundle.clone();
                    }
                }
                (200, configuration.clone())
            } else if method == Method::POST && stores {
                (201, sent.clone())
            } else {
                let code = if method == Method::POST { 500 } else { 404 };
                (code, status(code))
            };
            asked.push((method, path, sent));
            let body = Body::from(body.to_string().into_bytes());
            answer.send_response(Response::builder().status(code).body(body).unwrap());
        }
        asked
    });
    (Client::new(service, "msars-system"), server)
}

/// A replica that leads for this long.
fn replica(client: Client, leads: SignedDuration) -> Certificates {
    let claim = watch::channel(Some(at(1) + leads)).1;
    Certificates::new(client, Lead::new(claim, || at(1)), "msars-system", LIVES)
}

/// What was asked for, and whether of the Secret.
fn order(asked: &[Asked]) -> Vec<(&str, bool)> {
    asked
        .iter()
        .map(|(method, path, _)| (method.as_str(), path.contains("/secrets")))
        .collect()
}

const LOOK: [(&str, bool); 2] = [("GET", true), ("GET", false)];
const TRUST: (&str, bool) = ("PATCH", false);
const STORE: (&str, bool) = ("POST", true);

#[tokio::test]
async fn a_deleted_secret_comes_back_after_its_authority_is_trusted_beside_the_one_before() {
    let first = written(step(None, "", 0));
    let (client, server) = server(&first.bundle, true);
    let mut replica = replica(client, SignedDuration::from_secs(15));
    replica.keep(at(1)).await.unwrap();
    drop(replica);
    let asked = server.await.unwrap();
    assert_eq!(order(&asked), [&LOOK[..], &[TRUST, STORE]].concat());
    // Of the version that was read: what was written since is not overwritten.
    assert_eq!(asked[2].2["metadata"]["resourceVersion"], "41");
    let bundles: Vec<&Value> = asked[2].2["webhooks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|webhook| &webhook["clientConfig"]["caBundle"])
        .collect();
    let stored = &asked[3].2["data"]["bundle.crt"];
    assert_eq!(bundles, [stored, stored]);
    let text: ByteString = serde_json::from_value(stored.clone()).unwrap();
    let text = String::from_utf8(text.0).unwrap();
    assert_eq!(readable(&text).len(), 2);
    assert!(text.contains(first.ca.cert.trim()), "{text}");
}

#[tokio::test]
async fn while_the_secret_cannot_be_stored_one_authority_is_made_and_trusted_once() {
    let (oldest, served) = (written(step(None, "", 0)), written(step(None, "", 0)));
    let trusted = bundle(&served.ca.cert, &[oldest.ca.cert.as_str()]);
    let (client, server) = server(&trusted, false);
    let mut replica = replica(client, SignedDuration::from_secs(15));
    for _ in 0..6 {
        let refused = replica.keep(at(1)).await.unwrap_err();
        assert_eq!(refused.category(), "api");
    }
    drop(replica);
    let asked = server.await.unwrap();
    let tries = [&LOOK[..], &[STORE]].concat().repeat(5);
    let wanted = [&LOOK[..], &[TRUST, STORE], &tries[..]].concat();
    assert_eq!(order(&asked), wanted);
    let stores = asked.iter().filter(|(method, ..)| *method == Method::POST);
    let made: Vec<&Value> = stores.map(|(_, _, sent)| &sent["data"]).collect();
    assert!(made.iter().all(|data| *data == made[0]), "one of them");
    let text: ByteString = serde_json::from_value(made[0]["bundle.crt"].clone()).unwrap();
    let text = String::from_utf8(text.0).unwrap();
    for one in [served, oldest] {
        assert!(text.contains(one.ca.cert.trim()), "{text}");
    }
}

#[tokio::test]
async fn who_lost_the_lead_while_it_read_writes_no_certificate() {
    let (client, server) = server("", true);
    let mut replica = replica(client, SignedDuration::ZERO);
    let refused = replica.keep(at(1)).await.unwrap_err();
    assert_eq!(refused.category(), "not_leading");
    drop(replica);
    let asked = server.await.unwrap();
    assert_eq!(order(&asked), LOOK);
}
