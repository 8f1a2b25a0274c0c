//! A role on its port, from the first connection to an orderly end.

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderValue, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::behaviour::behaviour;
use crate::clock;
use crate::connection::{Life, Lifetime};
use crate::handle::Shop;
use crate::metrics::Metrics;
use crate::overhead::Overhead;
use crate::peers::{PeerMap, Peers};
use crate::role::{Role, Version};
use crate::workers::Workers;

/// Requests in work and calls nobody waits for get so long to end.
const DRAIN: Duration = Duration::from_secs(8);
/// After a failed accept, as when file descriptors ran out.
const BACK_OFF: Duration = Duration::from_millis(20);

/// What to serve and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which role.
    pub role: Role,
    /// Which version.
    pub version: Version,
    /// Address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Requests worked on at once; the version's number when `None`.
    pub workers: Option<usize>,
    /// Exports `shop_self_seconds`.
    pub self_time: bool,
    /// Exports `process_cpu_seconds_total`.
    pub process_cpu: bool,
    /// Where the other roles are.
    pub peers: PeerMap,
    /// Seed of work and visits; random when `None`.
    pub seed: Option<u64>,
    /// After the stop signal, serving goes on for so long while endpoints move.
    pub grace: Duration,
    /// Most requests on one connection, and its age.
    pub connection_requests: u32,
    /// Age at which a connection is closed, give or take a quarter.
    pub connection_age: Duration,
}

/// Why a role could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can't be listened on.
    #[error("listening on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The worker threads can't be started.
    #[error("starting the workers: {0}")]
    Workers(io::Error),
}

fn shop(config: &Config) -> Result<Arc<Shop>, ServeError> {
    let behaviour = behaviour(config.role, config.version);
    let count = config.workers.unwrap_or(behaviour.workers).max(1);
    let seed = config
        .seed
        .unwrap_or_else(|| RandomState::new().hash_one(config.role));
    Ok(Arc::new(Shop {
        workers: Workers::start(count).map_err(ServeError::Workers)?,
        peers: Peers::new(config.peers.clone(), &behaviour),
        metrics: Metrics::new(config.role, config.self_time, config.process_cpu),
        overhead: Overhead::new(clock::process_cpu()),
        rng: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
        tasks: TaskTracker::new(),
        closing: AtomicBool::new(false),
        behaviour,
    }))
}

fn connect(shop: &Arc<Shop>, life: Life, stream: TcpStream, graceful: &GracefulShutdown) {
    // Without it answers wait for the peer's acknowledgement; a socket that refuses is closing.
    let _ = stream.set_nodelay(true);
    let shop = shop.clone();
    let life = Arc::new(life);
    let service = service_fn(move |request| {
        let (shop, life) = (shop.clone(), life.clone());
        async move {
            let mut response = shop.answer(request).await;
            if life.is_over(clock::now()) || shop.is_closing() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let watched = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

/// Serves a role until `stop`, then in order: `/readyz` fails and every answer closes its
/// connection; the grace passes; no more connections are taken; requests in work and calls
/// nobody waits for end. `started` is called with the bound address once requests are taken.
pub async fn serve(
    config: Config,
    started: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let shop = shop(&config)?;
    let failed = |error| ServeError::Listen(config.listen, error);
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    started(listener.local_addr().map_err(failed)?);
    let limit = Lifetime {
        age: config.connection_age,
        requests: config.connection_requests,
    };
    let graceful = GracefulShutdown::new();
    let over = async {
        stop.await;
        shop.closing.store(true, Ordering::Relaxed);
        tracing::info!("stopping");
        sleep(config.grace).await;
    };
    tokio::pin!(over);
    let mut number = 0_u32;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut over => break,
        };
        match accepted {
            Ok((stream, _)) => {
                number = number.wrapping_add(1);
                connect(
                    &shop,
                    Life::new(limit, number, clock::now()),
                    stream,
                    &graceful,
                );
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                sleep(BACK_OFF).await;
            }
        }
    }
    drop(listener);
    shop.tasks.close();
    let drained = async {
        graceful.shutdown().await;
        shop.tasks.wait().await;
    };
    if timeout(DRAIN, drained).await.is_err() {
        tracing::warn!(left = shop.tasks.len(), "requests were still in work");
    }
    tracing::info!("stopped");
    Ok(())
}
