//! One request: its own pages, or the role's work, then its callees, then the answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use rand_chacha::ChaCha8Rng;
use tokio_util::task::TaskTracker;

use crate::behaviour::{Behaviour, Call};
use crate::clock;
use crate::draw::{Drawn, DrawnStep, draw};
use crate::metrics::Metrics;
use crate::overhead::Overhead;
use crate::peers::{Outcome, Peers};
use crate::role::Role;
use crate::workers::Workers;

/// Largest request body, bytes.
const BODY: usize = 64 * 1024;

/// One running role.
pub(crate) struct Shop {
    pub(crate) behaviour: Behaviour,
    pub(crate) workers: Arc<Workers>,
    pub(crate) peers: Peers,
    pub(crate) metrics: Metrics,
    pub(crate) overhead: Overhead,
    pub(crate) rng: Mutex<ChaCha8Rng>,
    pub(crate) tasks: TaskTracker,
    pub(crate) closing: AtomicBool,
}

/// How a request's work ended.
enum End {
    Done,
    Full,
    Failed(Role, Outcome),
}

fn answer(code: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn json(code: StatusCode, value: &serde_json::Value) -> Response<Full<Bytes>> {
    answer(code, "application/json", value.to_string())
}

impl Shop {
    /// True once the process is asked to stop.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn draw(&self, index: usize) -> Option<Drawn> {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        Some(draw(self.behaviour.routes.get(index)?, &mut *rng))
    }

    async fn wait(&self, calls: &[Call]) -> End {
        let ends = join_all(calls.iter().map(|call| async move {
            let (outcome, took) = self.peers.call(call).await;
            self.metrics.called(call.callee, outcome, Some(took));
            (call.callee, outcome)
        }));
        let failed = ends
            .await
            .into_iter()
            .find(|(_, outcome)| *outcome != Outcome::Ok);
        failed.map_or(End::Done, |(callee, outcome)| End::Failed(callee, outcome))
    }

    fn send(self: &Arc<Self>, call: Call) {
        let shop = self.clone();
        self.tasks.spawn(async move {
            let (outcome, _) = shop.peers.call(&call).await;
            shop.metrics.called(call.callee, outcome, None);
        });
    }

    /// The request's work and calls on one worker, held until the end; adds to `waited`.
    async fn work(self: &Arc<Self>, index: usize, waited: &mut Duration) -> End {
        let Some(drawn) = self.draw(index) else {
            return End::Full;
        };
        let Some(worker) = self.workers.take().await else {
            return End::Full;
        };
        let Some(burned) = worker.burn(self.overhead.net(drawn.work_ms)).await else {
            return End::Full;
        };
        self.overhead.settle(burned, clock::process_cpu);
        for step in drawn.steps {
            match step {
                DrawnStep::Async(call) => self.send(call),
                DrawnStep::Wait(calls) => {
                    let start = clock::now();
                    let end = self.wait(&calls).await;
                    *waited += clock::now().saturating_duration_since(start);
                    if !matches!(end, End::Done) {
                        return end;
                    }
                }
            }
        }
        End::Done
    }

    async fn run(self: Arc<Self>, index: usize, arrived: Instant) -> Response<Full<Bytes>> {
        let mut waited = Duration::ZERO;
        let end = self.work(index, &mut waited).await;
        let route = self
            .behaviour
            .routes
            .get(index)
            .map_or("unmatched", |route| route.name);
        let response = match end {
            End::Done => {
                let value = serde_json::json!({
                    "role": self.behaviour.role, "version": self.behaviour.version, "route": route,
                });
                json(StatusCode::OK, &value)
            }
            End::Full => json(
                StatusCode::SERVICE_UNAVAILABLE,
                &serde_json::json!({"error": "no worker and no place in the queue"}),
            ),
            End::Failed(callee, outcome) => json(
                StatusCode::BAD_GATEWAY,
                &serde_json::json!({"error": {"callee": callee, "outcome": outcome.name()}}),
            ),
        };
        let took = clock::now().saturating_duration_since(arrived);
        self.metrics
            .answered(route, response.status().as_u16(), took, waited);
        response
    }

    fn page(&self, path: &str) -> Option<Response<Full<Bytes>>> {
        const TEXT: &str = "text/plain; charset=utf-8";
        const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        Some(match path {
            "/readyz" if self.is_closing() => {
                answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "stopping\n")
            }
            "/readyz" | "/healthz" => answer(StatusCode::OK, TEXT, "ok\n"),
            "/metrics" => match self.metrics.text() {
                Ok(text) => answer(StatusCode::OK, METRICS, text),
                Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
            },
            _ => return None,
        })
    }

    /// Answers one request. Its work goes on when the caller hangs up.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let arrived = clock::now();
        let path = request.uri().path();
        if let Some(page) = self.page(path) {
            return page;
        }
        let method = request.method().as_str();
        let mut routes = self.behaviour.routes.iter();
        let index = routes.position(|route| route.path() == path && route.method() == method);
        let refuse = |code: StatusCode, why: &str| {
            let took = clock::now().saturating_duration_since(arrived);
            self.metrics
                .answered("unmatched", code.as_u16(), took, Duration::ZERO);
            json(code, &serde_json::json!({"error": why}))
        };
        let Some(index) = index else {
            return refuse(StatusCode::NOT_FOUND, "no such route");
        };
        if Limited::new(request.into_body(), BODY)
            .collect()
            .await
            .is_err()
        {
            return refuse(
                StatusCode::BAD_REQUEST,
                "the body is too large or incomplete",
            );
        }
        let run = self.tasks.spawn(self.clone().run(index, arrived));
        run.await.unwrap_or_else(|error| {
            let why = serde_json::json!({"error": error.to_string()});
            json(StatusCode::INTERNAL_SERVER_ERROR, &why)
        })
    }
}
