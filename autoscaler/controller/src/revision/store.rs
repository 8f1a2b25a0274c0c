//! The status of a profile: one writer for shadow pods' findings.

use jiff::Timestamp;
use msars_api::crd::{LoadLatencyProfile, Phase, ProfileSource};
use msars_domain::ObjectKey;
use tokio::sync::watch;

use super::Key;
use super::again::{PAUSE, WriteError, within};
use super::task::{Finding, JobError, Progress};
use crate::own::Own;
use crate::profiles::{self, Found};

/// Tries to make the object before its job is over.
const TRIES: u32 = 10;

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
    let mut tries = TRIES;
    while let Err(error) = within(own.create(object)).await {
        tries -= 1;
        // Without a sender the job is over.
        if tries == 0 || !error.retry() || progress.has_changed().is_err() {
            tracing::warn!(%error, category = error.category(), "a profile object was not made");
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let mut said = None;
    loop {
        let stands = phase(*progress.borrow_and_update());
        if said != Some(stands) {
            said = Some(stands);
            let name = profiles::key(&key.0, &key.1);
            let written = own.status::<LoadLatencyProfile>(&name, |profile| {
                let generation = profile.metadata.generation;
                let status = profile.status.get_or_insert_default();
                // What another leader found meanwhile stands.
                if status.phase != Phase::Done {
                    profiles::stands(status, stands, generation, now());
                }
            });
            if let Err(error) = within(written).await {
                tracing::warn!(%error, category = error.category(), "a profile's phase was not stored");
            }
        }
        if progress.changed().await.is_err() {
            return;
        }
    }
}

/// Stores a finding, until the hold's deadline at the longest.
///
/// # Errors
/// When it was not stored: for good, or until then; [`JobError::Stopped`] where it is left to the next leader.
pub async fn finding(
    own: &Own,
    object: &LoadLatencyProfile,
    key: &Key,
    found: &Finding,
    (now, until): (fn() -> Timestamp, Timestamp),
) -> Result<(), JobError> {
    let message = sentence(&key.1, found);
    let name = profiles::key(&key.0, &key.1);
    let edit = |profile: &mut LoadLatencyProfile| {
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
            now(),
        );
    };
    persist(own, object, &name, edit, (now, until)).await?;
    tracing::info!(workload = %key.0, message, "profiled");
    Ok(())
}

