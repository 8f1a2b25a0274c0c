//! What is made of stored material, and what is written in which order.

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::*;

const LIVES: Lives = Lives {
    authority: SignedDuration::from_hours(300),
    leaf: SignedDuration::from_hours(30),
};

fn at(hours: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_hours(hours)
}

/// With what the webhook configuration trusts by then.
fn step(stored: Option<&Material>, trusted: &str, hours: i64) -> Step {
    let names = ["msars-admission.msars-system.svc"];
    next(stored, trusted, &names, LIVES, at(hours)).unwrap()
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
    assert!(turned.bundle.contains(first.ca.cert.trim()));
    assert!(turned.bundle.contains(turned.ca.cert.trim()));
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

/// An API server without our Secret, whose webhook configuration trusts these authorities; what it was asked.
fn server(trusted: &str) -> (Client, JoinHandle<Vec<Asked>>) {
    let trusted = ByteString(trusted.as_bytes().to_vec());
    let webhooks: Vec<Value> = ["deployments.msars.io", "pods.msars.io"]
        .map(|name| {
            json!({"name": name, "clientConfig": {"caBundle": trusted}, "sideEffects": "None",
                "admissionReviewVersions": ["v1"]})
        })
        .into();
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": names::WEBHOOK_CONFIGURATION}, "webhooks": webhooks,
    });
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let server = tokio::spawn(async move {
        let mut asked = Vec::new();
        while let Some((request, answer)) = handle.next_request().await {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let sent = request.into_body().collect().await.unwrap().to_bytes();
            let sent: Value = serde_json::from_slice(&sent).unwrap_or_default();
            let (code, body) = if path.contains("/mutatingwebhookconfigurations/") {
                (200, configuration.clone())
            } else if method == Method::POST {
                (201, sent.clone())
            } else {
                let none = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                    "message": "none", "reason": "NotFound"});
                (404, none)
            };
            asked.push((method, path, sent));
            let body = Body::from(body.to_string().into_bytes());
            answer.send_response(Response::builder().status(code).body(body).unwrap());
        }
        asked
    });
    (Client::new(service, "msars-system"), server)
}

#[tokio::test]
async fn a_deleted_secret_comes_back_after_its_authority_is_trusted_beside_the_one_before() {
    let first = written(step(None, "", 0));
    let (client, server) = server(&first.bundle);
    keep(&client, "msars-system", LIVES, at(1)).await.unwrap();
    drop(client);
    let asked = server.await.unwrap();
    let order: Vec<(&str, bool)> = asked
        .iter()
        .map(|(method, path, _)| (method.as_str(), path.contains("/secrets")))
        .collect();
    assert_eq!(
        order,
        [
            ("GET", true),
            ("GET", false),
            ("PATCH", false),
            ("POST", true)
        ]
    );
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
