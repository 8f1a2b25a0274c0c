//! metrics-server as a process of the node, behind the aggregated API that the horizontal autoscaler asks.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cluster::Cluster;
use crate::network::NODE_ADDRESS;

/// Its name among the cluster's processes.
const NAME: &str = "metrics-server";
const PORT: u16 = 4443;
/// Until it has seen every pod twice and the API server trusts it.
const LIMIT: Duration = Duration::from_mins(2);

/// Builds it if needed, starts it and waits until its API is Available. Its settings are those of its own manifest:
/// kubelets are asked every 15 s.
pub fn up(cluster: &Cluster, say: &dyn Fn(&str)) -> Result<()> {
    let paths = cluster.paths();
    let program = crate::tools::metrics_server(paths, say)?.join(NAME);
    let kubeconfig = paths.kubeconfig().display().to_string();
    let mut command = Command::new(program);
    command.args([
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        format!("--secure-port={PORT}"),
        format!("--cert-dir={}", paths.folder("metrics-server")?.display()),
        format!(
            "--kubelet-certificate-authority={}",
            paths.text("pki/ca.crt")
        ),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--kubelet-use-node-status-port".to_owned(),
        "--metric-resolution=15s".to_owned(),
    ]);
    cluster.spawn(NAME, &command)?;
    cluster.apply(&objects())?;
    let limit = format!("--timeout={}s", LIMIT.as_secs());
    let wait = [
        "wait",
        "--for=condition=Available",
        "apiservice/v1beta1.metrics.k8s.io",
        &limit,
    ];
    let out = cluster
        .kubectl_command(LIMIT + Duration::from_secs(5), wait)
        .output()?;
    let log = || crate::process::tail(&cluster.log(NAME));
    out.status
        .success()
        .then_some(())
        .with_context(|| format!("metrics-server is not Available; {}", log()))
}

/// A Service without selector whose one endpoint is the node, and the API that it serves. The certificate is one that
/// metrics-server makes for itself.
fn objects() -> String {
    format!(
        r"apiVersion: v1
kind: Service
metadata: {{name: {NAME}, namespace: kube-system}}
spec:
  ports: [{{name: https, port: 443, targetPort: {PORT}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {NAME}, namespace: kube-system, labels: {{kubernetes.io/service-name: {NAME}}}}}
addressType: IPv4
endpoints: [{{addresses: [{NODE_ADDRESS}], conditions: {{ready: true}}}}]
ports: [{{name: https, port: {PORT}, protocol: TCP}}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: v1beta1.metrics.k8s.io}}
spec:
  group: metrics.k8s.io
  version: v1beta1
  service: {{name: {NAME}, namespace: kube-system}}
  insecureSkipTLSVerify: true
  groupPriorityMinimum: 100
  versionPriority: 100
"
    )
}