/// Writes a status as often as it takes until then; an object that is not there, or no more, is made first.
async fn persist(
    own: &Own,
    object: &LoadLatencyProfile,
    name: &ObjectKey,
    edit: impl Fn(&mut LoadLatencyProfile),
    (now, until): (fn() -> Timestamp, Timestamp),
) -> Result<(), JobError> {
    loop {
        let mut written = within(own.status::<LoadLatencyProfile>(name, &edit)).await;
        if written.as_ref().is_err_and(WriteError::gone) {
            written = match within(own.create(object)).await {
                Ok(()) => within(own.status::<LoadLatencyProfile>(name, &edit)).await,
                lost => lost,
            };
        }
        let Err(error) = written else {
            return Ok(());
        };
        if error.left() {
            return Err(JobError::Stopped);
        }
        tracing::warn!(%error, category = error.category(), "a profile was not stored");
        if !error.retry() || now() >= until {
            return Err(JobError::Store(error.to_string()));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Says why there is no profile.
pub async fn failure(own: &Own, key: &Key, error: &JobError, now: Timestamp) {
    let message = error.to_string();
    let name = profiles::key(&key.0, &key.1);
    let written = own.status::<LoadLatencyProfile>(&name, |profile| {
        let generation = profile.metadata.generation;
        let status = profile.status.get_or_insert_default();
        // A write without an answer may have been made.
        if status.phase != Phase::Done {
            let stands = (Phase::Failed, error.category(), message.as_str());
            profiles::stands(status, stands, generation, now);
        }
    });
    if let Err(error) = within(written).await {
        tracing::warn!(%error, category = error.category(), "a profile's failure was not stored");
    }
}

/// Removes the object of a profile that was stopped before it said anything; what is known stays.
pub async fn gone(own: &Own, key: &Key) {
    let name = profiles::key(&key.0, &key.1);
    let removed = own.delete_if::<LoadLatencyProfile>(&name, |profile| {
        profile
            .status
            .as_ref()
            .is_none_or(|status| status.phase != Phase::Done)
    });
    if let Err(error) = within(removed).await {
        tracing::warn!(%error, category = error.category(), "an unfinished profile was not removed");
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

    use super::super::size::tests::lead;
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

    /// A client of a server that answers with these codes, one after the other, and then as if all were well; what it
    /// was asked.
    fn shaky(
        object: &LoadLatencyProfile,
        codes: &'static [u16],
    ) -> (Client, Arc<Mutex<Vec<Method>>>) {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, stored) = (Arc::clone(&asked), serde_json::to_vec(object).unwrap());
        let mut codes = codes.iter().copied();
        tokio::spawn(async move {
            while let Some((request, answer)) = handle.next_request().await {
                seen.lock().unwrap().push(request.method().clone());
                let code = codes.next().unwrap_or(200);
                let body = if code == 200 {
                    stored.clone()
                } else {
                    let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                        "code": code, "message": "away", "reason": "x"});
                    status.to_string().into_bytes()
                };
                let body = Body::from(body);
                answer.send_response(Response::builder().status(code).body(body).unwrap());
            }
        });
        (Client::new(service, "shop"), asked)
    }

    #[tokio::test]
    async fn a_finding_outlives_a_moment_without_an_api_server() {
        let key: Key = (ObjectKey::new("shop", "catalogue"), "r2".into());
        let (object, name) = (object(&key), profiles::key(&key.0, &key.1));
        let (get, put, post) = (Method::GET, Method::PUT, Method::POST);
        let later = Timestamp::from_second(60).unwrap();
        let table: [(&[u16], Timestamp, bool, &[&Method]); 6] = [
            (&[], later, true, &[&get, &put]),
            (&[503], later, true, &[&get, &get, &put]),
            (&[200, 429], later, true, &[&get, &put, &get, &put]),
            (&[404], later, true, &[&get, &post, &get, &put]),
            (&[403], later, false, &[&get]),
            (&[503], now(), false, &[&get]),
        ];
        for (codes, until, wanted, asks) in table {
            let (client, asked) = shaky(&object, codes);
            let own = Own::new(client, "test");
            let ended = persist(&own, &object, &name, |_profile| {}, (now, until)).await;
            assert_eq!(ended.is_ok(), wanted, "{codes:?}: {ended:?}");
            let asked = asked.lock().unwrap().clone();
            assert_eq!(asked.iter().collect::<Vec<_>>(), asks, "{codes:?}");
        }
    }

    #[tokio::test]
    async fn what_was_found_is_no_failure_where_it_is_left_to_the_next_leader() {
        let key: Key = (ObjectKey::new("shop", "catalogue"), "r2".into());
        let (object, name) = (object(&key), profiles::key(&key.0, &key.1));
        let later = Timestamp::from_second(60).unwrap();
        let (client, asked) = shaky(&object, &[]);
        let own = Own::new(client, "test").led(lead(false));
        let ended = persist(&own, &object, &name, |_profile| {}, (now, later)).await;
        assert_eq!(ended.map_err(|error| error.category()), Err("Stopped"));
        assert_eq!(*asked.lock().unwrap(), [Method::GET]);
    }

    #[tokio::test]
    async fn an_object_is_made_though_the_first_try_fails() {
        let key: Key = (ObjectKey::new("shop", "catalogue"), "r2".into());
        let object = object(&key);
        let (client, asked) = shaky(&object, &[503]);
        let own = Own::new(client, "test");
        let (progress, seen) = watch::channel(Progress::Starting);
        let job = async {
            while asked.lock().unwrap().len() < 4 {
                tokio::time::sleep(PAUSE / 10).await;
            }
            drop(progress);
        };
        tokio::join!(job, follow(&own, &object, &key, seen, now));
        let asked = asked.lock().unwrap().clone();
        assert_eq!(
            asked,
            [Method::POST, Method::POST, Method::GET, Method::PUT]
        );
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
