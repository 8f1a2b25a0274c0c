//! Who leads: a pure decision on what a Lease says, and on how long it has said so.
//!
//! Clocks of nodes differ, by minutes where nobody looks after them. The holder's times are never held against our own
//! clock: a Lease ends when it was seen unchanged for its duration. A dead leader whose clock ran ahead is followed as
//! soon as any other, and a living one keeps its Lease before one whose clock does.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// What a Lease says. Its time is the holder's clock: it tells one renewal from the next, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `spec.holderIdentity`; none or empty when vacant.
    pub holder: Option<String>,
    /// `spec.renewTime`.
    pub renewed: Option<Timestamp>,
    /// `spec.leaseDurationSeconds`.
    pub duration: Option<SignedDuration>,
}

/// What was last seen of a Lease, and when it was first seen so, by a clock that never jumps.
#[derive(Clone, Debug, Default)]
pub struct Seen(Option<(Facts, Instant)>);

impl Seen {
    /// Takes what was read, and returns for how long it has been the same at `at`: for no time when it is new.
    pub fn unchanged(&mut self, found: Option<&Facts>, at: Instant) -> SignedDuration {
        if self.0.as_ref().map(|(facts, _)| facts) != found {
            self.0 = found.map(|facts| (facts.clone(), at));
        }
        let since = self.0.as_ref().map_or(at, |(_, since)| *since);
        SignedDuration::try_from(at.saturating_duration_since(since)).unwrap_or(SignedDuration::MAX)
    }
}

/// What to do about a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Vacant, or expired: take it.
    Acquire,
    /// Ours and running: prolong it.
    Renew,
    /// Ours by name but expired: our claim has run out; take it anew.
    Yield,
    /// Somebody else's and running.
    Wait,
}

/// Decides on `lease` (`None`: no such object) for the replica `me`, which has seen it `unchanged` for so long. A lease
/// expires at exactly its duration; one without a duration counts as expired.
pub fn evaluate(lease: Option<&Facts>, me: &str, unchanged: SignedDuration) -> Step {
    let Some(lease) = lease else {
        return Step::Acquire;
    };
    let holder = lease.holder.as_deref().unwrap_or_default();
    if holder.is_empty() {
        return Step::Acquire;
    }
    let running = lease.duration.is_some_and(|duration| unchanged < duration);
    match (holder == me, running) {
        (true, true) => Step::Renew,
        (true, false) => Step::Yield,
        (false, true) => Step::Wait,
        (false, false) => Step::Acquire,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn facts(holder: &str, renewed: i64) -> Facts {
        Facts {
            holder: Some(holder.to_owned()),
            renewed: Some(Timestamp::from_second(renewed).unwrap()),
            duration: Some(SignedDuration::from_secs(15)),
        }
    }

    #[test]
    fn table() {
        let endless = |holder: &str| Facts {
            duration: None,
            ..facts(holder, 0)
        };
        let timeless = Facts {
            renewed: None,
            ..facts("other", 0)
        };
        let table = [
            (None, 0, Step::Acquire),
            (Some(Facts::default()), 0, Step::Acquire),
            (Some(facts("", 0)), 1, Step::Acquire),
            (Some(facts("me", 0)), 0, Step::Renew),
            (Some(facts("me", 0)), 14, Step::Renew),
            (Some(facts("me", 0)), 15, Step::Yield),
            (Some(endless("me")), 0, Step::Yield),
            // Just begun: whoever it is may live.
            (Some(facts("other", 0)), 0, Step::Wait),
            (Some(facts("other", 0)), 14, Step::Wait),
            (Some(facts("other", 0)), 15, Step::Acquire),
            (Some(timeless.clone()), 14, Step::Wait),
            (Some(timeless), 15, Step::Acquire),
            (Some(endless("other")), 0, Step::Acquire),
        ];
        for (lease, unchanged, step) in table {
            let unchanged = SignedDuration::from_secs(unchanged);
            let found = evaluate(lease.as_ref(), "me", unchanged);
            assert_eq!(found, step, "{lease:?} {unchanged:?}");
        }
    }

    #[test]
    fn a_lease_counts_from_when_it_was_first_seen_so_whatever_its_time_says() {
        let begun = Instant::now();
        let mut seen = Seen::default();
        // Seconds of ours, the lease, and for how many seconds it has been so.
        for (second, found, wanted) in [
            (0, Some(facts("a", 9_999)), 0),
            (5, Some(facts("a", 9_999)), 5),
            (20, Some(facts("a", 9_999)), 20),
            // A renewal, by a clock that was set back.
            (25, Some(facts("a", 3)), 0),
            (30, Some(facts("a", 3)), 5),
            // Another one holds it.
            (35, Some(facts("b", 3)), 0),
            (36, Some(facts("", 3)), 0),
            (40, None, 0),
            (50, None, 0),
            (55, Some(facts("b", 3)), 0),
        ] {
            let at = begun + Duration::from_secs(second);
            let unchanged = seen.unchanged(found.as_ref(), at);
            assert_eq!(
                unchanged,
                SignedDuration::from_secs(wanted),
                "at {second}: {found:?}"
            );
        }
    }
}
