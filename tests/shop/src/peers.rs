//! Calls to other roles over keep-alive connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::behaviour::{Behaviour, Call, Route, behaviour};
use crate::clock;
use crate::role::{Role, Version};

/// Longest call, as Sock-Shop's orders waits.
const CALL: Duration = Duration::from_secs(5);
/// Longest connect.
const CONNECT: Duration = Duration::from_secs(1);
/// An idle connection is dropped by the caller long before any server would.
const IDLE: Duration = Duration::from_secs(1);
/// A resolved name is good for so long; a Service's address does not change.
const RESOLVED: Duration = Duration::from_secs(10);

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered with success.
    Ok,
    /// Answered with another code.
    Status,
    /// No connection: refused, no address, or too slow to connect.
    Refused,
    /// No answer in time.
    Timeout,
    /// The connection ended before the answer.
    Broken,
}

impl Outcome {
    /// The metrics label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Status => "status",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
        }
    }
}

/// Where each role listens: entries `role=host:port`, and `*=suffix:port` for all others,
/// whose host is the role's name and the suffix. Separated by `;`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerMap {
    named: Vec<(Role, String)>,
    suffix: String,
}

/// A peer map that was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither role=host:port nor *=suffix:port")]
pub struct PeerMapError(String);

impl Default for PeerMap {
    fn default() -> Self {
        Self {
            named: Vec::new(),
            suffix: ":80".to_owned(),
        }
    }
}

impl FromStr for PeerMap {
    type Err = PeerMapError;

    fn from_str(text: &str) -> Result<Self, PeerMapError> {
        let mut map = Self::default();
        for entry in text
            .split(';')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            let bad = || PeerMapError(entry.to_owned());
            let (name, place) = entry.split_once('=').ok_or_else(bad)?;
            if !place.contains(':') {
                return Err(bad());
            }
            if name == "*" {
                place.clone_into(&mut map.suffix);
            } else {
                map.named
                    .push((name.parse().map_err(|_| bad())?, place.to_owned()));
            }
        }
        Ok(map)
    }
}

impl PeerMap {
    /// `host:port` of a role.
    pub fn authority(&self, role: Role) -> String {
        let named = self.named.iter().find(|(named, _)| *named == role);
        named.map_or_else(
            || format!("{role}{}", self.suffix),
            |(_, place)| place.clone(),
        )
    }
}

struct Message {
    path: String,
    body: Bytes,
}

/// The callees of one role.
pub(crate) struct Peers {
    client: Client<HttpConnector, Full<Bytes>>,
    map: PeerMap,
    resolved: Mutex<HashMap<Role, (SocketAddr, Instant)>>,
    messages: HashMap<(Role, &'static str), Message>,
}

fn message(call: &Call) -> Message {
    let callee = behaviour(call.callee, Version::V1);
    let route = callee.route(call.route);
    let path = route.map_or("/", Route::path);
    let query = route.map_or("", |route| route.query);
    let mark = if query.is_empty() { "" } else { "?" };
    Message {
        path: format!("{path}{mark}{query}"),
        body: Bytes::from_static(route.map_or("", |route| route.body).as_bytes()),
    }
}

impl Peers {
    /// For the calls of that behaviour.
    pub(crate) fn new(map: PeerMap, behaviour: &Behaviour) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        let calls = behaviour.routes.iter().flat_map(Route::calls);
        Self {
            client,
            map,
            resolved: Mutex::default(),
            messages: calls
                .map(|call| ((call.callee, call.route), message(call)))
                .collect(),
        }
    }

    async fn address(&self, role: Role, authority: &str) -> Option<SocketAddr> {
        let lock = || self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(&role).copied();
        if let Some((address, since)) = known
            && clock::now().saturating_duration_since(since) < RESOLVED
        {
            return Some(address);
        }
        let fresh = tokio::net::lookup_host(authority)
            .await
            .ok()
            .and_then(|mut all| all.next());
        if let Some(address) = fresh {
            lock().insert(role, (address, clock::now()));
        }
        // A name that fails once is still where it was.
        fresh.or(known.map(|(address, _)| address))
    }

    async fn attempt(&self, call: &Call) -> Outcome {
        let authority = self.map.authority(call.callee);
        let Some(address) = self.address(call.callee, &authority).await else {
            return Outcome::Refused;
        };
        let Some(message) = self.messages.get(&(call.callee, call.route)) else {
            return Outcome::Status;
        };
        let method = call.route.split(' ').next().unwrap_or("GET");
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{address}{}", message.path))
            .header(header::HOST, authority)
            .body(Full::new(message.body.clone()));
        let Ok(request) = request else {
            return Outcome::Status;
        };
        match self.client.request(request).await {
            Ok(response) => {
                let success = response.status().is_success();
                match response.into_body().collect().await {
                    Ok(_) if success => Outcome::Ok,
                    Ok(_) => Outcome::Status,
                    Err(_) => Outcome::Broken,
                }
            }
            Err(error) if error.is_connect() => {
                self.resolved
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&call.callee);
                Outcome::Refused
            }
            Err(_) => Outcome::Broken,
        }
    }

    /// One call; says how it ended and how long it took.
    pub(crate) async fn call(&self, call: &Call) -> (Outcome, Duration) {
        let start = clock::now();
        let outcome = tokio::time::timeout(CALL, self.attempt(call)).await;
        let took = clock::now().saturating_duration_since(start);
        (outcome.unwrap_or(Outcome::Timeout), took)
    }
}

#[cfg(test)]
mod tests {
    use super::{PeerMap, message};
    use crate::behaviour::Call;
    use crate::role::Role;

    #[test]
    fn a_role_is_its_service_unless_the_map_says_otherwise() {
        let plain = PeerMap::default();
        assert_eq!(plain.authority(Role::CartsDb), "carts-db:80");
        let map: PeerMap = "carts=127.0.0.1:9; *=.shop.svc:81".parse().unwrap();
        assert_eq!(map.authority(Role::Carts), "127.0.0.1:9");
        assert_eq!(map.authority(Role::CartsDb), "carts-db.shop.svc:81");
        for bad in ["carts", "carts=nowhere", "kasse=a:1"] {
            assert!(bad.parse::<PeerMap>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_call_sends_what_the_callee_shows_as_its_example() {
        let call = |callee, route| Call {
            callee,
            route,
            visits: 1.0,
        };
        let get = message(&call(Role::Catalogue, "GET /catalogue"));
        assert_eq!(
            (get.path.as_str(), get.body.len()),
            ("/catalogue?size=5", 0)
        );
        let post = message(&call(Role::Carts, "POST /carts"));
        assert!(post.path == "/carts" && !post.body.is_empty());
    }
}
