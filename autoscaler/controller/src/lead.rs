//! The lead, asked right before every write: what came between may have taken longer than a claim lasts.

use jiff::Timestamp;
use msars_client::leader::{Claim, leads};
use msars_domain::Action;
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

    /// Whether an action may be performed now; what may not is left to the next leader, and told.
    pub fn lets(&self, action: &Action) -> bool {
        let holds = self.holds();
        if !holds {
            tracing::info!(action = action.kind(), object = %action.target(), "left to the next leader");
        }
        holds
    }
}
