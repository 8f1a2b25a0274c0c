//! Whole ticks against an API server of a few objects.

use http::Method;
use msars_api::annotations::ADOPT;
use msars_client::unread::{Kind, UnreadObjects};
use msars_domain::Action;
use msars_observe::{Observed, Windows};

use super::adopting::{copy, hpa};
use super::server::{AUTOSCALERS, DEPLOYMENTS, PODS, Server, deployed, lead, scaled};
use super::*;
use crate::metrics::TickOutcome;
use crate::workload::Workloads;
use crate::workload::deaf::Deaf;

fn observed(names: &[&str]) -> Observed {
    let signals = |name: &&str| Signals {
        workload: ObjectKey::new("shop", *name),
        ..signals(30.0)
    };
    Observed {
        signals: names.iter().map(signals).collect(),
        ..Observed::default()
    }
}

/// A server with the Deployments and autoscalers of these names.
fn server(names: &[&str]) -> Server {
    let server = Server::default();
    for name in names {
        let mut deployment = deployed(name);
        deployment["metadata"]["annotations"][ADOPT] = json!("hpa");
        server.put(DEPLOYMENTS, &deployment);
        server.put(AUTOSCALERS, &scaled(name));
    }
    server
}

/// An autoscaler was taken over from a workload, and somebody deleted the object that stored it.
fn bereave(workloads: &mut Workloads, name: &str) {
    let key = ObjectKey::new("shop", name);
    let workload = workloads.world.workloads().remove(&key).unwrap();
    let mut before: SloAutoscaler = serde_json::from_value(scaled(name)).unwrap();
    before.metadata.uid = Some("deleted since".into());
    before.status.get_or_insert_default().adopted = Some(copy(&hpa(|_| ())));
    let memory = workloads.recall(&workload, &before, now());
    assert_eq!(memory.kept.lost(&before), None);
}

fn status(name: &str) -> String {
    format!("PUT /apis/msars.io/v1alpha1/namespaces/shop/sloautoscalers/{name}/status")
}

#[tokio::test]
async fn a_status_that_cannot_be_written_stops_no_other_workload() {
    let server = server(&["carts", "orders"]);
    let (mut workloads, _tasks) = server.workloads(lead(60)).await;
    bereave(&mut workloads, "carts");
    server.refuse(Method::PUT, "carts/status", 500);
    for _ in 0..2 {
        let both = observed(&["carts", "orders"]);
        assert_eq!(workloads.tick(&both).await, TickOutcome::Decided);
    }
    let decided = |name: &str| !server.get(AUTOSCALERS, name)["status"]["memory"].is_null();
    assert!(decided("shop/orders") && !decided("shop/carts"));
    // Alone it is told apart from an idle tick.
    let alone = observed(&["carts"]);
    let outcome = workloads.tick(&alone).await;
    assert_eq!(outcome, TickOutcome::Unstored);

    // Stored at last, it is decided on when that is seen.
    server.relent();
    let outcome = workloads.tick(&alone).await;
    assert_eq!(outcome, TickOutcome::Unstored);
    let stored = server.get(AUTOSCALERS, "shop/carts");
    assert_eq!(stored["status"]["adopted"]["name"], "carts");
    let seen = |workloads: &Workloads| {
        let all = workloads.world.autoscalers();
        all.iter()
            .any(|one| super::super::status::stored(one).is_some())
    };
    while !seen(&workloads) {
        workloads.world.changed.notified().await;
    }
    assert_eq!(workloads.tick(&alone).await, TickOutcome::Decided);
    assert!(decided("shop/carts"));
}

#[tokio::test]
async fn an_autoscaler_that_cannot_be_read_stops_no_other_workload() {
    let server = server(&["carts", "orders"]);
    let mut unreadable = scaled("carts");
    unreadable["spec"]["maxReplicas"] = json!(5_000_000_000_u64);
    server.put(AUTOSCALERS, &unreadable);
    let (mut workloads, _tasks) = server.workloads(lead(60)).await;
    let unread = UnreadObjects::default();
    workloads.world.count_unread(&unread);
    let counted = [Kind::SloAutoscaler, Kind::ServiceLevelObjective].map(|kind| unread.count(kind));
    assert_eq!(counted, [1, 0]);
    let both = observed(&["carts", "orders"]);
    let outcome = workloads.tick(&both).await;
    assert_eq!(outcome, TickOutcome::Decided);
    let decided = |name: &str| !server.get(AUTOSCALERS, name)["status"]["memory"].is_null();
    assert!(decided("shop/orders") && !decided("shop/carts"));
}

#[tokio::test]
async fn who_lost_the_lead_while_it_asked_writes_nothing() {
    let server = server(&["carts", "orders", "user"]);
    let mut gone = deployed("user");
    gone["metadata"]["annotations"]["msars.io/mode"] = json!("off");
    server.put(DEPLOYMENTS, &gone);
    let mut remembered = scaled("user");
    remembered["status"] = json!({"memory": "{}"});
    server.put(AUTOSCALERS, &remembered);
    let (mut workloads, _tasks) = server.workloads(lead(0)).await;
    bereave(&mut workloads, "carts");
    let both = observed(&["carts", "orders"]);
    workloads.tick(&both).await;
    assert_eq!(server.written(), Vec::<String>::new());

    let (mut workloads, _tasks) = server.workloads(lead(60)).await;
    bereave(&mut workloads, "carts");
    workloads.tick(&both).await;
    let written = server.written();
    for name in ["carts", "orders", "user"] {
        assert!(written.contains(&status(name)), "{name}: {written:?}");
    }
}

