//! The webhook's certificates: one named writer of the Secret and of the configuration's CA bundle, the leader.

mod keep;

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};
use msars_certs::{
    Authority, CertError, Leaf, Pem, Rotation, Usage, Validity, bundle, inspect, own_key, readable,
    rotation, signed,
};

pub use self::keep::Certificates;

/// How far clocks may differ.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// From an authority's first moment, which is up to [`SKEW`] before it was made, until every pod serves a leaf of it:
/// kubelets bring a Secret within two minutes.
const SETTLED: SignedDuration = SignedDuration::from_mins(15);

/// How long certificates live.
#[derive(Debug, Clone, Copy)]
pub struct Lives {
    /// Of the authority.
    pub authority: SignedDuration,
    /// Of the webhook's certificate.
    pub leaf: SignedDuration,
}

impl Default for Lives {
    fn default() -> Self {
        Self {
            authority: SignedDuration::from_hours(24 * 365),
            leaf: SignedDuration::from_hours(24 * 30),
        }
    }
}

/// What could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// The API server refused or did not answer.
    #[error("{step}: {source}")]
    Api {
        /// What was tried.
        step: &'static str,
        /// Why not.
        source: kube::Error,
    },
    /// A certificate could not be made or read.
    #[error(transparent)]
    Cert(#[from] CertError),
    /// The rest was not written: it is the next leader's to do.
    #[error("this replica leads no more")]
    NotLeading,
}

impl CertificatesError {
    /// A bounded label for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Api { .. } => "api",
            Self::Cert(error) => error.category(),
            Self::NotLeading => "not_leading",
        }
    }
}

/// The files of the Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Material {
    /// The authority that signed the leaf.
    pub ca: Pem,
    /// The leaf.
    pub leaf: Pem,
    /// What clients trust: the authority, and those before it while they may still be in use.
    pub bundle: String,
}

/// What to do about the stored material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing until then.
    Keep(Timestamp),
    /// Store this.
    Write(Box<Material>),
}

/// Most authorities that stay trusted beside a new one for material that was lost.
const KEPT: usize = 3;

/// The authorities of these texts that have not expired, as far as they stay trusted beside a new one: pods serve what
/// one of them signed until the kubelet brings them the new leaf. Which one, nobody says: one of the newest, or the
/// oldest, where the Secret could not be written since and every leader made another. The `new` one is none of them.
fn still_trusted(texts: &[&str], new: Option<&Material>, now: Timestamp) -> Vec<String> {
    let new = new.map(|new| new.ca.cert.trim());
    let mut found: Vec<(String, Validity)> = Vec::new();
    for (pem, validity) in texts.iter().flat_map(|text| readable(text)) {
        let known = new == Some(pem.as_str()) || found.iter().any(|(other, _)| *other == pem);
        if validity.not_after > now && !known {
            found.push((pem, validity));
        }
    }
    found.sort_by_key(|(_, validity)| Reverse(validity.not_before));
    if found.len() > KEPT {
        let oldest = found.len() - 1;
        found.swap(KEPT - 1, oldest);
        found.truncate(KEPT);
    }
    found.into_iter().map(|(pem, _)| pem).collect()
}

/// Authority and leaf, where all parts can be read and belong together.
fn usable(stored: &Material) -> Result<(Validity, Validity, Authority), CertError> {
    let ca = inspect(&stored.ca.cert)?;
    let leaf = inspect(&stored.leaf.cert)?;
    own_key(&stored.leaf)?;
    signed(&stored.leaf.cert, &stored.ca.cert)?;
    if !stored.bundle.contains(stored.ca.cert.trim()) {
        return Err(CertError::Misfit("the bundle lacks its authority"));
    }
    Ok((ca, leaf, Authority::load(stored.ca.clone())?))
}

/// Whether nothing of it is to be renewed yet.
fn lasts(material: &Material, now: Timestamp) -> bool {
    let keeps = |part: &Validity| matches!(rotation(part, now), Rotation::Keep { .. });
    usable(material).is_ok_and(|(ca, leaf, _)| keeps(&ca) && keeps(&leaf))
}

/// Decides on the stored material: the authority is exchanged at two thirds of its life (both stay in the bundle),
/// the leaf at two thirds of its own, or with its authority. Material that is not there, or of no use, is made anew;
/// what is trusted now, by `trusted`, stays so until the leaf is renewed: then nobody serves what is older than its
/// authority.
///
/// An authority that was `made` and could not be stored is taken again: each further one would be trusted instead of one
/// that pods may serve under.
pub fn next(
    stored: Option<&Material>,
    made: Option<&Material>,
    trusted: &str,
    names: &[&str],
    lives: Lives,
    now: Timestamp,
) -> Result<Step, CertError> {
    // Clocks differ: a certificate is valid from a little before it was made, on top of its life.
    let skew = SKEW.min(lives.leaf / 4);
    let from = now - skew;
    let issue = |authority: &Authority| {
        let leaf = Leaf {
            name: names.first().copied().unwrap_or("msars-admission"),
            group: None,
            sans: names,
            usage: Usage::Server,
        };
        authority.issue(&leaf, from, lives.leaf + skew)
    };
    let made = made.filter(|made| lasts(made, now));
    let anew = |kept: &[&str]| -> Result<Step, CertError> {
        if let Some(made) = made {
            return Ok(Step::Write(Box::new(Material {
                bundle: bundle(&made.ca.cert, kept),
                ..made.clone()
            })));
        }
        let authority = Authority::new("msars-webhook-ca", from, lives.authority + skew)?;
        Ok(Step::Write(Box::new(Material {
            bundle: bundle(&authority.pem().cert, kept),
            ca: authority.pem().clone(),
            leaf: issue(&authority)?,
        })))
    };
    let (stored, (ca, leaf, authority)) = match stored.map(|stored| (stored, usable(stored))) {
        Some((stored, Ok(parts))) => (stored, parts),
        lost => {
            let mut texts = vec![trusted];
            if let Some((stored, Err(error))) = lost {
                tracing::warn!(%error, category = error.category(), "stored certificates are of no use, and made anew");
                texts.insert(0, &stored.ca.cert);
            }
            let kept = still_trusted(&texts, made, now);
            let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
            return anew(&kept);
        }
    };
    match (rotation(&ca, now), rotation(&leaf, now)) {
        (Rotation::Keep { until: ca }, Rotation::Keep { until: leaf }) => {
            Ok(Step::Keep(ca.min(leaf)))
        }
        (Rotation::Keep { .. }, Rotation::Renew) => Ok(Step::Write(Box::new(Material {
            leaf: issue(&authority)?,
            bundle: if now.duration_since(ca.not_before) < SETTLED {
                stored.bundle.clone()
            } else {
                bundle(&stored.ca.cert, &[])
            },
            ca: stored.ca.clone(),
        }))),
        (Rotation::Renew, _) => anew(&[stored.ca.cert.as_str()]),
    }
}

#[cfg(test)]
mod tests;
