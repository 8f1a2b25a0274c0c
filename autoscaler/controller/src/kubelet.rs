//! The kubelets' own metrics: fresher than Prometheus by a scrape. Needs `nodes/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::{Client, Config};
use msars_observe::exposition;

/// Longest time of one read.
const WITHIN: Duration = Duration::from_secs(3);

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

/// Clients of kubelets by the address of their node; cheap to clone.
#[derive(Clone)]
pub struct Kubelets {
    config: Config,
    clients: Arc<Mutex<BTreeMap<String, Client>>>,
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
            clients: Arc::default(),
        }
    }

    fn client(&self, node: &str) -> Result<Client, KubeletError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(node) {
            return Ok(client.clone());
        }
        let mut config = self.config.clone();
        let host = if node.contains(':') {
            format!("[{node}]")
        } else {
            node.to_owned()
        };
        config.cluster_url = format!("https://{host}:10250")
            .parse()
            .map_err(|_no_url| KubeletError::Address(node.to_owned()))?;
        let client = Client::try_from(config).map_err(|source| KubeletError::Failed {
            node: node.to_owned(),
            source,
        })?;
        clients.insert(node.to_owned(), client.clone());
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
