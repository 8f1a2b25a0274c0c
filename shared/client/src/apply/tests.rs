//! How the API server's answers to a write are told apart.

use super::*;
use msars_domain::ObjectKey;

fn scripted(code: u16, message: &str) -> (Client, tokio::task::JoinHandle<()>) {
    let (service, mut handle) = tower_test::mock::pair::<
        http::Request<kube::client::Body>,
        http::Response<kube::client::Body>,
    >();
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": "x"});
    let script = tokio::spawn(async move {
        while let Some((_request, answer)) = handle.next_request().await {
            answer.send_response(
                http::Response::builder()
                    .status(code)
                    .body(kube::client::Body::from(body.to_string().into_bytes()))
                    .unwrap(),
            );
        }
    });
    (Client::new(service, "shop"), script)
}

fn patch() -> Action {
    Action::PatchDeployment {
        target: ObjectKey::new("shop", "catalogue"),
        patch: vec![json!({"op": "test", "path": "/spec/paused", "value": true})],
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let table: [(u16, &str, Result<Applied, &str>); 15] = [
        (404, "not found", Ok(Applied::Gone)),
        (409, "the object has been modified", Ok(Applied::Conflict)),
        (
            422,
            "testing path /spec/paused value failed",
            Ok(Applied::Conflict),
        ),
        (
            422,
            "the server rejected our request due to an error in our request",
            Ok(Applied::Conflict),
        ),
        (422, "spec.replicas: Invalid value", Err("refused")),
        (
            403,
            "User \"x\" cannot patch resource \"deployments\"",
            Err("forbidden"),
        ),
        (
            403,
            "deployments.apps \"catalogue\" is forbidden: User \"system:serviceaccount:msars-system:msars-autoscaler\" cannot patch resource \"deployments/scale\" in API group \"apps\" in the namespace \"shop\"",
            Err("forbidden"),
        ),
        (403, "exceeded quota: cpu", Err("refused")),
        // Policies speak as they like: a grant would change nothing.
        (
            403,
            "admission webhook \"validation.gatekeeper.sh\" denied the request: CPU limit cannot exceed 1",
            Err("refused"),
        ),
        (
            403,
            "admission webhook \"w.example.com\" denied the request: pods \"a\" is forbidden: User \"dev\" cannot patch resource \"pods\"",
            Err("refused"),
        ),
        (
            403,
            "deployments.apps \"catalogue\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: User \"dev\" cannot patch resource \"deployments\"",
            Err("refused"),
        ),
        (
            403,
            "pods \"a\" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on",
            Err("refused"),
        ),
        (
            403,
            "deployments.apps \"catalogue\" is forbidden: unable to create new content in namespace shop because it is being terminated",
            Err("refused"),
        ),
        (429, "too many requests", Err("unavailable")),
        (503, "apiserver is shutting down", Err("unavailable")),
    ];
    for (code, message, wanted) in table {
        let (client, script) = scripted(code, message);
        let found = apply(&client, &patch()).await;
        assert_eq!(
            found.map_err(|error| error.category()),
            wanted,
            "{code} {message}"
        );
        script.abort();
    }
}

#[tokio::test]
async fn a_missing_grant_names_the_command() {
    let (client, script) = scripted(403, "User \"x\" cannot patch resource");
    let error = apply(&client, &patch()).await.unwrap_err();
    assert!(
        error.to_string().contains("manifests/namespace -n shop"),
        "{error}"
    );
    assert!(!error.retry());
    script.abort();
}

#[test]
fn a_resize_speaks_of_one_container_and_one_pod_only() {
    assert_eq!(
        resize_patch("u-1", "app", None, Some(MilliCpu(250))),
        json!({
            "metadata": {"uid": "u-1"},
            "spec": {"containers": [{"name": "app", "resources": {"limits": {"cpu": "250m"}}}]},
        })
    );
}

#[tokio::test]
async fn a_pod_is_deleted_only_while_it_is_the_one_that_is_known() {
    for (uid, only) in [(Some("p-1"), json!({"uid": "p-1"})), (None, Value::Null)] {
        let (service, mut handle) = tower_test::mock::pair::<
            http::Request<kube::client::Body>,
            http::Response<kube::client::Body>,
        >();
        let client = Client::new(service, "shop");
        let delete = Action::DeletePod {
            pod: ObjectKey::new("shop", "copy"),
            uid: uid.map(str::to_owned),
        };
        let server = async {
            let (request, answer) = handle.next_request().await.unwrap();
            let sent = request.into_body().collect_bytes().await.unwrap();
            let message = "Precondition failed: UID in precondition: p-1, UID in object meta: p-2";
            let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 409, "message": message, "reason": "Conflict"});
            answer.send_response(
                http::Response::builder()
                    .status(409)
                    .body(kube::client::Body::from(body.to_string().into_bytes()))
                    .unwrap(),
            );
            serde_json::from_slice::<Value>(&sent).unwrap()
        };
        let (ended, sent) = tokio::join!(apply(&client, &delete), server);
        assert_eq!(ended.unwrap(), Applied::Conflict, "{uid:?}");
        assert_eq!(sent["preconditions"], only, "{uid:?}");
        assert_eq!(sent["gracePeriodSeconds"], 1, "{uid:?}");
    }
}
