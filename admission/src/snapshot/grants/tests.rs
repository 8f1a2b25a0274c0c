use kube::client::Body;
use serde_json::{Value, json};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn named(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Answers, each with its second: `None` for a question that failed.
type Answers = &'static [(i64, Option<bool>)];

#[test]
fn a_missing_grant_is_asked_for_again_within_seconds_and_one_that_is_there_within_a_minute() {
    let rows: &[(&str, Answers, i64, Grant, bool)] = &[
        ("never asked", &[], 0, Grant::Unknown, true),
        ("given", &[(0, Some(true))], 59, Grant::Given, false),
        (
            "given a minute ago",
            &[(0, Some(true))],
            60,
            Grant::Given,
            true,
        ),
        (
            "missing, just now",
            &[(0, Some(false))],
            3,
            Grant::Missing,
            false,
        ),
        ("missing", &[(0, Some(false))], 4, Grant::Missing, true),
        (
            "granted meanwhile",
            &[(0, Some(false)), (4, Some(true))],
            5,
            Grant::Given,
            false,
        ),
        (
            "taken away meanwhile",
            &[(0, Some(true)), (60, Some(false))],
            61,
            Grant::Missing,
            false,
        ),
        (
            "the first question failed",
            &[(0, None)],
            4,
            Grant::Unknown,
            true,
        ),
        (
            "a later one failed: what was known stands, and is asked again soon",
            &[(0, Some(true)), (60, None)],
            64,
            Grant::Given,
            true,
        ),
        (
            "all failed for half a minute",
            &[(0, Some(true)), (60, None), (64, None), (88, None)],
            91,
            Grant::Unknown,
            false,
        ),
    ];
    for (name, answers, now, grant, due) in rows {
        let mut grants = Grants::default();
        for (second, given) in *answers {
            grants.take("shop", *given, at(*second));
        }
        assert_eq!(grants.grant("shop", at(*now)), *grant, "{name}");
        assert_eq!(grants.grant("bank", at(*now)), Grant::Unknown, "{name}");
        let asked = grants.due(&named(&["shop"]), at(*now));
        assert_eq!(!asked.is_empty(), *due, "{name}");
    }
}

#[test]
fn those_that_waited_longest_are_asked_first_and_not_all_at_once() {
    let mut grants = Grants::default();
    grants.take("b", Some(false), at(0));
    grants.take("a", Some(false), at(1));
    grants.take("gone", Some(true), at(1));
    assert_eq!(
        grants.due(&named(&["a", "b", "c"]), at(10)),
        ["c", "b", "a"]
    );
    assert_eq!(grants.grant("gone", at(10)), Grant::Unknown);
    let many: BTreeSet<String> = (0..200).map(|n| format!("n{n}")).collect();
    let mut asked = BTreeSet::new();
    for second in 10..14 {
        let due = grants.due(&many, at(second));
        assert_eq!(due.len(), 50);
        for namespace in due {
            grants.take(&namespace, None, at(second));
            asked.insert(namespace);
        }
    }
    assert_eq!(asked, many, "a question that fails keeps no other one back");
}

#[test]
fn only_news_makes_a_new_snapshot() {
    let mut grants = Grants::default();
    let answers = [None, Some(false), Some(false), None, Some(true), Some(true)];
    let news = answers.map(|given| grants.take("shop", given, at(0)));
    assert_eq!(news, [false, true, false, false, true, false]);
}

/// What `ask` finds in an answer of the API server, and what it asked.
async fn answered(code: u16, body: Value) -> (Result<bool, AccessError>, Value) {
    let (service, mut handle) =
        tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
    let script = tokio::spawn(async move {
        let (request, answer) = handle.next_request().await.unwrap();
        let bytes = request.into_body().collect_bytes().await.unwrap();
        let body = Body::from(body.to_string().into_bytes());
        answer.send_response(http::Response::builder().status(code).body(body).unwrap());
        serde_json::from_slice(&bytes).unwrap()
    });
    let found = ask(&Client::new(service, "msars-system"), "shop").await;
    (found, script.await.unwrap())
}

#[tokio::test]
async fn the_question_is_the_right_that_a_release_needs_and_no_answer_is_no_grant() {
    let review = |status: Value| {
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "metadata": {}, "spec": {}, "status": status,
        })
    };
    let failure = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500, "message": "no", "reason": "x"});
    for (name, code, body, wanted) in [
        ("yes", 201, review(json!({"allowed": true})), Some(true)),
        ("no", 201, review(json!({"allowed": false})), Some(false)),
        ("neither", 201, review(Value::Null), None),
        ("an error", 500, failure, None),
    ] {
        let (found, asked) = answered(code, body).await;
        assert_eq!(found.ok(), wanted, "{name}");
        assert_eq!(
            asked["spec"]["resourceAttributes"],
            json!({"group": "apps", "resource": "deployments", "verb": "patch", "namespace": "shop"}),
            "{name}"
        );
    }
}
