//! The configuration files, as CLUSTER facts demand; each unusual line says why.

use anyhow::Result;

use crate::paths::{CRI_FOLDER, Paths, cri_socket, put};
use crate::pki::NODE;

#[allow(
    clippy::too_many_lines,
    reason = "configuration texts, read top to bottom"
)]
/// Writes every configuration of the run.
pub fn make(paths: &Paths) -> Result<()> {
    let cfg = paths.folder("cfg")?;
    let pki = paths.text("pki");
    let socket = cri_socket().display().to_string();
    paths.folder("cfg/cni")?;
    for folder in ["etcd", "containerd", "kubelet", "podlogs", "cni", "audit"] {
        paths.folder(folder)?;
    }
    put(&cfg.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
    put(
        &cfg.join("containerd.toml"),
        &format!(
            r#"version = 2
root = "{root}"
state = "{CRI_FOLDER}/containerd"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10.1"
  stream_server_address = "127.0.0.1"
  disable_apparmor = true
  # Without CAP_SYS_RESOURCE runc cannot lower an oom score, and every sandbox would fail.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "{CRI_FOLDER}/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
"#,
            root = paths.text("containerd"),
            cni = paths.text("cfg/cni"),
        ),
    )?;
    put(
        &cfg.join("cni/10-msars.conflist"),
        &format!(
            r#"{{"cniVersion":"0.4.0","name":"msars","plugins":[
 {{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"hairpinMode":true,
  "ipam":{{"type":"host-local","dataDir":"{}","ranges":[[{{"subnet":"10.244.0.0/24"}}]],"routes":[{{"dst":"0.0.0.0/0"}}]}}}},
 {{"type":"portmap","capabilities":{{"portMappings":true}}}}]}}"#,
            paths.text("cni")
        ),
    )?;
    put(
        &cfg.join("kubelet.yaml"),
        &format!(
            r"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix://{socket}
address: 0.0.0.0
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {pki}/ca.crt}}}}
authorization: {{mode: Webhook}}
tlsCertFile: {pki}/kubelet-server.crt
tlsPrivateKeyFile: {pki}/kubelet-server.key
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
resolvConf: {resolv}
podLogsDir: {logs}
failSwapOn: false
imageGCHighThresholdPercent: 100 # images exist only here: never collect them
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}}
maxPods: 110
",
            resolv = paths.text("cfg/resolv.conf"),
            logs = paths.text("podlogs"),
        ),
    )?;
    put(
        &cfg.join("proxy.yaml"),
        &format!(
            r"apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
hostnameOverride: {NODE}
clusterCIDR: 10.244.0.0/24
clientConnection: {{kubeconfig: {}}}
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
",
            paths.text("cfg/proxy.conf")
        ),
    )?;
    // Bodies of Deployments tell later who wrote `paused`; those of pods with which size they were born, to which they
    // were resized and whether a container restarted. For the rest the call itself is enough; of reads only those of the
    // product, and what kubelets ask of whoever reads from them, tell which rights are used.
    put(
        &cfg.join("audit.yaml"),
        r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Request, verbs: [create, update, patch, delete], resources: [{group: apps, resources: [deployments, deployments/scale]}, {group: msars.io}]}
- {level: RequestResponse, omitManagedFields: true, verbs: [create], resources: [{group: "", resources: [pods]}]}
- {level: Request, omitManagedFields: true, verbs: [patch, update], resources: [{group: "", resources: [pods/resize, pods/status]}]}
- {level: Request, verbs: [create], resources: [{group: authorization.k8s.io, resources: [subjectaccessreviews]}]}
- {level: Metadata, verbs: [create, update, patch, delete]}
- {level: Metadata, users: ["system:serviceaccount:msars-system:msars-autoscaler", "system:serviceaccount:msars-system:msars-admission"]}
- {level: None}
"#,
    )?;
    put(&cfg.join("coredns.yaml"), include_str!("coredns.yaml"))?;
    Ok(())
}
