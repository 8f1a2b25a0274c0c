//! What a tick costs with many workloads: requests to the API server, and by hand its time.

use std::time::Instant;

use msars_observe::Observed;

use super::server::{AUTOSCALERS, DEPLOYMENTS, OBJECTIVES, PODS, Server, deployed, scaled};
use super::*;
use crate::metrics::TickOutcome;
use crate::objective::tests::profile;
use crate::workload::Workloads;

const PROFILES: &str = "/apis/msars.io/v1alpha1/loadlatencyprofiles";
const REPLICA_SETS: &str = "/apis/apps/v1/replicasets";
/// `MSARS_FLEET=10000 cargo test --profile ci -p msars-controller --lib fleet -- --nocapture` measures more.
const USUAL: usize = 100;

/// One of many, with two pods, a profile and an objective of its own.
fn add(server: &Server, name: &str) {
    let mut object = deployed(name);
    object["metadata"]["annotations"]["msars.io/application"] = json!(name);
    server.put(DEPLOYMENTS, &object);
    server.put(AUTOSCALERS, &scaled(name));
    let revision = workload(&object, &[]).revision;
    let hash = format!("{name}-h");
    let mut template = template("carts:v1");
    template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
    server.put(
        REPLICA_SETS,
        &json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"namespace": "shop", "name": format!("{name}-{hash}"), "uid": hash, "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": format!("d-{name}"), "controller": true}]},
            "spec": {"template": template}, "status": {"replicas": 2},
        }),
    );
    for pod_name in [format!("{name}-a"), format!("{name}-b")] {
        let mut pod = serde_json::to_value(&*pod(&pod_name, &hash)).unwrap();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["ownerReferences"][0]["name"] = json!(format!("{name}-{hash}"));
        server.put(PODS, &pod);
    }
    let profile = serde_json::to_value(&*profile(name, &revision, 0)).unwrap();
    server.put(PROFILES, &profile);
    let mut slo = serde_json::to_value(&*objective(&revision, 50.0)).unwrap();
    slo["metadata"]["name"] = json!(name);
    slo["spec"]["application"] = json!(name);
    slo["spec"]["entry"] = json!(name);
    slo["status"]["chains"][0]["services"][0]["workload"] = json!(name);
    server.put(OBJECTIVES, &slo);
}

#[tokio::test]
async fn a_tick_in_which_nothing_changes_asks_the_api_server_nothing() {
    let asked = std::env::var("MSARS_FLEET").ok();
    let count = asked.and_then(|text| text.parse().ok()).unwrap_or(USUAL);
    let server = Server::default();
    let names: Vec<String> = (0..count).map(|n| format!("w-{n}")).collect();
    for name in &names {
        add(&server, name);
    }
    let (mut workloads, _tasks) = server.workloads(server.lead()).await;
    let signals = |name: &String| Signals {
        workload: ObjectKey::new("shop", name.as_str()),
        ..signals(30.0)
    };
    let observed = Observed {
        signals: names.iter().map(signals).collect(),
        ..Observed::default()
    };
    assert_eq!(workloads.tick(&observed).await, TickOutcome::Decided);
    // The statuses, read and written; what is granted in the one namespace, and whether pods can be resized.
    let first = server.asked().len();
    assert!((2 * count..2 * count + 9).contains(&first), "{first}");
    let remembers = |workloads: &Workloads| {
        let all = workloads.world.autoscalers();
        all.iter()
            .filter(|one| one.status.as_ref().is_some_and(|s| s.memory.is_some()))
            .count()
    };
    while remembers(&workloads) < count {
        workloads.world.changed.notified().await;
    }
    let begun = Instant::now();
    assert_eq!(workloads.tick(&observed).await, TickOutcome::Decided);
    let took = begun.elapsed();
    assert_eq!(server.asked(), Vec::<String>::new());
    let decided = workloads.means.board.decided().unwrap();
    let loaded = decided
        .decisions
        .iter()
        .flatten()
        .filter(|decision| decision.numbers.need.is_some());
    assert_eq!(loaded.count(), count, "every one has a profile and a load");
    println!("{count} workloads: {:.3} s a tick", took.as_secs_f64());
}
