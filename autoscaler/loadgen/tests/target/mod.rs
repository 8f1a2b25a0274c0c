//! A target inside the test: answers by path, counts what reaches it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// How long `/stall` holds everything, from its first request on.
pub const STALL: Duration = Duration::from_millis(200);

#[derive(Default)]
pub struct Seen {
    pub connections: AtomicUsize,
    pub requests: AtomicUsize,
    pub under_way: AtomicUsize,
    stalled: OnceLock<Instant>,
}

/// Counts down also when the client hangs up.
struct UnderWay(Arc<Seen>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, SeqCst);
    }
}

/// `/stall` holds for [`STALL`] from its first request; `/never` never answers; `/503` and `/404` answer so; anything else
/// is 200 with the request's body.
async fn answer(seen: Arc<Seen>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    seen.requests.fetch_add(1, SeqCst);
    seen.under_way.fetch_add(1, SeqCst);
    let _under_way = UnderWay(Arc::clone(&seen));
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await;
    let body = body.map(http_body_util::Collected::to_bytes);
    let mut response = Response::new(Full::new(body.unwrap_or_default()));
    match path.as_str() {
        "/stall" => {
            let end = *seen.stalled.get_or_init(Instant::now) + STALL;
            tokio::time::sleep_until(end).await;
        }
        "/never" => std::future::pending().await,
        "/503" => *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
        "/404" => *response.status_mut() = StatusCode::NOT_FOUND,
        _ => {}
    }
    response
}

/// Serves until the runtime ends.
pub async fn start() -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let counted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.connections.fetch_add(1, SeqCst);
            let seen = Arc::clone(&counted);
            let service = service_fn(move |request| {
                let seen = Arc::clone(&seen);
                async move { Ok::<_, Infallible>(answer(seen, request).await) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move { connection.await.ok() });
        }
    });
    (address, seen)
}
