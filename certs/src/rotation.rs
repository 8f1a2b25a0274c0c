//! When to renew, and what the clients trust meanwhile.

use jiff::Timestamp;

use crate::Validity;

/// What to do with a certificate now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Fine until the given moment.
    Keep {
        /// Two thirds of its life.
        until: Timestamp,
    },
    /// Two thirds of its life are over, or it is not valid at all.
    Renew,
}

/// Renews at two thirds of a certificate's life, and at once when `now` lies outside it.
pub fn rotation(certificate: &Validity, now: Timestamp) -> Rotation {
    let life = certificate.not_after.duration_since(certificate.not_before);
    let until = certificate.not_before + (life / 3) * 2;
    if now < certificate.not_before || now >= until {
        Rotation::Renew
    } else {
        Rotation::Keep { until }
    }
}

/// The bundle that clients trust while an authority is exchanged: the new one first, then the old ones, each once.
pub fn bundle(new: &str, old: &[&str]) -> String {
    let mut all = vec![new.trim()];
    for old in old.iter().map(|old| old.trim()) {
        if !all.contains(&old) {
            all.push(old);
        }
    }
    let mut text = all.join("\n");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, Leaf, Usage, inspect};
    use jiff::SignedDuration;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_leaf_is_renewed_at_two_thirds_of_its_life() {
        let from = at("2026-01-01T00:00:00Z");
        let authority = Authority::new("test-ca", from, SignedDuration::from_hours(900)).unwrap();
        let leaf = Leaf {
            name: "webhook",
            group: None,
            sans: &["webhook.svc", "127.0.0.1"],
            usage: Usage::Server,
        };
        let pem = authority
            .issue(&leaf, from, SignedDuration::from_hours(90))
            .unwrap();
        let validity = inspect(&pem.cert).unwrap();
        assert_eq!(validity.not_before, from);
        assert!(validity.issuer.contains("test-ca"), "{}", validity.issuer);
        let turn = from + SignedDuration::from_hours(60);
        for (now, expected) in [
            (from - SignedDuration::from_secs(1), Rotation::Renew),
            (from, Rotation::Keep { until: turn }),
            (
                turn - SignedDuration::from_secs(1),
                Rotation::Keep { until: turn },
            ),
            (turn, Rotation::Renew),
            (from + SignedDuration::from_hours(91), Rotation::Renew),
        ] {
            assert_eq!(rotation(&validity, now), expected, "{now}");
        }
    }

    #[test]
    fn a_stored_authority_goes_on_signing_under_the_same_name() {
        let from = at("2026-01-01T00:00:00Z");
        let first = Authority::new("kept-ca", from, SignedDuration::from_hours(9)).unwrap();
        let again = Authority::load(first.pem().clone()).unwrap();
        let leaf = Leaf {
            name: "kubelet",
            group: Some("system:nodes"),
            sans: &[],
            usage: Usage::Client,
        };
        let pem = again
            .issue(&leaf, from, SignedDuration::from_hours(1))
            .unwrap();
        let validity = inspect(&pem.cert).unwrap();
        assert!(validity.issuer.contains("kept-ca"));
        assert!(
            validity.subject.contains("system:nodes"),
            "{}",
            validity.subject
        );
    }

    #[test]
    fn the_bundle_holds_every_authority_once() {
        assert_eq!(bundle("A\n", &["B"]), "A\nB\n");
        assert_eq!(bundle("A", &["A\n"]), "A\n");
        assert_eq!(bundle("A", &[]), "A\n");
        assert_eq!(bundle("A", &["B\n", "C", "B", "A"]), "A\nB\nC\n");
    }

    #[test]
    fn garbage_is_unreadable_and_no_panic() {
        assert_eq!(
            inspect("-----BEGIN CERTIFICATE-----")
                .unwrap_err()
                .category(),
            "CertificateUnreadable"
        );
    }

    #[test]
    fn a_private_key_never_reaches_a_log() {
        let authority = Authority::new(
            "ca",
            at("2026-01-01T00:00:00Z"),
            SignedDuration::from_hours(1),
        )
        .unwrap();
        assert!(!format!("{authority:?}").contains("PRIVATE"));
    }
}
