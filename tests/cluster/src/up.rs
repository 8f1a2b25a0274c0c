//! Brings the cluster up, or finishes what an interrupted run began.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::containerd::{ctr, import};
use crate::image::Image;
use crate::network::{self, NODE_ADDRESS, inside};
use crate::paths::{CRI_FOLDER, Paths};
use crate::pki::{self, NODE};
use crate::process::{limited, run, start, succeeds, tail, until};
use crate::prometheus::{self, ScrapeInterval};
use crate::tools::Tools;
use crate::{configs, down};

const MINUTE: Duration = Duration::from_mins(1);
/// What a single question to a program that may not be ready yet may take.
const QUESTION: Duration = Duration::from_secs(5);

/// What to bring up beside Kubernetes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How often Prometheus scrapes; `None` for no Prometheus.
    pub scrape: Option<ScrapeInterval>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scrape: Some(ScrapeInterval::default()),
        }
    }
}

/// kubectl as the cluster's admin.
pub fn kubectl(paths: &Paths, tools: &Tools) -> Command {
    let mut command = inside(tools.kubernetes("kubectl"));
    command
        .env("KUBECONFIG", paths.kubeconfig())
        .env("KUBECACHEDIR", paths.text("kubectl-cache"));
    command
}

/// Everything that one start needs at hand.
struct Start<'a> {
    paths: &'a Paths,
    tools: &'a Tools,
    path: String,
}

impl Start<'_> {
    /// Starts one program with these arguments, separated by blanks.
    fn go(&self, program: &Path, args: &str) -> Result<()> {
        let name = program
            .file_name()
            .context("a program has a file name")?
            .to_string_lossy();
        let mut command = Command::new(program);
        command
            .args(args.split_whitespace())
            .env("PATH", &self.path);
        start(self.paths, &name, &command)?;
        Ok(())
    }

    fn kubectl(&self, limit: Duration, args: &[&str]) -> Command {
        let mut command = kubectl(self.paths, self.tools);
        command.args(args);
        limited(self.paths, limit, &command)
    }

    /// Waits by one kubectl call; its failure shows the end of these logs.
    fn wait(
        &self,
        what: &str,
        args: &[&str],
        logs: impl FnOnce() -> Vec<PathBuf>,
    ) -> Result<Output> {
        run(&mut self.kubectl(MINUTE, args)).map_err(|error| {
            let tails: Vec<String> = logs().iter().map(|log| tail(log)).collect();
            anyhow!("{what}: {error}\n{}", tails.join("\n"))
        })
    }
}

/// Up to an available CoreDNS and a ready Prometheus. Idempotent: what runs is left alone, what died is started again.
pub fn up(paths: &Paths, tools: &Tools, options: Options, say: &dyn Fn(&str)) -> Result<()> {
    let begin = Instant::now();
    let lap =
        |what: fmt::Arguments<'_>| say(&format!("{:6.2} s  {what}", begin.elapsed().as_secs_f64()));
    paths.refuse_others()?;
    state_in_memory(paths)?;
    down::save_machine(paths)?;
    paths.claim()?;
    for folder in [CRI_FOLDER, "/var/log/containers"] {
        std::fs::create_dir_all(folder).with_context(|| format!("making {folder}"))?;
    }
    pki::make(paths)?;
    configs::make(paths)?;
    network::make()?;
    lap(format_args!("certificates, configuration, network"));
    let system = std::env::var("PATH").unwrap_or_default();
    let start = Start {
        paths,
        tools,
        path: format!("{}:{system}:/usr/sbin:/sbin", tools.folder().display()),
    };
    store_and_runtime(&start)?;
    images(paths, tools)?;
    lap(format_args!("images imported"));
    until(
        paths,
        "the API server is ready",
        "kube-apiserver",
        MINUTE,
        || succeeds(&mut start.kubectl(QUESTION, &["get", "--raw", "/readyz"])),
    )?;
    lap(format_args!("API server ready"));
    controllers_and_node(&start)?;
    lap(format_args!("node Ready"));
    let changed = options
        .scrape
        .map(|interval| prometheus::configure(paths, interval))
        .transpose()?;
    objects(&start, changed.is_some())?;
    if let Some(changed) = changed {
        prometheus::go(paths, tools, changed)?;
    }
    let coredns = [
        "-n",
        "kube-system",
        "rollout",
        "status",
        "deploy/coredns",
        "--timeout=50s",
    ];
    start.wait("CoreDNS becomes available", &coredns, || {
        let mut logs = vec![paths.log("kubelet")];
        logs.extend(pod_logs(paths, "kube-system_coredns-"));
        logs
    })?;
    lap(format_args!("CoreDNS available"));
    if changed.is_some() {
        // kubectl as the HTTP client that is at hand.
        let url = format!("--server={}", prometheus::url());
        let ask = ["--kubeconfig=/dev/null", &url, "get", "--raw", "/-/ready"];
        until(paths, "Prometheus is ready", "prometheus", MINUTE, || {
            succeeds(&mut start.kubectl(QUESTION, &ask))
        })?;
        lap(format_args!("Prometheus ready"));
    }
    Ok(())
}

