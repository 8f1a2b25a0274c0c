//! The programs of the cluster: Debian packages for the runtime, Kubernetes and CoreDNS from their Go modules, each
//! built once into a cache that is keyed by version and flags.

use std::fs::{create_dir_all, read, remove_dir_all, rename};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::paths::Paths;

const KUBERNETES: &str = "1.35.4";
const PACKAGES: &[(&str, &str)] = &[
    ("/usr/bin/containerd", "containerd"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/bin/etcd", "etcd-server"),
    ("/usr/sbin/iptables", "iptables"),
    ("/usr/sbin/nft", "nftables"),
    ("/usr/sbin/ipset", "ipset"),
    ("/usr/sbin/conntrack", "conntrack"),
    ("/sbin/ip", "iproute2"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/bin/gcc", "gcc"),
    // pause is linked statically.
    ("/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev"),
];

/// Where the built programs lie.
#[derive(Debug, Clone)]
pub struct Tools {
    kubernetes: PathBuf,
    coredns: PathBuf,
}

impl Tools {
    /// One of Kubernetes' six programs, or `pause`.
    pub fn kubernetes(&self, program: &str) -> PathBuf {
        self.kubernetes.join(program)
    }

    /// The DNS server.
    pub fn coredns(&self) -> PathBuf {
        self.coredns.join("coredns")
    }

    /// Kubernetes' folder, for PATH.
    pub fn folder(&self) -> &Path {
        &self.kubernetes
    }
}

/// Installs and builds what is missing; quick when nothing is.
pub fn prepare(paths: &Paths) -> Result<Tools> {
    packages()?;
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools");
    let version = "k8s.io/component-base/version";
    let minor = KUBERNETES.split('.').nth(1).unwrap_or_default();
    let ldflags = format!(
        "-s -w -X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor=1 -X {version}.gitMinor={minor} \
         -X {version}.gitTreeState=clean -X {version}.gitCommit=none -X {version}.buildDate=2026-01-01T00:00:00Z"
    );
    let kubernetes = build(
        paths,
        &modules.join("kubernetes"),
        "kubernetes",
        &ldflags,
        "tool",
        true,
    )?;
    let coredns = build(
        paths,
        &modules.join("coredns"),
        "coredns",
        "-s -w",
        ".",
        false,
    )?;
    Ok(Tools {
        kubernetes,
        coredns,
    })
}

fn packages() -> Result<()> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|p| p.1)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing Debian packages: {}", missing.join(" "));
    let by_hand = || {
        format!(
            "install them as root: apt-get install {}",
            missing.join(" ")
        )
    };
    run(Command::new("apt-get").args(["update", "-qq"])).with_context(by_hand)?;
    let mut install = Command::new("apt-get");
    install
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&missing);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut install).with_context(by_hand)
}

/// Runs a command and makes its failure an error with what was tried.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

fn build(
    paths: &Paths,
    module: &Path,
    name: &str,
    ldflags: &str,
    what: &str,
    cgo: bool,
) -> Result<PathBuf> {
    let mut inputs = Vec::new();
    for file in ["go.mod", "go.sum", "main.go"] {
        let path = module.join(file);
        if path.exists() {
            inputs.extend(read(path)?);
        }
    }
    inputs.extend(ldflags.as_bytes());
    let mut key = crate::image::hex(&inputs);
    key.truncate(12);
    let done = paths.cache.join(format!("{name}-{key}"));
    if done.exists() {
        return Ok(done);
    }
    let work = paths
        .cache
        .join(format!("{name}-{key}.{}", std::process::id()));
    create_dir_all(&work)?;
    println!("building {name} from its Go module; this takes minutes, once");
    let begin = std::time::Instant::now();
    let mut go = Command::new("go");
    go.args(["build", "-buildvcs=false", "-ldflags", ldflags, "-o"])
        .arg(format!("{}/", work.display()))
        .arg(what);
    go.current_dir(module)
        .env("CGO_ENABLED", if cgo { "1" } else { "0" })
        .env("GOFLAGS", "-mod=readonly");
    run(&mut go)?;
    if name == "kubernetes" {
        pause(module, &work)?;
    }
    if done.exists() {
        remove_dir_all(&work)?;
    } else {
        rename(&work, &done)
            .with_context(|| format!("moving the built {name} to {}", done.display()))?;
    }
    println!("built {name} in {:.0} s", begin.elapsed().as_secs_f64());
    Ok(done)
}

/// The pause program, from the C source in the kubernetes module.
fn pause(module: &Path, work: &Path) -> Result<()> {
    let out = Command::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"])
        .current_dir(module)
        .output()
        .context("asking Go where the kubernetes module lies")?;
    let source =
        PathBuf::from(String::from_utf8(out.stdout)?.trim()).join("build/pause/linux/pause.c");
    run(Command::new("gcc")
        .args(["-static", "-Os", "-s", "-DVERSION=v3.10.1-local", "-o"])
        .arg(work.join("pause"))
        .arg(source))
}
