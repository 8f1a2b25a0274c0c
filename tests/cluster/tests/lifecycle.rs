//! The cluster's life on this machine: up, up again, a killed kubelet, down, and no trace.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use msars_cluster::{Paths, down, kubectl, prepare, up};

fn shell(script: &str) -> String {
    let out = Command::new("sh").args(["-c", script]).output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Everything a cluster could leave behind. A zombie is this very process's child that it has not looked after yet.
fn traces() -> String {
    shell(
        "ls /run/netns 2>/dev/null; grep -c . /proc/mounts; iptables-save 2>/dev/null | grep -c '^-A'; \
         for s in vm.overcommit_memory kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys; do sysctl $s; done; \
         ls -d /sys/fs/cgroup/*/kubepods 2>/dev/null; \
         ps -eo state=,comm= | grep -E ' (kube|etcd|containerd|coredns|pause)' | grep -v '^Z'; true",
    )
}

#[test]
fn a_cluster_comes_up_recovers_and_leaves_nothing() {
    let paths = Paths::from_env().unwrap();
    let tools = prepare(&paths).unwrap();
    let _lock = paths.lock().unwrap();
    down(&paths).unwrap();
    let before = traces();

    let begin = Instant::now();
    up(&paths, &tools).unwrap();
    println!("up from the cache: {:.1} s", begin.elapsed().as_secs_f64());
    let dns = [
        "-n",
        "kube-system",
        "get",
        "deploy",
        "coredns",
        "-o",
        "jsonpath={.status.availableReplicas}",
    ];
    let available = kubectl(&paths, &tools).args(dns).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&available.stdout), "1");

    let pids = |name: &str| std::fs::read_to_string(paths.run.join("pids").join(name)).unwrap();
    let (api, kubelet) = (pids("kube-apiserver"), pids("kubelet"));
    up(&paths, &tools).unwrap();
    assert_eq!(
        pids("kube-apiserver"),
        api,
        "a second up leaves what runs alone"
    );

    let pid = kubelet.split(' ').next().unwrap();
    assert!(
        Command::new("kill")
            .args(["-KILL", pid])
            .status()
            .unwrap()
            .success()
    );
    up(&paths, &tools).unwrap();
    assert_ne!(
        pids("kubelet"),
        kubelet,
        "a killed kubelet is started again"
    );
    assert!(
        kubectl(&paths, &tools)
            .args([
                "wait",
                "--for=condition=Ready",
                "node/node1",
                "--timeout=60s"
            ])
            .status()
            .unwrap()
            .success()
    );
    let audit = std::fs::read_to_string(paths.run.join("audit/audit.log")).unwrap();
    assert!(
        audit.contains("coredns"),
        "the audit log tells who created CoreDNS"
    );

    let begin = Instant::now();
    down(&paths).unwrap();
    println!("down: {:.1} s", begin.elapsed().as_secs_f64());
    assert_eq!(traces(), before, "down leaves nothing behind");
    assert!(!Path::new("/run/msars-cluster").exists() && !paths.run.exists());
}
