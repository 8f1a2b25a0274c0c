//! The webhook's certificates: one named writer of the Secret and of the configuration's CA bundle, the leader.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use msars_api::names;
use msars_certs::{
    Authority, CertError, Leaf, Pem, Rotation, Usage, Validity, bundle, inspect, own_key, readable,
    rotation, signed,
};
use serde_json::json;

/// How far clocks may differ.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

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
}

impl CertificatesError {
    /// A bounded label for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Api { .. } => "api",
            Self::Cert(error) => error.category(),
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
    /// What clients trust: the authority, and the one before it while it may still be in use.
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
/// oldest, where the Secret could not be written since and every try made another.
fn still_trusted(texts: &[&str], now: Timestamp) -> Vec<String> {
    let mut found: Vec<(String, Validity)> = Vec::new();
    for (pem, validity) in texts.iter().flat_map(|text| readable(text)) {
        let known = found.iter().any(|(other, _)| *other == pem);
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

/// Decides on the stored material: the authority is exchanged at two thirds of its life (both stay in the bundle),
/// the leaf at two thirds of its own, or with its authority. Material that is not there, or of no use, is made anew;
/// what is trusted now, by `trusted`, stays so.
pub fn next(
    stored: Option<&Material>,
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
    let anew = |kept: &[&str]| -> Result<Step, CertError> {
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
            let kept = still_trusted(&texts, now);
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
            ..stored.clone()
        }))),
        (Rotation::Renew, _) => anew(&[stored.ca.cert.as_str()]),
    }
}

const FILES: [&str; 5] = ["ca.crt", "ca.key", "tls.crt", "tls.key", "bundle.crt"];

fn read(secret: &Secret) -> Option<Material> {
    let data = secret.data.as_ref()?;
    let file = |name: &str| String::from_utf8(data.get(name)?.0.clone()).ok();
    let [ca_cert, ca_key, cert, key, bundle] = FILES.map(file);
    Some(Material {
        ca: Pem {
            cert: ca_cert?,
            key: ca_key?,
        },
        leaf: Pem {
            cert: cert?,
            key: key?,
        },
        bundle: bundle?,
    })
}

/// Keeps Secret and CA bundle as they should be; returns when to look again at the latest.
///
/// The bundle is written before the Secret: replicas must never serve a certificate that the API server does not
/// trust yet.
pub async fn keep(
    client: &Client,
    namespace: &str,
    lives: Lives,
    now: Timestamp,
) -> Result<Timestamp, CertificatesError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let failed = |step| move |source| CertificatesError::Api { step, source };
    let found = api
        .get_opt(names::WEBHOOK_SECRET)
        .await
        .map_err(failed("reading the webhook's Secret"))?;
    let host = format!("{}.{namespace}.svc", names::WEBHOOK_SERVICE);
    let stored = found.as_ref().and_then(read);
    let configuration = configuration(client).await?;
    let trusted = trusted(configuration.as_ref());
    let material = match next(stored.as_ref(), &trusted, &[&host], lives, now)? {
        Step::Keep(until) => {
            if let Some(stored) = &stored {
                trust(client, configuration, &stored.bundle).await?;
            }
            return Ok(until);
        }
        Step::Write(material) => material,
    };
    trust(client, configuration, &material.bundle).await?;
    let values = [
        &material.ca.cert,
        &material.ca.key,
        &material.leaf.cert,
        &material.leaf.key,
        &material.bundle,
    ];
    let data: BTreeMap<String, ByteString> = FILES
        .iter()
        .zip(values)
        .map(|(name, text)| ((*name).to_owned(), ByteString(text.clone().into_bytes())))
        .collect();
    let parameters = PostParams {
        field_manager: Some(names::FIELD_MANAGER.into()),
        ..PostParams::default()
    };
    let written = if let Some(mut secret) = found {
        secret.data = Some(data);
        api.replace(names::WEBHOOK_SECRET, &parameters, &secret)
            .await
    } else {
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(names::WEBHOOK_SECRET.into()),
                namespace: Some(namespace.into()),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".into()),
            data: Some(data),
            ..Secret::default()
        };
        api.create(&parameters, &secret).await
    };
    written.map_err(failed("writing the webhook's Secret"))?;
    tracing::info!("webhook certificate written");
    Ok(now + SignedDuration::from_secs(1))
}

/// The webhook configuration, as it stands.
async fn configuration(
    client: &Client,
) -> Result<Option<MutatingWebhookConfiguration>, CertificatesError> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    api.get_opt(names::WEBHOOK_CONFIGURATION)
        .await
        .map_err(|source| CertificatesError::Api {
            step: "reading the webhook configuration",
            source,
        })
}

/// The authorities that a configuration trusts, as one text.
fn trusted(configuration: Option<&MutatingWebhookConfiguration>) -> String {
    let webhooks = configuration.and_then(|found| found.webhooks.as_ref());
    webhooks
        .into_iter()
        .flatten()
        .filter_map(|webhook| webhook.client_config.ca_bundle.as_ref())
        .map(|bundle| String::from_utf8_lossy(&bundle.0))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Puts the bundle into the webhook configuration, unless it is there.
async fn trust(
    client: &Client,
    configuration: Option<MutatingWebhookConfiguration>,
    bundle: &str,
) -> Result<(), CertificatesError> {
    let Some(found) = configuration else {
        tracing::warn!(
            configuration = names::WEBHOOK_CONFIGURATION,
            "no webhook configuration: nothing is held"
        );
        return Ok(());
    };
    let webhooks = found.webhooks.unwrap_or_default();
    let wanted = ByteString(bundle.as_bytes().to_vec());
    if webhooks
        .iter()
        .all(|webhook| webhook.client_config.ca_bundle.as_ref() == Some(&wanted))
    {
        return Ok(());
    }
    let list: Vec<_> = webhooks
        .iter()
        .map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": wanted}}))
        .collect();
    let patch = json!({"webhooks": list});
    let parameters = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.into()),
        ..PatchParams::default()
    };
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    api.patch(
        names::WEBHOOK_CONFIGURATION,
        &parameters,
        &Patch::Strategic(patch),
    )
    .await
    .map_err(|source| CertificatesError::Api {
        step: "writing the CA bundle of the webhook configuration",
        source,
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
