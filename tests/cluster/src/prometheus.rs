//! Prometheus as a process of the node: what it scrapes, what it calls things, and its place inside the cluster.

use std::fmt;
use std::num::NonZeroU32;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Error, Result};

use crate::network::NODE_ADDRESS;
use crate::paths::{Paths, put};
use crate::pki::NODE;
use crate::process::{start, stop};
use crate::tools::Tools;

/// Its port, on the node and as the Service `prometheus.monitoring`.
pub const PORT: u16 = 9090;

/// Time between two scrapes of one target, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrapeInterval(NonZeroU32);

impl Default for ScrapeInterval {
    fn default() -> Self {
        Self(NonZeroU32::MIN.saturating_add(14))
    }
}

impl FromStr for ScrapeInterval {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let seconds = text.trim_end_matches('s').parse();
        Ok(Self(seconds.with_context(|| {
            format!("{text:?} is no interval: whole seconds, as 15s")
        })?))
    }
}

impl fmt::Display for ScrapeInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

/// Where it answers, inside the namespace.
pub fn url() -> String {
    format!("http://{NODE_ADDRESS}:{PORT}")
}

/// Writes its configuration and what the cluster knows of it.
pub fn configure(paths: &Paths, interval: ScrapeInterval) -> Result<bool> {
    paths.folder("prometheus")?;
    let cfg = paths.folder("cfg")?;
    put(&cfg.join("prometheus-objects.yaml"), &objects())?;
    put(&cfg.join("prometheus.yaml"), &config(paths, interval))
}

/// Starts it; anew when its configuration changed.
pub fn go(paths: &Paths, tools: &Tools, changed: bool) -> Result<()> {
    if changed {
        stop(paths, "prometheus")?;
    }
    let mut command = Command::new(tools.prometheus()?);
    command.args([
        format!("--config.file={}", paths.text("cfg/prometheus.yaml")),
        format!("--storage.tsdb.path={}", paths.text("prometheus")),
        format!("--web.listen-address={NODE_ADDRESS}:{PORT}"),
    ]);
    start(paths, "prometheus", &command)?;
    Ok(())
}

fn config(paths: &Paths, interval: ScrapeInterval) -> String {
    let pki = paths.text("pki");
    let timeout = interval.0.get().min(10);
    format!(
        r#"global: {{scrape_interval: {interval}, scrape_timeout: {timeout}s, evaluation_interval: {interval}}}
scrape_configs:
- job_name: cadvisor
  scheme: https
  metrics_path: /metrics/cadvisor
  tls_config: {{ca_file: {pki}/ca.crt, cert_file: {pki}/prometheus.crt, key_file: {pki}/prometheus.key}}
  static_configs: [{{targets: ["{NODE_ADDRESS}:10250"], labels: {{node: {NODE}}}}}]
  metric_relabel_configs:
  # Sums over a pod and over the node would be counted twice: the containers alone stay.
  - {{action: keep, source_labels: [container], regex: ".+"}}
  - {{action: keep, source_labels: [__name__], regex: "container_(cpu_(usage|system|user)_seconds_total|cpu_cfs_.+|spec_.+|memory_(working_set_bytes|usage_bytes|rss|cache)|oom_events_total|start_time_seconds|last_seen)"}}
  - {{action: labelkeep, regex: "__name__|job|instance|node|namespace|pod|container"}}
- job_name: pods
  kubernetes_sd_configs: [{{role: pod, kubeconfig_file: {kubeconfig}}}]
  relabel_configs:
  - {{action: keep, source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], regex: "true"}}
  - {{action: drop, source_labels: [__meta_kubernetes_pod_phase], regex: "Pending|Succeeded|Failed"}}
  - {{action: drop, source_labels: [__meta_kubernetes_pod_container_init], regex: "true"}}
  # Every port of a pod is a target of its own until this line makes them one.
  - {{source_labels: [__meta_kubernetes_pod_ip, __meta_kubernetes_pod_annotation_prometheus_io_port], regex: "(.+);(.+)", replacement: "$1:$2", target_label: __address__}}
  - {{source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path], regex: "(.+)", target_label: __metrics_path__}}
  - {{source_labels: [__meta_kubernetes_namespace], target_label: namespace}}
  - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}
  - {{source_labels: [__meta_kubernetes_pod_node_name], target_label: node}}
  - {{source_labels: [__meta_kubernetes_pod_label_app], target_label: workload}}
  - {{source_labels: [__meta_kubernetes_pod_label_pod_template_hash], target_label: pod_template_hash}}
  - {{source_labels: [__meta_kubernetes_pod_label_msars_io_shadow], regex: "true", replacement: "true", target_label: shadow}}
"#,
        kubeconfig = paths.text("cfg/prometheus.conf"),
    )
}

/// Rights of its user, and a Service without selector whose one endpoint is the node.
fn objects() -> String {
    format!(
        r#"apiVersion: v1
kind: Namespace
metadata: {{name: monitoring}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: prometheus}}
rules:
- {{apiGroups: [""], resources: [pods, namespaces], verbs: [get, list, watch]}}
- {{apiGroups: [""], resources: [nodes/metrics], verbs: [get]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: prometheus}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: prometheus}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: prometheus}}]
---
apiVersion: v1
kind: Service
metadata: {{name: prometheus, namespace: monitoring}}
spec:
  ports: [{{name: http, port: {PORT}, targetPort: {PORT}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: prometheus, namespace: monitoring, labels: {{kubernetes.io/service-name: prometheus}}}}
addressType: IPv4
endpoints: [{{addresses: ["{NODE_ADDRESS}"], conditions: {{ready: true}}}}]
ports: [{{name: http, port: {PORT}, protocol: TCP}}]
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_whole_seconds() {
        assert_eq!(ScrapeInterval::default().to_string(), "15s");
        for text in ["2", "2s"] {
            assert_eq!(text.parse::<ScrapeInterval>().unwrap().to_string(), "2s");
        }
        for text in ["0", "-1", "1.5s", "1m", ""] {
            assert!(text.parse::<ScrapeInterval>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_timeout_never_exceeds_the_interval() {
        let paths = Paths {
            run: "/r".into(),
            cache: "/c".into(),
            lock: "/l".into(),
        };
        let text = |interval: &str| config(&paths, interval.parse().unwrap());
        assert!(text("2").contains("scrape_interval: 2s, scrape_timeout: 2s"));
        assert!(text("30").contains("scrape_interval: 30s, scrape_timeout: 10s"));
    }
}
