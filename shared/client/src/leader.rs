//! The loop that keeps or awaits the Lease, and tells the program whether it leads.

use std::{future::Future, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, api::PostParams};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::lease::{Facts, Seen, Step, evaluate};

/// Who stands for election, for what.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Name of the Lease.
    pub lease: String,
    /// This replica, such as its pod's name; unique.
    pub me: String,
    /// Whole seconds that a claim lasts without renewal.
    pub duration: SignedDuration,
    /// Time between two rounds, and the longest one round may take; under half of `duration`.
    pub every: Duration,
}

/// The end of our claim; `None` when we do not lead. Compare with the clock before acting.
pub type Claim = Option<Timestamp>;

/// Whether this replica leads at `now`. Asked right before a write: what came between may have taken longer than the
/// claim lasts.
pub fn leads(claim: &watch::Receiver<Claim>, now: Timestamp) -> bool {
    claim.borrow().is_some_and(|end| end > now)
}

fn facts(lease: &Lease) -> Facts {
    let Some(spec) = &lease.spec else {
        return Facts::default();
    };
    Facts {
        holder: spec.holder_identity.clone(),
        renewed: spec.renew_time.as_ref().map(|time| time.0),
        duration: spec
            .lease_duration_seconds
            .map(|seconds| SignedDuration::from_secs(seconds.into())),
    }
}

impl Candidate {
    /// One round: read, decide by what was `seen` in earlier ones, write at the version that was read. A 409 on the
    /// write means that somebody else was faster: not our claim, and no error.
    pub async fn round(
        &self,
        api: &Api<Lease>,
        seen: &mut Seen,
        now: Timestamp,
    ) -> Result<Claim, kube::Error> {
        let found = api.get_opt(&self.lease).await?;
        let said = found.as_ref().map(facts);
        // After the answer: what it shows was written before, so that its holder's claim ends before it counts as over.
        let unchanged = seen.unchanged(said.as_ref(), Instant::now());
        let step = evaluate(said.as_ref(), &self.me, unchanged);
        if step == Step::Wait {
            return Ok(None);
        }
        let exists = found.is_some();
        let mut lease = found.unwrap_or_default();
        lease.metadata.name = Some(self.lease.clone());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if step != Step::Renew {
            spec.acquire_time = Some(MicroTime(now));
            spec.lease_transitions =
                Some(spec.lease_transitions.map_or(0, |n| n.saturating_add(1)));
        }
        spec.holder_identity = Some(self.me.clone());
        spec.renew_time = Some(MicroTime(now));
        spec.lease_duration_seconds = i32::try_from(self.duration.as_secs()).ok();
        let parameters = PostParams::default();
        let written = if exists {
            api.replace(&self.lease, &parameters, &lease).await
        } else {
            api.create(&parameters, &lease).await
        };
        match written {
            Ok(_) => Ok(Some(now + self.duration)),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the Lease back, when it is ours, so that another replica need not wait.
    pub async fn vacate(&self, api: &Api<Lease>) -> Result<(), kube::Error> {
        let Some(mut lease) = api.get_opt(&self.lease).await? else {
            return Ok(());
        };
        if facts(&lease).holder.as_deref() != Some(&self.me) {
            return Ok(());
        }
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
        }
        api.replace(&self.lease, &PostParams::default(), &lease)
            .await
            .map(drop)
    }

    /// Runs until `stop` turns true (or its sender is gone), then vacates. A round that fails
    /// or takes too long leaves the claim to run out; it is withdrawn when its end has passed.
    pub async fn run<N>(
        &self,
        api: &Api<Lease>,
        now: N,
        claim: &watch::Sender<Claim>,
        mut stop: watch::Receiver<bool>,
    ) where
        N: Fn() -> Timestamp,
    {
        let mut seen = Seen::default();
        loop {
            let asked = now();
            match timeout(self.every, self.round(api, &mut seen, asked)).await {
                Ok(Ok(outcome)) => {
                    claim.send_replace(outcome);
                }
                failed => {
                    tracing::warn!(?failed, lease = self.lease, "lease round failed");
                    claim.send_if_modified(|claim| {
                        let over = claim.is_some_and(|end| end <= now());
                        if over {
                            *claim = None;
                        }
                        over
                    });
                }
            }
            if ended(stop.wait_for(|stop| *stop), self.every).await {
                break;
            }
        }
        claim.send_replace(None);
        match timeout(self.every, self.vacate(api)).await {
            Ok(Ok(())) => {}
            failed => tracing::warn!(?failed, lease = self.lease, "lease left to expire"),
        }
    }
}

async fn ended<T>(stop: impl Future<Output = T>, within: Duration) -> bool {
    timeout(within, stop).await.is_ok()
}
