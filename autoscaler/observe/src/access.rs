//! A Prometheus behind TLS, or behind a login by bearer token, as OpenShift and most managed ones have it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::PromError;

/// What a Prometheus wants beside its address; nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// PEM file of the authorities that its certificate must come from. `https://` needs it, since nothing is trusted
    /// unasked.
    pub authorities: Option<PathBuf>,
    /// File with a bearer token, read for every query: that of a service account is exchanged every hour. Over `https://`
    /// only.
    pub token: Option<PathBuf>,
}

impl Access {
    /// Whether it fits to the scheme, or what is missing.
    pub(crate) fn fits(&self, secure: bool) -> Result<(), String> {
        match (secure, &self.authorities, &self.token) {
            (true, None, _) => Err(
                "https:// needs a file with the authorities of its certificate (--prometheus-ca)"
                    .to_owned(),
            ),
            (false, _, Some(_)) => Err(
                "a token would be readable by others on its way (--prometheus-token-file), use https://"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// What connects, by TLS where the address asks for it.
    pub(crate) fn connector(
        &self,
        connect: Duration,
    ) -> Result<HttpsConnector<HttpConnector>, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(self.roots()?)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(connect));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        Ok(HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp))
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.authorities else {
            return Ok(roots);
        };
        let wrong = |why: String| format!("{} holds no authorities: {why}", path.display());
        let found = CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))?;
        for authority in found {
            let authority = authority.map_err(|e| wrong(e.to_string()))?;
            roots
                .add(authority)
                .map_err(|error| wrong(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(wrong("no certificate in it".to_owned()));
        }
        Ok(roots)
    }

    /// The header of a query, where a token is wanted.
    pub(crate) async fn authorization(&self) -> Result<Option<HeaderValue>, PromError> {
        let Some(path) = &self.token else {
            return Ok(None);
        };
        let wrong = |why: String| PromError::Token {
            path: path.clone(),
            why,
        };
        let text = tokio::fs::read_to_string(path)
            .await
            .map_err(|error| wrong(error.to_string()))?;
        let text = text.trim();
        if text.is_empty() {
            return Err(wrong("it is empty".to_owned()));
        }
        let mut header = HeaderValue::try_from(format!("Bearer {text}"))
            .map_err(|_not_visible| wrong("it is no line of visible characters".to_owned()))?;
        // A secret never reaches a log.
        header.set_sensitive(true);
        Ok(Some(header))
    }
}
