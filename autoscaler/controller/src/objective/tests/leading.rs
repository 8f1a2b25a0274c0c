//! Rounds against an API server of a few objects, of a replica that leads and of one that does no more.

use jiff::SignedDuration;
use msars_client::leader::Claim;
use msars_observe::Windows;
use msars_ops::shutdown::Tasks;
use tokio::sync::watch;

use super::super::Objectives;
use super::*;
use crate::own::Own;
use crate::workload::tests::server::{DEPLOYMENTS, OBJECTIVES, Server, deployed, unheard};

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// The task on a complete copy of what is stored. The tasks end with the second.
async fn objectives(server: &Server, claim: watch::Receiver<Claim>) -> (Objectives, Tasks) {
    let (world, client, tasks) = server.world().await;
    let (own, observer) = (Own::new(client, "test"), unheard());
    let (windows, board) = (Windows::default(), Arc::default());
    let made = Objectives::new(world, own, observer, windows, now, board, claim);
    (made, tasks)
}

#[tokio::test]
async fn who_lost_the_lead_in_a_round_writes_nothing_and_keeps_what_was_measured() {
    let server = Server::default();
    server.put(DEPLOYMENTS, &deployed("front-end"));
    let stored = &application("front-end", &[]).stored;
    server.put(OBJECTIVES, &serde_json::to_value(&**stored).unwrap());
    let (claim, seen) = watch::channel(None);
    let (mut objectives, _tasks) = objectives(&server, seen).await;
    // It led when the round began.
    Box::pin(objectives.round(true)).await;
    assert_eq!(server.written(), Vec::<String>::new());

    claim.send_replace(Some(now() + SignedDuration::from_secs(15)));
    objectives.turn(true).await;
    let written = server.written();
    let kinds = "/apis/msars.io/v1alpha1/namespaces/shop";
    for made in [
        format!("POST {kinds}/sloautoscalers"),
        format!("PUT {kinds}/servicelevelobjectives/front-end/status"),
    ] {
        assert!(written.contains(&made), "{made}: {written:?}");
    }
    // The next leader may split in another way; what was measured stays, since the lead may only have lapsed.
    let profiled = |objectives: &Objectives| objectives.memory[&key("front-end")].profiled;
    objectives
        .memory
        .get_mut(&key("front-end"))
        .unwrap()
        .profiled = Some(now());
    claim.send_replace(None);
    objectives.turn(false).await;
    assert_eq!(profiled(&objectives), Some(now()));
}
