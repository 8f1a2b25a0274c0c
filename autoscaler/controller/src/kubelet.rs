//! The kubelets' own metrics: fresher than Prometheus by a scrape. Needs `nodes/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::{Client, Config};
use msars_domain::authority;
use msars_observe::exposition;
use tokio::time::Instant;

/// Where a kubelet answers.
const PORT: u16 = 10_250;
/// Longest time of one read.
const WITHIN: Duration = Duration::from_secs(3);
/// How long a client is kept after it was asked for: nodes come and go.
const KEPT: Duration = Duration::from_mins(5);

/// Why a kubelet gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// The address of the node makes no URL.
    #[error("the node's address {0} makes no URL")]
    Address(String),
    /// No connection, or a refusal.
    #[error("the kubelet at {node}: {source}")]
    Failed {
        /// The node's address.
        node: String,
        /// What happened.
        source: kube::Error,
    },
    /// No answer in time.
    #[error("the kubelet at {0} did not answer within 3 s")]
    Time(String),
}

impl KubeletError {
    /// A bounded label for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Failed { .. } => "failed",
            Self::Time(_) => "time",
        }
    }
}

/// What is kept by the address of a node, each with when it was last asked for.
struct Kept<T>(BTreeMap<String, (T, Instant)>);

impl<T: Clone> Kept<T> {
    fn get(&mut self, node: &str, now: Instant) -> Option<T> {
        let (kept, asked) = self.0.get_mut(node)?;
        *asked = now;
        Some(kept.clone())
    }

    /// Keeps one more; what nobody has asked for in the meantime goes.
    fn put(&mut self, node: &str, new: T, now: Instant) {
        self.0
            .retain(|_, (_, asked)| now.duration_since(*asked) < KEPT);
        self.0.insert(node.to_owned(), (new, now));
    }
}

/// Clients of kubelets by the address of their node; cheap to clone.
#[derive(Clone)]
pub struct Kubelets {
    config: Config,
    clients: Arc<Mutex<Kept<Client>>>,
}

impl std::fmt::Debug for Kubelets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kubelets")
    }
}

impl Kubelets {
    /// With the credentials of `config`.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            clients: Arc::new(Mutex::new(Kept(BTreeMap::new()))),
        }
    }

    fn client(&self, node: &str) -> Result<Client, KubeletError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(client) = clients.get(node, now) {
            return Ok(client);
        }
        let mut config = self.config.clone();
        config.cluster_url = format!("https://{}", authority(node, PORT))
            .parse()
            .map_err(|_no_url| KubeletError::Address(node.to_owned()))?;
        let client = Client::try_from(config).map_err(|source| KubeletError::Failed {
            node: node.to_owned(),
            source,
        })?;
        clients.put(node, client.clone(), now);
        Ok(client)
    }

    /// The text of `/metrics/cadvisor` of the node with this address.
    pub async fn cadvisor(&self, node: &str) -> Result<String, KubeletError> {
        let client = self.client(node)?;
        let request = http::Request::get("/metrics/cadvisor")
            .body(Vec::new())
            .map_err(|_no_request| KubeletError::Address(node.to_owned()))?;
        match tokio::time::timeout(WITHIN, client.request_text(request)).await {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(source)) => Err(KubeletError::Failed {
                node: node.to_owned(),
                source,
            }),
            Err(_elapsed) => Err(KubeletError::Time(node.to_owned())),
        }
    }
}

/// CFS periods of one container since it started.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Periods {
    /// In which it ran.
    pub all: f64,
    /// In which it was throttled.
    pub throttled: f64,
    /// When the kubelet read the cgroup.
    pub at: Timestamp,
}

/// Namespace, pod, container.
pub type Container = (String, String, String);

/// The periods of every container in one pass: the newest cgroup's where a restart left an older one behind.
pub fn periods(text: &str) -> BTreeMap<Container, Periods> {
    let read = |metric| {
        let mut out: BTreeMap<Container, (f64, Timestamp)> = BTreeMap::new();
        for line in exposition::lines(text, metric) {
            let at = line
                .at_ms
                .and_then(|ms| Timestamp::from_millisecond(ms).ok());
            let (Some(at), true) = (at, line.value.is_finite() && line.value >= 0.0) else {
                continue;
            };
            let label = |name: &str| line.label(name).to_owned();
            let key = (label("namespace"), label("pod"), label("container"));
            let kept = out.entry(key).or_insert((line.value, at));
            if at > kept.1 {
                *kept = (line.value, at);
            }
        }
        out
    };
    let throttled = read("container_cpu_cfs_throttled_periods_total");
    read("container_cpu_cfs_periods_total")
        .into_iter()
        .filter_map(|(key, (all, at))| {
            let (throttled, same) = *throttled.get(&key)?;
            let periods = Periods { all, throttled, at };
            (at == same).then_some((key, periods))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_are_gone_leave_nothing_behind() {
        let begun = Instant::now();
        let mut kept = Kept(BTreeMap::new());
        kept.put("stays", 0, begun);
        for minute in 1..=60 {
            let now = begun + Duration::from_mins(1) * minute;
            assert_eq!(kept.get("stays", now), Some(0));
            kept.put(&format!("of minute {minute}"), minute, now);
        }
        let left: Vec<&str> = kept.0.keys().map(String::as_str).collect();
        let [first, .., last, stays] = left[..] else {
            panic!("{left:?}");
        };
        assert_eq!(
            (first, last, stays),
            ("of minute 56", "of minute 60", "stays")
        );
    }

    #[test]
    fn both_counters_of_one_read_make_periods() {
        let text = r#"
container_cpu_cfs_periods_total{container="app",id="old",namespace="shop",pod="a"} 9000 1769000000000
container_cpu_cfs_periods_total{container="app",id="new",namespace="shop",pod="a"} 100 1769000005000
container_cpu_cfs_throttled_periods_total{container="app",id="old",namespace="shop",pod="a"} 8000 1769000000000
container_cpu_cfs_throttled_periods_total{container="app",id="new",namespace="shop",pod="a"} 40 1769000005000
container_cpu_cfs_periods_total{container="app",namespace="shop",pod="b"} 100 1769000005000
container_cpu_cfs_throttled_periods_total{container="app",namespace="shop",pod="b"} 40 1769000004000
container_cpu_cfs_periods_total{container="app",namespace="shop",pod="c"} NaN 1769000005000
"#;
        let found = periods(text);
        let key = ("shop".to_owned(), "a".to_owned(), "app".to_owned());
        let at = Timestamp::from_millisecond(1_769_000_005_000).unwrap();
        let wanted = Periods {
            all: 100.0,
            throttled: 40.0,
            at,
        };
        assert_eq!(found, [(key, wanted)].into());
    }
}
