//! `/livez`, `/readyz` and `/metrics`, in plain HTTP on a port of its own.

use std::sync::Arc;

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::watch};

use crate::{readiness::Readiness, shutdown};

/// Content type of the OpenMetrics text format 1.0.0.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The routes. `registry` is complete before the server starts.
pub fn router(readiness: Readiness, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(async move || ready(&readiness)))
        .route("/metrics", get(async move || metrics(&registry)))
}

/// Serves until `stop` turns true, then ends open requests first.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    axum::serve(listener, routes)
        .with_graceful_shutdown(shutdown::stopped(stop))
        .await
}

fn ready(readiness: &Readiness) -> Response {
    let missing = readiness.missing();
    if missing.is_empty() {
        return "ok".into_response();
    }
    let body = format!("not ready: {}", missing.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

fn metrics(registry: &Registry) -> Response {
    let mut body = String::new();
    match prometheus_client::encoding::text::encode(&mut body, registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use prometheus_client::{metrics::counter::Counter, registry::Registry};
    use tower::ServiceExt;

    use crate::readiness::Readiness;

    async fn ask(readiness: &Readiness, registry: &Arc<Registry>, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = super::router(readiness.clone(), Arc::clone(registry))
            .oneshot(request)
            .await
            .unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_only_when_every_condition_holds() {
        let (readiness, registry) = (Readiness::default(), Arc::default());
        let cache = readiness.condition("cache");
        let certs = readiness.condition("certs");
        certs.set(true);
        let (status, body) = ask(&readiness, &registry, "/readyz").await;
        assert_eq!((status, body.as_str()), (503, "not ready: cache"));
        cache.set(true);
        assert_eq!(ask(&readiness, &registry, "/readyz").await.0, 200);
        certs.set(false);
        assert_eq!(ask(&readiness, &registry, "/readyz").await.0, 503);
        assert_eq!(ask(&readiness, &registry, "/livez").await.0, 200);
    }

    #[tokio::test]
    async fn metrics_are_openmetrics() {
        let mut registry = Registry::default();
        let counter = Counter::<u64>::default();
        registry.register("asks", "Questions asked", counter.clone());
        counter.inc();
        let (status, body) = ask(&Readiness::default(), &Arc::new(registry), "/metrics").await;
        assert_eq!(status, 200);
        assert!(body.contains("asks_total 1\n"), "{body}");
        assert!(body.ends_with("# EOF\n"), "{body}");
    }
}
