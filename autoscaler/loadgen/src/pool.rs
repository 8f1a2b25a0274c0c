//! Keep-alive connections of bounded age, used in turn.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Target;

type Message = http::Request<Full<Bytes>>;

/// The request got no full answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Connect(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// Connections to one target.
pub(crate) struct Pool {
    target: Target,
    age: Duration,
    spread: usize,
    /// Oldest use first: taking from the front uses them in turn, so a few requests at a time still reach all.
    idle: Mutex<VecDeque<Connection>>,
    addresses: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
    /// Connections in use or idle.
    live: Arc<AtomicUsize>,
    opened: AtomicU64,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    expires: Instant,
    _live: Live,
}

/// Counts a connection for as long as it lives.
struct Live(Arc<AtomicUsize>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Pool {
    pub(crate) fn new(target: Target, age: Duration, spread: usize) -> Self {
        Self {
            target,
            age,
            spread,
            idle: Mutex::default(),
            addresses: Mutex::default(),
            live: Arc::default(),
            opened: AtomicU64::new(0),
        }
    }

    /// Connections opened so far.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// Sends and reads the whole answer. A request that never left (the server had closed an idle connection) is
    /// sent once more on a new one.
    pub(crate) async fn send(&self, message: Message) -> Result<StatusCode, Broken> {
        let mut connection = self.take().await?;
        let response = match connection.sender.try_send_request(message).await {
            Ok(response) => response,
            Err(mut refused) => match refused.take_message() {
                Some(message) => {
                    connection = self.connect().await?;
                    connection.sender.send_request(message).await?
                }
                None => return Err(refused.into_error().into()),
            },
        };
        let status = response.status();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        if Instant::now() < connection.expires {
            lock(&self.idle).push_back(connection);
        }
        Ok(status)
    }

    async fn take(&self) -> Result<Connection, Broken> {
        while self.live.load(Relaxed) >= self.spread {
            let Some(mut connection) = lock(&self.idle).pop_front() else {
                break;
            };
            if Instant::now() < connection.expires && connection.sender.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        self.connect().await
    }

    async fn connect(&self) -> Result<Connection, Broken> {
        let turn = self.opened.fetch_add(1, Relaxed);
        self.live.fetch_add(1, Relaxed);
        let live = Live(Arc::clone(&self.live));
        let stream = self.stream(turn).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped; its error is also the request's.
        tokio::spawn(async move { connection.await.ok() });
        // Ages from 3/4 to 5/4 in steps of a sixteenth, so that connections opened together do not end together.
        let expires = Instant::now() + self.age * (12 + (turn % 9) as u32) / 16;
        Ok(Connection {
            sender,
            expires,
            _live: live,
        })
    }

    /// Tries each address once, beginning with the next in turn.
    async fn stream(&self, turn: u64) -> Result<TcpStream, Broken> {
        let addresses = self.resolve().await?;
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the target has no address");
        for index in 0..addresses.len() {
            let at = (turn as usize).wrapping_add(index) % addresses.len();
            match TcpStream::connect(addresses[at]).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        *lock(&self.addresses) = None;
        Err(failure.into())
    }

    /// Addresses, looked up again after a connection's age or when none answers.
    async fn resolve(&self) -> Result<Vec<SocketAddr>, Broken> {
        let fresh = lock(&self.addresses)
            .as_ref()
            .filter(|(since, _)| since.elapsed() <= self.age)
            .map(|(_, addresses)| addresses.clone());
        if let Some(addresses) = fresh {
            return Ok(addresses);
        }
        let found = tokio::net::lookup_host(self.target.address()).await?;
        let found: Vec<_> = found.collect();
        *lock(&self.addresses) = Some((Instant::now(), found.clone()));
        Ok(found)
    }
}

/// A panic elsewhere leaves queues and addresses whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
