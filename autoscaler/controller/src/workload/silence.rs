//! For how long copies that scaling rests on have not heard from the API server. While lists and watches are refused,
//! small writes may pass: pods would be scaled by a copy that does not show a pause, or mode `off`, of since then.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::Workloads;

/// A copy that is silent for longer is no ground for a write: a watch that broke is listed anew within seconds.
const LONGEST: SignedDuration = SignedDuration::from_secs(30);

/// Kinds whose copies are silent.
#[derive(Debug, Default)]
pub(super) struct Silence {
    since: BTreeMap<&'static str, Timestamp>,
    /// Those that have been for too long, as last told.
    told: Vec<&'static str>,
}

impl Silence {
    /// Takes in whether each kind hears `now`; those that have not for too long. Pure.
    fn look(&mut self, heard: &[(&'static str, bool)], now: Timestamp) -> Vec<&'static str> {
        self.since.retain(|kind, _| heard.contains(&(*kind, false)));
        for (kind, hears) in heard {
            if !hears {
                self.since.entry(*kind).or_insert(now);
            }
        }
        let long = self.since.iter();
        let long = long.filter(|(_, since)| now.duration_since(**since) > LONGEST);
        long.map(|(kind, _)| *kind).collect()
    }
}

impl Workloads {
    /// Whether all copies that scaling rests on have heard from the API server lately. A change is told once.
    pub(super) fn hears(&mut self) -> bool {
        let silent = self.silence.look(&self.world.heard(), (self.means.now)());
        let hears = silent.is_empty();
        if silent != self.silence.told {
            if hears {
                tracing::info!("every copy hears from the API server again");
            } else {
                tracing::warn!(
                    ?silent,
                    "nothing is scaled: these copies have not heard from the API server for {} s, so that they may lack a pause or mode off",
                    LONGEST.as_secs()
                );
            }
            self.silence.told = silent;
        }
        hears
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_no_ground_for_a_write_when_it_was_silent_for_long_without_a_break() {
        let mut silence = Silence::default();
        // (second, deployments hear, pods hear; those that are silent for too long)
        let table: [(i64, bool, bool, &[&str]); 9] = [
            (0, true, true, &[]),
            (2, false, true, &[]),
            (32, false, true, &[]),
            (33, false, false, &["deployments"]),
            (60, false, false, &["deployments"]),
            (64, false, false, &["deployments", "pods"]),
            // Listed once, it is as new as any.
            (66, true, false, &["pods"]),
            (68, false, true, &[]),
            (98, false, true, &[]),
        ];
        for (second, deployments, pods, wanted) in table {
            let now = Timestamp::from_second(second).unwrap();
            let heard = [("deployments", deployments), ("pods", pods)];
            assert_eq!(silence.look(&heard, now), wanted, "{second}");
        }
    }
}
