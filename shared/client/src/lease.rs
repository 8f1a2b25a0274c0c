//! Who leads: a pure decision on the facts of a Lease.

use jiff::{SignedDuration, Timestamp};

/// What a Lease says. Times are the holder's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `spec.holderIdentity`; none or empty when vacant.
    pub holder: Option<String>,
    /// `spec.renewTime`.
    pub renewed: Option<Timestamp>,
    /// `spec.leaseDurationSeconds`.
    pub duration: Option<SignedDuration>,
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

/// Decides on `lease` (`None`: no such object) for the replica `me`. A lease expires at
/// exactly `renewed + duration`; one without either time counts as expired.
pub fn evaluate(lease: Option<&Facts>, me: &str, now: Timestamp) -> Step {
    let Some(lease) = lease else {
        return Step::Acquire;
    };
    let holder = lease.holder.as_deref().unwrap_or_default();
    if holder.is_empty() {
        return Step::Acquire;
    }
    let running = match (lease.renewed, lease.duration) {
        (Some(renewed), Some(duration)) => now.duration_since(renewed) < duration,
        _ => false,
    };
    match (holder == me, running) {
        (true, true) => Step::Renew,
        (true, false) => Step::Yield,
        (false, true) => Step::Wait,
        (false, false) => Step::Acquire,
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{Facts, Step, evaluate};

    #[test]
    fn table() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let facts = |holder: &str, age: Option<i64>| Facts {
            holder: Some(holder.to_owned()),
            renewed: age.map(|age| now - SignedDuration::from_secs(age)),
            duration: Some(SignedDuration::from_secs(15)),
        };
        let table = [
            (None, Step::Acquire),
            (Some(Facts::default()), Step::Acquire),
            (Some(facts("", Some(1))), Step::Acquire),
            (Some(facts("me", Some(14))), Step::Renew),
            (Some(facts("me", Some(15))), Step::Yield),
            (Some(facts("me", None)), Step::Yield),
            (Some(facts("other", Some(14))), Step::Wait),
            (Some(facts("other", Some(-3))), Step::Wait), // their clock is ahead
            (Some(facts("other", Some(15))), Step::Acquire),
            (Some(facts("other", None)), Step::Acquire),
        ];
        for (lease, step) in table {
            assert_eq!(evaluate(lease.as_ref(), "me", now), step, "{lease:?}");
        }
    }
}
