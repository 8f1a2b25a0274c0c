//! Runs on request over HTTP: `POST /run` and `GET /healthz`.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use msars_domain::{Token, load::RunRequest};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{DriveError, Plan, drive};

/// Most bytes of a request for a run.
const MOST_BODY: usize = 1 << 20;
/// How long open connections may take to end after the stop.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

type Answer = Response<Full<Bytes>>;

/// What the connections share.
struct Server {
    token: Token,
    busy: AtomicBool,
    /// True once the program ends: a run under way stops and answers with what it has.
    stop: watch::Receiver<bool>,
}

/// The one run allowed; given back when dropped, also when the caller hangs up.
struct Turn(Arc<Server>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.busy.store(false, Release);
    }
}

/// Serves runs until `stop` resolves. One run at a time (409 otherwise) within [`LIMITS`]; a run ends at once when
/// its caller hangs up. After `stop` a run under way stops sending and answers; at most 10 s are given to that.
///
/// - `POST /run` with a [`RunRequest`] → 200 and a [`RunResult`] when it has ended; 400 names what is wrong. A request
///   without `token` as its bearer token → 401, and nothing of it is read.
/// - `GET /healthz` → 200 `ok`, also during a run.
///
/// [`LIMITS`]: msars_domain::load::LIMITS
/// [`RunResult`]: msars_domain::load::RunResult
pub async fn serve(listener: TcpListener, token: Token, stop: impl Future<Output = ()>) {
    let (stopping, stopped) = watch::channel(false);
    let server = Arc::new(Server {
        token,
        busy: AtomicBool::new(false),
        stop: stopped,
    });
    let mut stop = pin!(stop);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(Arc::clone(&server), stream));
                }
                // Out of descriptors or a caller gone already: others may still get through later.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    // Whatever is still open after that is dropped with the set.
    tokio::time::timeout(LAST_ANSWERS, ended).await.ok();
}

async fn connection(server: Arc<Server>, stream: TcpStream) {
    let mut stop = server.stop.clone();
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(answer(server, request).await) }
    });
    // Without half-close hyper drops the service's future, and the run in it, when the caller hangs up.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LAST_ANSWERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    connection.await.ok();
}

/// Whether a request has the token as its bearer token.
fn brings(headers: &HeaderMap, token: &Token) -> bool {
    headers
        .get(AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        .is_some_and(|brought| brought == token.reveal().as_bytes())
}

async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/healthz") => reply(StatusCode::OK, "text/plain", "ok"),
        (&Method::POST, "/run") if !brings(request.headers(), &server.token) => {
            let expected = "expected authorization: Bearer with the token of this server";
            let mut answer = refuse(StatusCode::UNAUTHORIZED, expected);
            answer
                .headers_mut()
                .insert(WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
            answer
        }
        (&Method::POST, "/run") => {
            match Limited::new(request.into_body(), MOST_BODY).collect().await {
                Ok(body) => run(server, &body.to_bytes()).await,
                Err(error) => refuse(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()),
            }
        }
        (_, "/run" | "/healthz") => {
            let allow = if request.uri().path() == "/run" {
                "POST"
            } else {
                "GET, HEAD"
            };
            let mut answer = refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("expected {allow}"));
            answer
                .headers_mut()
                .insert(ALLOW, http::HeaderValue::from_static(allow));
            answer
        }
        _ => refuse(StatusCode::NOT_FOUND, "expected POST /run or GET /healthz"),
    }
}

async fn run(server: Arc<Server>, body: &[u8]) -> Answer {
    let plan = match serde_json::from_slice::<RunRequest>(body) {
        Ok(run) => Plan::from_request(&run).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error),
    };
    if server
        .busy
        .compare_exchange(false, true, AcqRel, Acquire)
        .is_err()
    {
        return refuse(StatusCode::CONFLICT, "another run is under way");
    }
    let mut stop = server.stop.clone();
    let _turn = Turn(server);
    let stop = async move {
        stop.wait_for(|stop| *stop).await.ok();
    };
    match drive(&plan, stop, |_| {}).await {
        Ok(result) => match serde_json::to_vec(&result) {
            Ok(json) => reply(StatusCode::OK, "application/json", json),
            Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
        Err(error @ DriveError::Plan(_)) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn refuse(status: StatusCode, error: &str) -> Answer {
    let json = serde_json::json!({ "error": error });
    reply(status, "application/json", json.to_string())
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    answer
}
