//! When the leader was last heard of, by this replica's own clock, and what time it is by the leader's. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;

/// The last renewal that was seen. The leader's clock may be minutes from ours: its time tells one renewal from the
/// next, and counts as one of ours only where nothing else is known.
#[derive(Debug, Default)]
pub(super) struct Heard(Option<Renewal>);

#[derive(Debug)]
struct Renewal {
    holder: String,
    /// By the holder's clock.
    renewed: Timestamp,
    /// By ours.
    at: Timestamp,
}

impl Heard {
    /// Takes what the copy of the Lease shows at `now`, and returns when the leader was last heard of: `None` without a
    /// Lease, and by one that was given up, which names nobody.
    ///
    /// A renewal counts from when it is seen, the first one from when it says that it was made: who starts beside a
    /// controller that died long ago begins no hold. One from the future counts from now, so that it is over in time
    /// whatever a dead leader's clock said.
    pub(super) fn take(&mut self, leases: &[Arc<Lease>], now: Timestamp) -> Option<Timestamp> {
        let last = self.0.take();
        let (holder, renewed) = held(leases)?;
        let at = match last {
            None => renewed,
            Some(last) if last.holder == holder && last.renewed == renewed => last.at,
            Some(_) => now,
        };
        // Also where our own clock was set back since.
        let at = at.min(now);
        self.0 = Some(Renewal {
            holder,
            renewed,
            at,
        });
        Some(at)
    }
}

/// Who holds a Lease, and its last renewal by the holder's clock.
fn held(leases: &[Arc<Lease>]) -> Option<(String, Timestamp)> {
    leases.iter().find_map(|lease| {
        let spec = lease.spec.as_ref()?;
        let holder = spec.holder_identity.clone()?;
        let renewed = spec.renew_time.as_ref()?.0;
        (!holder.is_empty()).then_some((holder, renewed))
    })
}

/// What the leader stamps is compared with this: its own time, a few seconds old, or ours where nobody leads.
pub(super) fn leaders_time(leases: &[Arc<Lease>], now: Timestamp) -> Timestamp {
    held(leases).map_or(now, |(_, renewed)| renewed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn leases(lease: Option<(&str, i64)>) -> Vec<Arc<Lease>> {
        lease
            .iter()
            .map(|(holder, renewed)| {
                let renewed = format!("{:.6}", at(*renewed));
                let spec = json!({"holderIdentity": holder, "renewTime": renewed});
                let lease = json!({"metadata": {}, "spec": spec});
                Arc::new(serde_json::from_value(lease).unwrap())
            })
            .collect()
    }

    /// Our second; holder and second of the Lease, if there is one; the second at which the leader was last heard of.
    type Look = (i64, Option<(&'static str, i64)>, Option<i64>);

    #[test]
    fn a_renewal_counts_from_when_it_is_seen_and_the_first_from_when_it_was_made() {
        let rows: &[(&str, &[Look])] = &[
            ("no Lease", &[(0, None, None)]),
            (
                "given up",
                &[(0, Some(("a", 0)), Some(0)), (1, Some(("", 0)), None)],
            ),
            (
                "renewed as it should be",
                &[
                    (0, Some(("a", -2)), Some(-2)),
                    (2, Some(("a", -2)), Some(-2)),
                    (4, Some(("a", 3)), Some(4)),
                    (8, Some(("a", 3)), Some(4)),
                ],
            ),
            (
                "dead long before",
                &[
                    (0, Some(("a", -900)), Some(-900)),
                    (9, Some(("a", -900)), Some(-900)),
                ],
            ),
            (
                "dead, and its clock was 20 minutes ahead",
                &[
                    (0, Some(("a", 1200)), Some(0)),
                    (40, Some(("a", 1200)), Some(0)),
                ],
            ),
            (
                "alive, and its clock is 20 minutes ahead",
                &[
                    (0, Some(("a", 1200)), Some(0)),
                    (5, Some(("a", 1205)), Some(5)),
                ],
            ),
            (
                "alive, and its clock is 20 minutes behind",
                &[
                    (0, Some(("a", -1200)), Some(-1200)),
                    (5, Some(("a", -1195)), Some(5)),
                ],
            ),
            (
                "another one leads, by a clock that is behind",
                &[
                    (0, Some(("a", 0)), Some(0)),
                    (20, Some(("b", -300)), Some(20)),
                ],
            ),
            (
                "our own clock is set back",
                &[
                    (0, Some(("a", 0)), Some(0)),
                    (5, Some(("a", 5)), Some(5)),
                    (-600, Some(("a", 5)), Some(-600)),
                    (-570, Some(("a", 5)), Some(-600)),
                ],
            ),
        ];
        for (name, looks) in rows {
            let mut heard = Heard::default();
            for (second, lease, wanted) in *looks {
                let found = heard.take(&leases(*lease), at(*second));
                assert_eq!(found, wanted.map(at), "{name} at {second}");
            }
        }
    }

    #[test]
    fn the_leaders_time_is_that_of_its_lease_and_ours_where_nobody_leads() {
        for (name, lease, wanted) in [
            ("ahead", Some(("a", 1200)), 1200),
            ("behind", Some(("a", -1200)), -1200),
            ("given up", Some(("", -1200)), 0),
            ("no Lease", None, 0),
        ] {
            assert_eq!(leaders_time(&leases(lease), at(0)), at(wanted), "{name}");
        }
    }
}
