//! Brings the cluster up, or finishes what an interrupted run began.

use std::fs::write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::image::Image;
pub use crate::network::inside;
use crate::network::{self, NODE_ADDRESS};
use crate::paths::{CRI_FOLDER, Paths, cri_socket};
use crate::pki::{self, NODE};
use crate::process::{start, until};
use crate::tools::{Tools, run};
use crate::{configs, down};

const MINUTE: Duration = Duration::from_mins(1);

fn quiet(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// kubectl as the cluster's admin.
pub fn kubectl(paths: &Paths, tools: &Tools) -> Command {
    let mut command = inside(tools.kubernetes("kubectl"));
    command.env("KUBECONFIG", paths.kubeconfig());
    command
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[allow(
    clippy::too_many_lines,
    reason = "the order of the start, read top to bottom"
)]
/// Up to an available CoreDNS. Idempotent: what runs is left alone, what died is started again.
pub fn up(paths: &Paths, tools: &Tools) -> Result<()> {
    let begin = Instant::now();
    let lap = |what: &str| println!("{:6.2} s  {what}", begin.elapsed().as_secs_f64());
    for folder in [CRI_FOLDER, "/var/log/containers"] {
        std::fs::create_dir_all(folder).with_context(|| format!("making {folder}"))?;
    }
    down::save_machine(paths)?;
    pki::make(paths)?;
    configs::make(paths)?;
    network::make()?;
    lap("certificates, configuration, network");
    let system = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{system}:/usr/sbin:/sbin", tools.folder().display());
    let go =
        |name: &str, program: &Path, args: &str| start(paths, name, program, &words(args), &path);

    go(
        "etcd",
        Path::new("/usr/bin/etcd"),
        &format!(
            "--name n1 --data-dir {} --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
         --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
         --initial-cluster n1=http://127.0.0.1:2380",
            paths.text("etcd")
        ),
    )?;
    go(
        "containerd",
        Path::new("/usr/bin/containerd"),
        &format!("-c {}", paths.text("cfg/containerd.toml")),
    )?;
    go(
        "kube-apiserver",
        &tools.kubernetes("kube-apiserver"),
        &apiserver(paths),
    )?;
    until(
        paths,
        "containerd's socket answers",
        "containerd",
        MINUTE,
        || quiet(Command::new("ctr").args(["-a", &cri_socket().display().to_string(), "version"])),
    )?;
    images(paths, tools)?;
    lap("images imported");
    until(
        paths,
        "the API server is ready",
        "kube-apiserver",
        MINUTE,
        || quiet(kubectl(paths, tools).args(["get", "--raw", "/readyz"])),
    )?;
    lap("API server ready");
    let pki = paths.text("pki");
    let cfg = paths.text("cfg");
    go(
        "kube-controller-manager",
        &tools.kubernetes("kube-controller-manager"),
        &format!(
            "--kubeconfig={cfg}/kcm.conf --authentication-kubeconfig={cfg}/kcm.conf --authorization-kubeconfig={cfg}/kcm.conf \
         --leader-elect=false --use-service-account-credentials=true --service-account-private-key-file={pki}/sa.key \
         --root-ca-file={pki}/ca.crt --cluster-signing-cert-file={pki}/ca.crt --cluster-signing-key-file={pki}/ca.key \
         --client-ca-file={pki}/ca.crt --requestheader-client-ca-file={pki}/front-proxy-ca.crt --bind-address=127.0.0.1 \
         --kube-api-qps=300 --kube-api-burst=500"
        ),
    )?;
    go(
        "kube-scheduler",
        &tools.kubernetes("kube-scheduler"),
        &format!(
            "--kubeconfig={cfg}/scheduler.conf --authentication-kubeconfig={cfg}/scheduler.conf \
         --authorization-kubeconfig={cfg}/scheduler.conf --leader-elect=false --bind-address=127.0.0.1"
        ),
    )?;
    go(
        "kubelet",
        &tools.kubernetes("kubelet"),
        &format!(
            "--config={cfg}/kubelet.yaml --kubeconfig={cfg}/kubelet.conf --hostname-override={NODE} --node-ip={NODE_ADDRESS} \
         --root-dir={} --containerd={}",
            paths.text("kubelet"),
            cri_socket().display()
        ),
    )?;
    go(
        "kube-proxy",
        &tools.kubernetes("kube-proxy"),
        &format!("--config={cfg}/proxy.yaml"),
    )?;
    until(paths, "the node registers", "kubelet", MINUTE, || {
        quiet(kubectl(paths, tools).args(["get", "node", NODE]))
    })?;
    let wait = [
        "wait",
        "--for=condition=Ready",
        "node/node1",
        "--timeout=60s",
    ];
    run(kubectl(paths, tools).args(wait)).context("the node becomes Ready; see kubelet's log")?;
    lap("node Ready");
    until(
        paths,
        "kube-system has its service account",
        "kube-controller-manager",
        MINUTE,
        || {
            quiet(kubectl(paths, tools).args([
                "-n",
                "kube-system",
                "get",
                "serviceaccount",
                "default",
            ]))
        },
    )?;
    run(kubectl(paths, tools)
        .arg("apply")
        .arg("-f")
        .arg(format!("{cfg}/coredns.yaml")))?;
    run(kubectl(paths, tools).args([
        "-n",
        "kube-system",
        "rollout",
        "status",
        "deploy/coredns",
        "--timeout=60s",
    ]))
    .context("CoreDNS becomes available")?;
    lap("CoreDNS available");
    Ok(())
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
         --audit-policy-file={} --audit-log-path={} --allow-privileged=true",
        paths.text("cfg/audit.yaml"),
        paths.text("audit/audit.log"),
    )
}

fn images(paths: &Paths, tools: &Tools) -> Result<()> {
    let folder = paths.folder("images")?;
    let wanted = [
        ("registry.k8s.io/pause:3.10.1", tools.kubernetes("pause")),
        ("registry.k8s.io/coredns/coredns:local", tools.coredns()),
    ];
    for (name, program) in wanted {
        let file = program
            .file_name()
            .context("a program has a file name")?
            .to_string_lossy()
            .into_owned();
        if folder.join(format!("{file}.done")).exists() {
            continue;
        }
        let archive = folder.join(format!("{file}.tar"));
        write(&archive, Image::of_static(name, &program)?.archive()?)?;
        let out = Command::new("ctr")
            .args([
                "-a",
                &cri_socket().display().to_string(),
                "-n",
                "k8s.io",
                "images",
                "import",
            ])
            .arg(&archive)
            .output()?;
        if !out.status.success() {
            bail!("importing {name}: {}", String::from_utf8_lossy(&out.stderr));
        }
        write(folder.join(format!("{file}.done")), "")?;
    }
    Ok(())
}
