//! The programs of the cluster: Debian packages for the runtime, Kubernetes, CoreDNS and Prometheus from their Go
//! modules, each built once into a cache that is keyed by version and flags.

use std::fs::{create_dir_all, read, read_dir, remove_dir_all, rename};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::paths::Paths;
use crate::process::{run, succeeds};

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
    ("/usr/bin/kill", "procps"),
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
    prometheus: Option<PathBuf>,
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

    /// The metric store, where the tools were prepared with it.
    pub fn prometheus(&self) -> Result<PathBuf> {
        let folder = self.prometheus.as_ref();
        Ok(folder
            .context("Prometheus was not prepared")?
            .join("prometheus"))
    }

    /// Kubernetes' folder, for PATH.
    pub fn folder(&self) -> &Path {
        &self.kubernetes
    }
}

/// Installs and builds what is missing; quick when nothing is.
pub fn prepare(paths: &Paths, prometheus: bool, say: &dyn Fn(&str)) -> Result<Tools> {
    packages(say)?;
    let version = "k8s.io/component-base/version";
    let minor = KUBERNETES.split('.').nth(1).unwrap_or_default();
    let ldflags = format!(
        "-s -w -X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor=1 -X {version}.gitMinor={minor} \
         -X {version}.gitTreeState=clean -X {version}.gitCommit=none -X {version}.buildDate=2026-01-01T00:00:00Z"
    );
    let build = |module: &Module<'_>| build(paths, module, say);
    let kubernetes = build(&Module {
        name: "kubernetes",
        ldflags: &ldflags,
        tags: "",
        what: "tool",
        cgo: true,
    })?;
    let coredns = build(&Module {
        name: "coredns",
        ldflags: "-s -w",
        tags: "",
        what: ".",
        cgo: false,
    })?;
    let metrics = Module {
        name: "prometheus",
        ldflags: "-s -w -X github.com/prometheus/common/version.Version=3.16.0",
        // Of the ways to find targets only Kubernetes': the cloud providers are half of the compile time.
        tags: "remove_all_sd,enable_kubernetes_sd",
        what: "tool",
        cgo: false,
    };
    let prometheus = prometheus.then(|| build(&metrics)).transpose()?;
    Ok(Tools {
        kubernetes,
        coredns,
        prometheus,
    })
}

/// The folder of metrics-server, which is built only for those who ask for it: the horizontal autoscaler's source.
pub fn metrics_server(paths: &Paths, say: &dyn Fn(&str)) -> Result<PathBuf> {
    let module = Module {
        name: "metrics-server",
        ldflags: "-s -w",
        tags: "",
        what: "tool",
        cgo: false,
    };
    build(paths, &module, say)
}

/// The folder of podinfo, a small HTTP program that others wrote, which is built only for those who ask for it.
pub fn podinfo(paths: &Paths, say: &dyn Fn(&str)) -> Result<PathBuf> {
    let module = Module {
        name: "podinfo",
        ldflags: "-s -w",
        tags: "",
        what: "tool",
        cgo: false,
    };
    build(paths, &module, say)
}

fn packages(say: &dyn Fn(&str)) -> Result<()> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        // Docker's containerd.io, for one, has runc in /usr/bin.
        .filter(|(file, _)| {
            let elsewhere = file.replace("/sbin/", "/bin/");
            !Path::new(file).exists() && !Path::new(&elsewhere).exists()
        })
        .map(|p| p.1)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!(
        "installing Debian packages: {}",
        missing.join(" ")
    ));
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
        // Never at the cost of what is there, and after whoever installs something now.
        .args(["--no-remove", "-o", "DPkg::Lock::Timeout=600"])
        .args(&missing);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut install).with_context(by_hand)?;
    // Debian starts a service of each; ours are processes of our own.
    for (package, unit) in [("containerd", "containerd"), ("etcd-server", "etcd")] {
        if missing.contains(&package) {
            succeeds(Command::new("systemctl").args(["disable", "--now", unit]));
        }
    }
    Ok(())
}

/// A Go module under `tools/` and how it is built.
struct Module<'a> {
    name: &'a str,
    ldflags: &'a str,
    tags: &'a str,
    /// What `go build` is given: a package, or `tool` for all tools of the module.
    what: &'a str,
    cgo: bool,
}

fn build(paths: &Paths, module: &Module<'_>, say: &dyn Fn(&str)) -> Result<PathBuf> {
    let name = module.name;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tools")
        .join(name);
    let mut inputs = Vec::new();
    for file in ["go.mod", "go.sum", "main.go"] {
        let path = folder.join(file);
        if path.exists() {
            inputs.extend(read(path)?);
        }
    }
    inputs.extend(module.ldflags.as_bytes());
    inputs.extend(module.tags.as_bytes());
    let mut key = crate::image::hex(&inputs);
    key.truncate(12);
    let done = paths.cache.join(format!("{name}-{key}"));
    if done.exists() {
        return Ok(done);
    }
    forget_dead_builds(paths)?;
    let work = paths
        .cache
        .join(format!("{name}-{key}.{}", std::process::id()));
    create_dir_all(&work)?;
    say(&format!(
        "building {name} from its Go module; this takes minutes, once"
    ));
    let begin = std::time::Instant::now();
    let mut go = Command::new("go");
    go.args(["build", "-buildvcs=false", "-ldflags", module.ldflags])
        .args(["-tags", module.tags, "-o"])
        .arg(format!("{}/", work.display()))
        .arg(module.what);
    go.current_dir(&folder)
        .env("CGO_ENABLED", if module.cgo { "1" } else { "0" })
        .env("GOFLAGS", "-mod=readonly");
    run(&mut go)?;
    if name == "kubernetes" {
        pause(&folder, &work)?;
    }
    if done.exists() {
        remove_dir_all(&work)?;
    } else {
        rename(&work, &done)
            .with_context(|| format!("moving the built {name} to {}", done.display()))?;
    }
    say(&format!(
        "built {name} in {:.0} s",
        begin.elapsed().as_secs_f64()
    ));
    Ok(done)
}

/// Removes the work folders, `name-key.pid`, of builds that were killed.
fn forget_dead_builds(paths: &Paths) -> Result<()> {
    let Ok(entries) = read_dir(&paths.cache) else {
        return Ok(());
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let builder: Option<u32> = path.extension().and_then(|pid| pid.to_str()?.parse().ok());
        if builder.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
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
        .arg(source))?;
    Ok(())
}
