//! HTTPS with certificates that change while the server runs.

use std::{future::Future, io, net::TcpListener, sync::Arc, time::Duration};

use axum::Router;
use axum_server::{Handle, tls_rustls::RustlsConfig};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::sync::watch;

use crate::metrics::Metrics;

/// How long open connections may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// A certificate chain and its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The chain, leaf first.
    pub certificates: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair(..)") // never the key
    }
}

/// Why a pair cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or no certificate or key in it.
    #[error("certificate or key: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// Key and certificate do not belong together, or are of an unknown kind.
    #[error("pair refused: {0}")]
    Refused(#[from] rustls::Error),
}

impl TlsError {
    /// The metric label of this error.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Pem(_) => "pem",
            Self::Refused(_) => "refused",
        }
    }
}

/// The server's TLS configuration for `pair`.
pub fn rustls_config(pair: &Pair) -> Result<Arc<ServerConfig>, TlsError> {
    let chain =
        CertificateDer::pem_slice_iter(&pair.certificates).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&pair.key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves `routes` until `stop` turned true and `linger` is over, in which whoever has not heard of the end yet is served
/// as before; then lets open requests end.
pub async fn serve(
    listener: TcpListener,
    tls: RustlsConfig,
    routes: Router,
    (stop, linger): (watch::Receiver<bool>, Duration),
) -> io::Result<()> {
    let handle = Handle::new();
    let server = axum_server::from_tcp_rustls(listener, tls)?
        .handle(handle.clone())
        .serve(routes.into_make_service());
    tokio::pin!(server);
    let over = async {
        msars_ops::shutdown::stopped(stop).await;
        tokio::time::sleep(linger).await;
    };
    tokio::select! {
        ended = &mut server => return ended,
        () = over => handle.graceful_shutdown(Some(GRACE)),
    }
    server.await
}

/// Reads the pair every `every` until one can be served; `None` when it was told to stop before.
///
/// Files that are not there are waited for: the leader makes them after the first start of everything. A pair that cannot
/// be served is counted at every look, since nobody is answered meanwhile.
pub async fn first<R, F>(
    mut read: R,
    every: Duration,
    metrics: &Metrics,
    stop: watch::Receiver<bool>,
) -> Option<(Pair, RustlsConfig)>
where
    R: FnMut() -> F,
    F: Future<Output = io::Result<Pair>>,
{
    let stopped = msars_ops::shutdown::stopped(stop);
    tokio::pin!(stopped);
    loop {
        match read().await {
            Ok(pair) => match rustls_config(&pair) {
                Ok(config) => return Some((pair, RustlsConfig::from_config(config))),
                Err(error) => {
                    metrics.refused_certificates.inc();
                    tracing::error!(%error, category = error.category(), "the certificate cannot be used yet");
                }
            },
            Err(error) => tracing::info!(%error, "waiting for the certificate"),
        }
        tokio::select! {
            () = &mut stopped => return None,
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// Reads the pair again every `every` and takes a changed one into use for new connections.
/// `seen` is the pair in use now. An unreadable or unusable pair leaves the old one in use.
pub async fn follow<R, F>(
    mut seen: Pair,
    mut read: R,
    every: Duration,
    tls: RustlsConfig,
    metrics: Metrics,
    stop: watch::Receiver<bool>,
) where
    R: FnMut() -> F,
    F: Future<Output = io::Result<Pair>>,
{
    let mut ticks = tokio::time::interval(every);
    let stopped = msars_ops::shutdown::stopped(stop);
    tokio::pin!(stopped);
    loop {
        tokio::select! { () = &mut stopped => return, _ = ticks.tick() => () }
        let pair = match read().await {
            Ok(pair) if seen == pair => continue,
            Ok(pair) => pair,
            Err(error) => {
                metrics.refused_certificates.inc();
                tracing::error!(%error, "certificate files unreadable");
                continue;
            }
        };
        match rustls_config(&pair) {
            Ok(config) => {
                tls.reload_from_config(config);
                metrics.reloads.inc();
            }
            Err(error) => {
                metrics.refused_certificates.inc();
                tracing::error!(%error, category = error.category(), "certificate kept");
            }
        }
        seen = pair;
    }
}
