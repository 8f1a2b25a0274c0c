//! The Secret and the configuration's CA bundle: how they are read, and in which order they are written.

use std::collections::BTreeMap;
use std::fmt::Debug;

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
use msars_certs::Pem;
use serde_json::json;

use super::{CertificatesError, Lives, Material, Step, next};
use crate::lead::Lead;

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

/// What keeps the webhook's certificates while its replica leads.
pub struct Certificates {
    client: Client,
    lead: Lead,
    namespace: String,
    lives: Lives,
    /// What has a new authority and could not be stored yet.
    made: Option<Material>,
}

impl Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificates")
    }
}

impl Certificates {
    /// With the strict client; `namespace` is the installation's.
    pub fn new(client: Client, lead: Lead, namespace: &str, lives: Lives) -> Self {
        Self {
            client,
            lead,
            namespace: namespace.to_owned(),
            lives,
            made: None,
        }
    }

    /// Keeps Secret and CA bundle as they should be; returns when to look again at the latest. After an error: at the
    /// next look.
    ///
    /// The bundle is written before the Secret: replicas must never serve a certificate that the API server does not
    /// trust yet.
    pub async fn keep(&mut self, now: Timestamp) -> Result<Timestamp, CertificatesError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let failed = |step| move |source| CertificatesError::Api { step, source };
        let found = api
            .get_opt(names::WEBHOOK_SECRET)
            .await
            .map_err(failed("reading the webhook's Secret"))?;
        let host = format!("{}.{}.svc", names::WEBHOOK_SERVICE, self.namespace);
        let stored = found.as_ref().and_then(read);
        let configuration = self.configuration().await?;
        let trusted = trusted(configuration.as_ref());
        let made = self.made.as_ref();
        let step = next(stored.as_ref(), made, &trusted, &[&host], self.lives, now)?;
        let material = match step {
            Step::Keep(until) => {
                self.made = None;
                if let Some(stored) = &stored {
                    self.trust(configuration, &stored.bundle).await?;
                }
                return Ok(until);
            }
            Step::Write(material) => *material,
        };
        let known = stored.is_some_and(|stored| stored.ca == material.ca);
        self.made = (!known).then(|| material.clone());
        self.trust(configuration, &material.bundle).await?;
        self.leads()?;
        let exists = found.is_some();
        let secret = secret(found, &self.namespace, &material);
        let parameters = PostParams {
            field_manager: Some(names::FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        let written = if exists {
            api.replace(names::WEBHOOK_SECRET, &parameters, &secret)
                .await
        } else {
            api.create(&parameters, &secret).await
        };
        written.map_err(failed("writing the webhook's Secret"))?;
        self.made = None;
        tracing::info!("webhook certificate written");
        Ok(now + SignedDuration::from_secs(1))
    }

    /// Asked right before every write.
    fn leads(&self) -> Result<(), CertificatesError> {
        if self.lead.holds() {
            return Ok(());
        }
        Err(CertificatesError::NotLeading)
    }

    /// The webhook configuration, as it stands.
    async fn configuration(
        &self,
    ) -> Result<Option<MutatingWebhookConfiguration>, CertificatesError> {
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        api.get_opt(names::WEBHOOK_CONFIGURATION)
            .await
            .map_err(|source| CertificatesError::Api {
                step: "reading the webhook configuration",
                source,
            })
    }

    /// Puts the bundle into the webhook configuration, unless it is there. One that was changed since it was read is a
    /// conflict: the next leader may have written what its pods serve under.
    async fn trust(
        &self,
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
        let version = found.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version}, "webhooks": list});
        let parameters = PatchParams {
            field_manager: Some(names::FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        self.leads()?;
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
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
}

/// The Secret with this material: the one that was `found`, at its version, or a new one.
fn secret(found: Option<Secret>, namespace: &str, material: &Material) -> Secret {
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
    let new = || Secret {
        metadata: ObjectMeta {
            name: Some(names::WEBHOOK_SECRET.into()),
            namespace: Some(namespace.into()),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".into()),
        ..Secret::default()
    };
    Secret {
        data: Some(data),
        ..found.unwrap_or_else(new)
    }
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
