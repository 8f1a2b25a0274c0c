//! The lead, asked right before every write: what came between may have taken longer than a claim lasts.

use jiff::Timestamp;
use msars_client::leader::{Claim, leads};
use tokio::sync::watch;

/// This replica's claim with the clock that it is compared with; cheap to clone.
#[derive(Clone, Debug)]
pub struct Lead {
    claim: watch::Receiver<Claim>,
    now: fn() -> Timestamp,
}

impl Lead {
    /// Of a claim, by a clock.
    pub fn new(claim: watch::Receiver<Claim>, now: fn() -> Timestamp) -> Self {
        Self { claim, now }
    }

    /// Whether this replica leads now. One that does not leaves the writes that are left to the next leader.
    pub fn holds(&self) -> bool {
        leads(&self.claim, (self.now)())
    }
}
