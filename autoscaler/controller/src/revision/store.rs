//! The status of a profile: one writer for shadow pods' findings.

use jiff::Timestamp;
use msars_api::crd::{LoadLatencyProfile, Phase, ProfileSource};
use tokio::sync::watch;

use super::Key;
use super::task::{Finding, JobError, Progress};
use crate::own::Own;
use crate::profiles::{self, Found};

/// One sentence about what was found.
pub fn sentence(revision: &str, finding: &Finding) -> String {
    let sizes: std::collections::BTreeSet<_> =
        finding.points.iter().map(|point| point.size).collect();
    format!(
        "Profiled revision {revision}: {} points at {} sizes, {:.2} ms of CPU per request (σ {:.2}, {} workers), {:.0} s",
        finding.points.len(),
        sizes.len(),
        finding.fitted.mechanism.work_ms,
        finding.fitted.mechanism.sigma,
        finding.fitted.mechanism.workers,
        finding.seconds.starting + finding.seconds.probing + finding.seconds.fitting,
    )
}

/// The phase that people see of a job, with the reason and message of its condition.
fn phase(progress: Progress) -> (Phase, &'static str, &'static str) {
    match progress {
        Progress::Starting => (
            Phase::Starting,
            "Starting",
            "the copy and its load pod are on their way to Ready",
        ),
        Progress::Probing(_) | Progress::Fitting => (
            Phase::Probing,
            "Probing",
            "the copy is driven at one size and rate after the other",
        ),
    }
}

/// Makes the object of a profile and says in it how far its job is, until that ends: a write for every phase, not for
/// every point.
pub async fn follow(
    own: &Own,
    object: &LoadLatencyProfile,
    key: &Key,
    mut progress: watch::Receiver<Progress>,
    now: fn() -> Timestamp,
) {
    if let Err(error) = own.create(object).await {
        tracing::warn!(%error, "a profile object was not made");
        return;
    }
    let mut said = None;
    loop {
        let stands = phase(*progress.borrow_and_update());
        if said != Some(stands) {
            said = Some(stands);
            let outcome = own
                .status::<LoadLatencyProfile>(&profiles::key(&key.0, &key.1), |profile| {
                    let generation = profile.metadata.generation;
                    let status = profile.status.get_or_insert_default();
                    // What another leader found meanwhile stands.
                    if status.phase != Phase::Done {
                        profiles::stands(status, stands, generation, now());
                    }
                })
                .await;
            if let Err(error) = outcome {
                tracing::warn!(%error, category = error.category(), "a profile's phase was not stored");
            }
        }
        if progress.changed().await.is_err() {
            return;
        }
    }
}

/// Stores a finding; false when it was not stored.
pub async fn finding(own: &Own, key: &Key, found: &Finding, now: Timestamp) -> bool {
    let message = sentence(&key.1, found);
    let outcome = own
        .status::<LoadLatencyProfile>(&profiles::key(&key.0, &key.1), |profile| {
            let generation = profile.metadata.generation;
            let found = Found {
                fitted: &found.fitted,
                profile: &found.profile,
                points: &found.points,
                percentile: found.percentile,
                source: ProfileSource::Shadow,
                seconds: found.seconds,
                message: message.clone(),
            };
            profiles::done(
                profile.status.get_or_insert_default(),
                &found,
                generation,
                now,
            );
        })
        .await;
    match outcome {
        Ok(()) => {
            tracing::info!(workload = %key.0, message, "profiled");
            true
        }
        Err(error) => {
            tracing::warn!(%error, category = error.category(), "a profile was not stored");
            false
        }
    }
}

/// Says why there is no profile.
pub async fn failure(own: &Own, key: &Key, error: &JobError, now: Timestamp) {
    let message = error.to_string();
    let outcome = own
        .status::<LoadLatencyProfile>(&profiles::key(&key.0, &key.1), |profile| {
            let generation = profile.metadata.generation;
            profiles::stands(
                profile.status.get_or_insert_default(),
                (Phase::Failed, error.category(), &message),
                generation,
                now,
            );
        })
        .await;
    if let Err(error) = outcome {
        tracing::warn!(%error, "a profile's failure was not stored");
    }
}

/// Removes the object of a profile that was stopped before it said anything; what is known stays.
pub async fn gone(own: &Own, key: &Key) {
    let removed = own
        .delete_if::<LoadLatencyProfile>(&profiles::key(&key.0, &key.1), |profile| {
            profile
                .status
                .as_ref()
                .is_none_or(|status| status.phase != Phase::Done)
        })
        .await;
    if let Err(error) = removed {
        tracing::warn!(%error, "an unfinished profile was not removed");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use http_body_util::BodyExt as _;
    use kube::Client;
    use kube::client::Body;
    use msars_api::crd::LoadLatencyProfileSpec;
    use msars_domain::ObjectKey;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn object(key: &Key) -> LoadLatencyProfile {
        let name = profiles::key(&key.0, &key.1).name;
        let mut object = LoadLatencyProfile::new(
            &name,
            LoadLatencyProfileSpec {
                workload: key.0.name.clone(),
                revision: key.1.clone(),
                shape: String::new(),
                images: Vec::new(),
                requests: String::new(),
                sizes_milli: Vec::new(),
                rates: Vec::new(),
            },
        );
        object.metadata.namespace = Some(key.0.namespace.clone());
        object
    }

    /// A client of a server that stores one profile; phases and condition reasons in the order in which they came.
    fn server(object: &LoadLatencyProfile) -> (Client, Arc<Mutex<Vec<String>>>) {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut stored) = (Arc::clone(&said), object.clone());
        tokio::spawn(async move {
            while let Some((request, answer)) = handle.next_request().await {
                let method = request.method().clone();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                if method == Method::PUT {
                    stored = serde_json::from_slice(&body).unwrap();
                    let status = stored.status.clone().unwrap();
                    let reasons: Vec<String> = status
                        .conditions
                        .iter()
                        .map(|found| format!("{}={} {}", found.type_, found.status, found.reason))
                        .collect();
                    let words = format!("{:?}: {}", status.phase, reasons.join(", "));
                    seen.lock().unwrap().push(words);
                }
                let body = Body::from(serde_json::to_vec(&stored).unwrap());
                answer.send_response(Response::new(body));
            }
        });
        (Client::new(service, "shop"), said)
    }

    #[tokio::test]
    async fn a_profile_says_how_far_it_is_once_for_every_phase() {
        let key: Key = (ObjectKey::new("shop", "catalogue"), "r2".into());
        let object = object(&key);
        let (client, said) = server(&object);
        let own = Own::new(client, "test");
        let (progress, seen) = watch::channel(Progress::Starting);
        let counted = |wanted: usize| {
            let said = Arc::clone(&said);
            async move {
                while said.lock().unwrap().len() < wanted {
                    tokio::task::yield_now().await;
                }
            }
        };
        let job = async {
            counted(1).await;
            progress.send_replace(Progress::Probing(0));
            counted(2).await;
            for next in [
                Progress::Probing(1),
                Progress::Probing(2),
                Progress::Fitting,
            ] {
                progress.send_replace(next);
                tokio::task::yield_now().await;
            }
            drop(progress);
        };
        tokio::join!(job, follow(&own, &object, &key, seen, now));
        let said = said.lock().unwrap().clone();
        assert_eq!(
            said,
            [
                "Starting: Profiled=False Starting, Ready=False Starting",
                "Probing: Profiled=False Probing, Ready=False Probing",
            ]
        );
    }
}