#[tokio::test]
async fn whether_pods_can_be_resized_is_asked_until_it_is_answered() {
    let server = server(&["orders"]);
    let (mut workloads, _tasks) = server.workloads(lead(60)).await;
    server.refuse(Method::GET, "/api/v1", 503);
    let orders = observed(&["orders"]);
    let asked = |server: &Server| {
        let asked = server.asked();
        asked.iter().filter(|one| *one == "GET /api/v1").count()
    };
    let told = |server: &Server| {
        let stored = server.get(AUTOSCALERS, "shop/orders");
        let all = stored["status"]["conditions"].as_array().cloned().unwrap();
        let found = all.iter().find(|one| one["type"] == "ResizeBlocked");
        found.unwrap()["reason"].clone()
    };
    for _ in 0..2 {
        workloads.tick(&orders).await;
        assert_eq!(told(&server), "ResizeUndiscovered");
        assert_eq!(asked(&server), 1);
    }
    server.relent();
    workloads.tick(&orders).await;
    assert_eq!((told(&server), asked(&server)), (json!("NotBlocked"), 1));
    // Answered, it is not asked at every tick; what was answered holds.
    server.refuse(Method::GET, "/api/v1", 503);
    workloads.tick(&orders).await;
    assert_eq!((told(&server), asked(&server)), (json!("NotBlocked"), 0));
}

/// A server with a workload of one pod that is acted on; no kubelet is to be found at the address of its node.
fn acting() -> Server {
    let server = Server::default();
    server.put(DEPLOYMENTS, &deployed("carts"));
    server.put(AUTOSCALERS, &scaled("carts"));
    let mut pod = serde_json::to_value(&*pod("a", "h1")).unwrap();
    pod["status"]["hostIP"] = json!("no address");
    server.put(PODS, &pod);
    server
}

#[tokio::test]
async fn a_growth_between_ticks_ends_with_the_lead() {
    let resize = |pod: &str| format!("PATCH /api/v1/namespaces/shop/pods/{pod}/resize");
    let (status, a, b) = (status("carts"), resize("a"), resize("b"));
    let table: [(&str, &[&String]); 4] = [
        // The second pod is gone; what was made of it is told.
        ("nothing", &[&status, &a, &b, &status]),
        ("pods/a/resize", &[&status, &a]),
        ("carts/status", &[&status]),
        // Between what is read and the write that rests on it.
        ("sloautoscalers/carts", &[]),
    ];
    for (end, wanted) in table {
        let server = acting();
        let (mut workloads, _tasks) = server.workloads(server.lead()).await;
        workloads.tick(&observed(&["carts"])).await;
        server.written();
        server.end_lead_at(end);
        let grow = |name: &str| Action::Resize {
            pod: ObjectKey::new("shop", name),
            uid: name.into(),
            container: "app".into(),
            request: None,
            limit: Some(MilliCpu(400)),
        };
        let actions = vec![grow("a"), grow("b")];
        workloads.grow(&key(), MilliCpu(400), actions, now()).await;
        let written = server.written();
        assert_eq!(written.iter().collect::<Vec<_>>(), wanted, "{end}");
        let told = server.get(AUTOSCALERS, "shop/carts")["status"]["lastChange"]["message"].clone();
        let said = json!("1 throttled pod(s) grew in place to 400m, between two ticks");
        assert_eq!(told == said, end == "nothing", "{end}: {told}");
    }
}

#[tokio::test]
async fn by_a_copy_that_has_been_silent_for_long_nothing_is_scaled() {
    fn later() -> Timestamp {
        now() + jiff::SignedDuration::from_secs(31)
    }
    let server = acting();
    let (mut workloads, _tasks) = server.workloads(lead(60)).await;
    server.silence(DEPLOYMENTS);
    let hears = |workloads: &Workloads| workloads.world.heard().iter().all(|(_, hears)| *hears);
    while hears(&workloads) {
        workloads.world.changed.notified().await;
    }
    // A watch that breaks is no more than that.
    let carts = observed(&["carts"]);
    assert_eq!(workloads.tick(&carts).await, TickOutcome::Decided);
    workloads.reflex().await;
    assert!(!workloads.deaf.is_empty(), "its kubelet was asked");
    assert!(!server.written().is_empty());

    workloads.deaf = Deaf::default();
    workloads.means.now = later;
    assert_eq!(workloads.tick(&carts).await, TickOutcome::Silent);
    workloads.reflex().await;
    assert!(workloads.deaf.is_empty());
    assert_eq!(server.written(), Vec::<String>::new());
}

#[test]
fn what_is_old_follows_how_often_prometheus_scrapes() {
    let of = |seconds| {
        let windows = Windows {
            scrape: std::time::Duration::from_secs(seconds),
            ..Windows::default()
        };
        let limits = crate::workload::limits(&windows);
        (limits.staleness_s, limits.lost_s, limits.quantile_s)
    };
    let usual = msars_plan::Limits::default();
    let usual = (usual.staleness_s, usual.lost_s, usual.quantile_s);
    assert_eq!(of(5), usual);
    assert_eq!(of(15), usual);
    // Two and a half scrapes are one window of a rate.
    assert_eq!(of(60), (150, 120, 212));
}