/// The state lies in memory: nothing of it is worth a disk's time, least of all its thousands of small files on the way
/// down. A few hundred megabytes with some dozens of pods, and what images of programs take twice.
fn state_in_memory(paths: &Paths) -> Result<()> {
    paths.folder("")?;
    // What is not empty is mounted already.
    if std::fs::read_dir(&paths.run)?.next().is_none() {
        let mount = ["-t", "tmpfs", "-o", "mode=755", "msars-cluster"];
        run(Command::new("mount").args(mount).arg(&paths.run))?;
    }
    Ok(())
}

fn store_and_runtime(start: &Start<'_>) -> Result<()> {
    let paths = start.paths;
    start.go(
        Path::new("/usr/bin/etcd"),
        &format!(
            "--name n1 --data-dir {} --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
         --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
         --initial-cluster n1=http://127.0.0.1:2380",
            paths.text("etcd")
        ),
    )?;
    start.go(
        Path::new("/usr/bin/containerd"),
        &format!("-c {}", paths.text("cfg/containerd.toml")),
    )?;
    start.go(&start.tools.kubernetes("kube-apiserver"), &apiserver(paths))?;
    until(
        paths,
        "containerd's socket answers",
        "containerd",
        MINUTE,
        || succeeds(&mut ctr(paths, QUESTION, &["version"])),
    )
}

fn controllers_and_node(start: &Start<'_>) -> Result<()> {
    let (paths, tools) = (start.paths, start.tools);
    let pki = paths.text("pki");
    let cfg = paths.text("cfg");
    start.go(
        &tools.kubernetes("kube-controller-manager"),
        &format!(
            "--kubeconfig={cfg}/kcm.conf --authentication-kubeconfig={cfg}/kcm.conf --authorization-kubeconfig={cfg}/kcm.conf \
         --leader-elect=false --use-service-account-credentials=true --service-account-private-key-file={pki}/sa.key \
         --root-ca-file={pki}/ca.crt --cluster-signing-cert-file={pki}/ca.crt --cluster-signing-key-file={pki}/ca.key \
         --client-ca-file={pki}/ca.crt --requestheader-client-ca-file={pki}/front-proxy-ca.crt --bind-address=127.0.0.1 \
         --kube-api-qps=300 --kube-api-burst=500"
        ),
    )?;
    start.go(
        &tools.kubernetes("kube-scheduler"),
        &format!(
            "--kubeconfig={cfg}/scheduler.conf --authentication-kubeconfig={cfg}/scheduler.conf \
         --authorization-kubeconfig={cfg}/scheduler.conf --leader-elect=false --bind-address=127.0.0.1"
        ),
    )?;
    start.go(
        &tools.kubernetes("kubelet"),
        &format!(
            "--config={cfg}/kubelet.yaml --kubeconfig={cfg}/kubelet.conf --hostname-override={NODE} --node-ip={NODE_ADDRESS} \
         --root-dir={} --containerd={}",
            paths.text("kubelet"),
            crate::paths::cri_socket().display()
        ),
    )?;
    start.go(
        &tools.kubernetes("kube-proxy"),
        &format!("--config={cfg}/proxy.yaml"),
    )?;
    until(paths, "the node registers", "kubelet", MINUTE, || {
        succeeds(&mut start.kubectl(QUESTION, &["get", "node", NODE]))
    })?;
    let node = format!("node/{NODE}");
    let ready = ["wait", "--for=condition=Ready", &node, "--timeout=50s"];
    start.wait("the node becomes Ready", &ready, || {
        vec![paths.log("kubelet"), paths.log("containerd")]
    })?;
    Ok(())
}

