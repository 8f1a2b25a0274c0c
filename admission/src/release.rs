//! A webhook replica ends holds whose deadline passed while no controller leads, or none that could end them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use msars_client::apply::{Applied, apply};
use msars_client::events::Events;
use msars_gate::{Step, Watcher, next};
use tokio::sync::watch;

use crate::snapshot::Source;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// Looks until `stop`. All replicas do: the patch tests what it changes, so that only one of them succeeds.
pub async fn run(
    source: Arc<Source>,
    (client, events): (Client, Events),
    mut stop: watch::Receiver<bool>,
    now: fn() -> Timestamp,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _told = stop.wait_for(|stop| *stop) => return,
        }
        let snapshot = source.read();
        if !source.deployments_healthy() {
            continue;
        }
        let watcher = Watcher::Bystander {
            lease_renewed: snapshot.lease_renewed,
        };
        for deployment in source.deployments() {
            let Step::Release { why, action } = next(&deployment, watcher, now()) else {
                continue;
            };
            match apply(&client, &action).await {
                Ok(applied) => {
                    tracing::info!(
                        workload = %action.target(), reason = why.word(), ?applied,
                        "released a hold that no controller ended"
                    );
                    if applied == Applied::Done {
                        let note =
                            format!("Released, with no controller at work: {}", why.sentence());
                        events
                            .tell(&deployment, "Gate", true, "RevisionReleased", &note)
                            .await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, category = error.category(), "a release failed");
                }
            }
        }
    }
}
