//! All fourteen roles at once, and the program's own commands.

use std::process::Command;

use msars_shop::{MIX, Options, ROLES, Role, behaviour, image, manifests};
use serde_json::Value;

use crate::harness::{Pod, Visitor};

const PROGRAM: &str = env!("CARGO_BIN_EXE_msars-shop");

/// Every role, callees first.
fn shop() -> Vec<(Role, Pod)> {
    let mut pods: Vec<(Role, Pod)> = Vec::new();
    for role in ROLES.into_iter().rev() {
        let peers: Vec<(&str, &str)> = pods
            .iter()
            .map(|(role, pod)| (role.name(), pod.address.as_str()))
            .collect();
        let pod = Pod::start(role.name(), "v1", &peers, &["--self-time"]);
        pods.push((role, pod));
    }
    pods
}

#[tokio::test]
async fn every_chain_works_and_reaches_every_role() {
    let visitor = Visitor::new();
    let pods = shop();
    let at = |role: Role| {
        &pods
            .iter()
            .find(|(each, _)| *each == role)
            .unwrap()
            .1
            .address
    };
    for (_, route) in MIX {
        for _ in 0..10 {
            let answer = visitor.ask(at(Role::FrontEnd), route).await.unwrap();
            assert_eq!(answer.status(), 200, "{route}: {}", answer.body());
        }
    }
    for role in ROLES {
        // Nobody waits for the queue and its consumer: they may be a little behind.
        let mut served = 0.0;
        while served < 0.5 {
            served = visitor
                .metric(at(role), "shop_request_seconds_count", r#"code="200""#)
                .await;
        }
        let failed = visitor
            .metric(at(role), "shop_request_seconds_count", r#"code="5"#)
            .await;
        assert!(failed.abs() < 0.1, "{role}");
        let table = behaviour(role, msars_shop::Version::V1);
        assert!(table.workers > 0 && !table.routes.is_empty());
    }
    // The four first calls of a new order overlap, so waits add up to more than the whole.
    let sum = |name: &'static str| visitor.metric(at(Role::Orders), name, "");
    let whole = sum("shop_request_seconds_sum").await;
    let parts = sum("shop_self_seconds_sum").await + sum("shop_call_seconds_sum").await;
    assert!(parts > 1.02 * whole, "{parts} s in parts, {whole} s in all");
    // Shipping waited for nobody.
    let waits = visitor
        .metric(at(Role::Shipping), "shop_call_seconds_count", "")
        .await;
    let calls = visitor
        .metric(at(Role::Shipping), "shop_calls_total", "")
        .await;
    assert!(waits.abs() < 0.1 && calls > 9.5);
}

#[tokio::test]
async fn the_images_environment_alone_says_what_a_pod_plays() {
    let visitor = Visitor::new();
    let image = image(Role::SessionDb, msars_shop::Version::V3);
    let env: Vec<(&str, &str)> = image
        .env
        .iter()
        .map(|e| e.split_once('=').unwrap())
        .collect();
    let pod = Pod::spawn(
        Command::new(PROGRAM)
            .arg("serve")
            .envs(env)
            .env("SHOP_LISTEN", "127.0.0.1:0"),
    );
    let answer = visitor.ask(&pod.address, "GET /session").await.unwrap();
    let body: Value = serde_json::from_str(answer.body()).unwrap();
    assert_eq!(
        (&body["role"], &body["version"]),
        (&"session-db".into(), &"v3".into())
    );
    for page in ["GET /healthz", "GET /readyz"] {
        assert_eq!(visitor.code(&pod.address, page).await, 200);
    }
    let text = visitor
        .ask(&pod.address, "GET /metrics")
        .await
        .unwrap()
        .into_body();
    assert!(
        !text.contains("shop_self_seconds") && !text.contains("process_cpu"),
        "only when asked for"
    );
}

#[test]
fn the_printed_manifests_are_the_librarys() {
    let output = Command::new(PROGRAM)
        .args([
            "manifests",
            "--namespace",
            "market",
            "--slo",
            "p95<200ms",
            "--gate",
            "observe",
        ])
        .output()
        .unwrap();
    assert!(output.status.success());
    let options = Options {
        namespace: "market".into(),
        slo: "p95<200ms".into(),
        gate: "observe".into(),
        ..Options::default()
    };
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, manifests(&options));
}

#[test]
fn an_unknown_role_is_refused_by_name() {
    let output = Command::new(PROGRAM)
        .args(["serve", "--role", "kasse"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("\"kasse\" is no name of a role"));
}