/// CoreDNS, and what the cluster knows of Prometheus.
fn objects(start: &Start<'_>, prometheus: bool) -> Result<()> {
    let paths = start.paths;
    until(
        paths,
        "kube-system has its service account",
        "kube-controller-manager",
        MINUTE,
        || {
            let ask = ["-n", "kube-system", "get", "serviceaccount", "default"];
            succeeds(&mut start.kubectl(QUESTION, &ask))
        },
    )?;
    let coredns = paths.text("cfg/coredns.yaml");
    let other = paths.text("cfg/prometheus-objects.yaml");
    // Applied by the server: the client's way first reads the schema of every API, which takes two seconds.
    let mut apply = vec![
        "apply",
        "--server-side",
        "--force-conflicts",
        "--validate=false",
    ];
    apply.extend(["-f", coredns.as_str()]);
    if prometheus {
        apply.extend(["-f", other.as_str()]);
    }
    start.wait("CoreDNS is applied", &apply, || {
        vec![paths.log("kube-apiserver")]
    })?;
    Ok(())
}

/// Logs of the containers of pods whose `namespace_name` begins so.
fn pod_logs(paths: &Paths, begin: &str) -> Vec<PathBuf> {
    let inner = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let ours = |pod: &PathBuf| {
        pod.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(begin))
    };
    let pods = inner(&paths.run.join("podlogs")).into_iter().filter(ours);
    pods.flat_map(|pod| inner(&pod))
        .flat_map(|container| inner(&container))
        .collect()
}

fn apiserver(paths: &Paths) -> String {
    let pki = paths.text("pki");
    format!(
        "--advertise-address={NODE_ADDRESS} --secure-port=6443 --etcd-servers=http://127.0.0.1:2379 \
         --service-cluster-ip-range=10.96.0.0/16 --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
         --client-ca-file={pki}/ca.crt --tls-cert-file={pki}/apiserver.crt --tls-private-key-file={pki}/apiserver.key \
         --kubelet-client-certificate={pki}/apiserver-kubelet.crt --kubelet-client-key={pki}/apiserver-kubelet.key \
         --kubelet-certificate-authority={pki}/ca.crt --kubelet-preferred-address-types=InternalIP \
         --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file={pki}/sa.pub \
         --service-account-signing-key-file={pki}/sa.key --requestheader-client-ca-file={pki}/front-proxy-ca.crt \
         --requestheader-allowed-names=front-proxy-client --requestheader-extra-headers-prefix=X-Remote-Extra- \
         --requestheader-group-headers=X-Remote-Group --requestheader-username-headers=X-Remote-User \
         --proxy-client-cert-file={pki}/front-proxy-client.crt --proxy-client-key-file={pki}/front-proxy-client.key \
         --audit-policy-file={} --audit-log-path={} --audit-log-maxsize=10000 --allow-privileged=true",
        paths.text("cfg/audit.yaml"),
        paths.text("audit/audit.log"),
    )
}

/// The two images that the cluster itself needs.
fn images(paths: &Paths, tools: &Tools) -> Result<()> {
    let done = paths.folder("images")?.join("own.done");
    if done.exists() {
        return Ok(());
    }
    let own = [
        Image::of_static("registry.k8s.io/pause:3.10.1", &tools.kubernetes("pause"))?,
        Image::of_static("registry.k8s.io/coredns/coredns:local", &tools.coredns())?,
    ];
    import(paths, &own)?;
    crate::paths::put(&done, "")?;
    Ok(())
}
