//! The status of a profile: one writer for shadow pods' findings.

use jiff::Timestamp;
use msars_api::conditions::ConditionType;
use msars_api::crd::{LoadLatencyProfile, Phase, ProfileSource};
use msars_domain::ObjectKey;

use super::task::{Finding, Job, JobError};
use crate::own::{Own, set_condition};
use crate::profiles::{self, Found};

type Key = (ObjectKey, String);

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

/// Stores a finding; false when it was not stored.
pub async fn finding(own: &Own, key: &Key, job: &Job, found: &Finding, now: Timestamp) -> bool {
    let message = sentence(&key.1, found);
    let outcome = own
        .status::<LoadLatencyProfile>(&profiles::key(&key.0, &key.1), |profile| {
            let generation = profile.metadata.generation;
            let found = Found {
                fitted: &found.fitted,
                profile: &found.profile,
                points: &found.points,
                percentile: job.percentile,
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
            let status = profile.status.get_or_insert_default();
            status.phase = Phase::Failed;
            status.observed_generation = generation;
            set_condition(
                &mut status.conditions,
                ConditionType::Ready,
                false,
                error.category(),
                &message,
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
