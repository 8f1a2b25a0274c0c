//! The webhook's certificates: one named writer of the Secret and of the configuration's CA bundle, the leader.

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
use msars_certs::{Authority, CertError, Leaf, Pem, Rotation, Usage, bundle, inspect, rotation};
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

/// Decides on the stored material: the authority is exchanged at two thirds of its life (both stay in the bundle),
/// the leaf at two thirds of its own, or with its authority.
pub fn next(
    stored: Option<&Material>,
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
    let readable = stored.and_then(|stored| {
        let ca = inspect(&stored.ca.cert).ok()?;
        let leaf = inspect(&stored.leaf.cert).ok()?;
        Some((stored, ca, leaf))
    });
    let Some((stored, ca, leaf)) = readable else {
        let authority = Authority::new("msars-webhook-ca", from, lives.authority + skew)?;
        let leaf = issue(&authority)?;
        return Ok(Step::Write(Box::new(Material {
            bundle: bundle(&authority.pem().cert, None),
            ca: authority.pem().clone(),
            leaf,
        })));
    };
    match (rotation(&ca, now), rotation(&leaf, now)) {
        (Rotation::Keep { until: ca }, Rotation::Keep { until: leaf }) => {
            Ok(Step::Keep(ca.min(leaf)))
        }
        (Rotation::Keep { .. }, Rotation::Renew) => {
            let authority = Authority::load(stored.ca.clone())?;
            Ok(Step::Write(Box::new(Material {
                leaf: issue(&authority)?,
                ..stored.clone()
            })))
        }
        (Rotation::Renew, _) => {
            let authority = Authority::new("msars-webhook-ca", from, lives.authority + skew)?;
            let leaf = issue(&authority)?;
            Ok(Step::Write(Box::new(Material {
                bundle: bundle(&authority.pem().cert, Some(&stored.ca.cert)),
                ca: authority.pem().clone(),
                leaf,
            })))
        }
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
    let material = match next(stored.as_ref(), &[&host], lives, now)? {
        Step::Keep(until) => {
            if let Some(stored) = &stored {
                trust(client, &stored.bundle).await?;
            }
            return Ok(until);
        }
        Step::Write(material) => material,
    };
    trust(client, &material.bundle).await?;
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

/// Puts the bundle into the webhook configuration, unless it is there.
async fn trust(client: &Client, bundle: &str) -> Result<(), CertificatesError> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let failed = |source| CertificatesError::Api {
        step: "writing the CA bundle of the webhook configuration",
        source,
    };
    let Some(found) = api
        .get_opt(names::WEBHOOK_CONFIGURATION)
        .await
        .map_err(failed)?
    else {
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
    api.patch(
        names::WEBHOOK_CONFIGURATION,
        &parameters,
        &Patch::Strategic(patch),
    )
    .await
    .map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_hours(hours)
    }

    fn step(stored: Option<&Material>, hours: i64) -> Step {
        let lives = Lives {
            authority: SignedDuration::from_hours(300),
            leaf: SignedDuration::from_hours(30),
        };
        next(
            stored,
            &["msars-admission.msars-system.svc"],
            lives,
            at(hours),
        )
        .unwrap()
    }

    fn written(step: Step) -> Material {
        match step {
            Step::Write(material) => *material,
            Step::Keep(until) => unreachable!("kept until {until}"),
        }
    }

    #[test]
    fn leaf_and_authority_are_exchanged_in_turn_and_both_authorities_stay_trusted() {
        let first = written(step(None, 0));
        assert!(matches!(step(Some(&first), 19), Step::Keep(_)));
        let renewed = written(step(Some(&first), 20));
        assert_eq!(renewed.ca, first.ca);
        assert_ne!(renewed.leaf, first.leaf);
        let turned = written(step(Some(&renewed), 200));
        assert_ne!(turned.ca, first.ca);
        assert!(turned.bundle.contains(first.ca.cert.trim()));
        assert!(turned.bundle.contains(turned.ca.cert.trim()));
    }

    #[test]
    fn unreadable_material_is_made_anew() {
        let mut broken = written(step(None, 0));
        broken.leaf.cert = "garbage".into();
        assert_ne!(written(step(Some(&broken), 1)).ca, broken.ca);
    }
}
