//! The cluster's life on this machine: killed while coming up, up again, a killed kubelet, an image of ours, metrics, down,
//! and no trace.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use msars_cluster::{Cluster, Image, NODE, Options, Paths};

fn say(line: &str) {
    println!("{line}");
}

fn options() -> Options {
    Options {
        scrape: Some("2s".parse().unwrap()),
    }
}

fn shell(script: &str) -> String {
    let out = Command::new("sh").args(["-c", script]).output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Everything a cluster could leave behind; of processes those in any network namespace but the machine's own.
fn traces() -> String {
    shell(
        "ls /run/netns 2>/dev/null; grep -c . /proc/mounts; iptables-save 2>/dev/null | grep -c '^-A'; \
         for s in vm.overcommit_memory kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys; do sysctl $s; done; \
         ls -d /sys/fs/cgroup/kubepods /sys/fs/cgroup/*/kubepods 2>/dev/null; \
         ls -d /var/lib/kubelet /var/lib/cni/* /var/log/pods /var/log/containers/* /run/containerd/*/* 2>/dev/null; \
         own=$(readlink /proc/self/ns/net); \
         for p in /proc/[0-9]*; do n=$(readlink $p/ns/net) && [ $n != $own ] && cat $p/comm; done; true",
    )
}

/// Asks until the answer satisfies; the last one is shown otherwise.
fn eventually(what: &str, ask: impl Fn() -> anyhow::Result<String>, good: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = ask().unwrap_or_else(|error| error.to_string());
        if good(&answer) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {answer}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Kills `msars-cluster up` as soon as it says that this step is done.
fn kill_up_after(step: &str, lock: &Path) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_msars-cluster"))
        .args(["up", "--scrape-interval", "2s"])
        .env("MSARS_CLUSTER_LOCK", lock)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let seen = lines.map_while(Result::ok).any(|line| line.contains(step));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(seen, "up never came to: {step}");
}

#[test]
fn a_cluster_comes_up_recovers_and_leaves_nothing() {
    let paths = Paths::from_env().unwrap();
    assert!(
        Cluster::attach().is_err(),
        "a cluster is up, which this would take down: cargo xtask cluster down"
    );
    Cluster::clear(&say).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let before = traces();

    // The machine's lock is held throughout; the killed runs take one of their own.
    let machine = paths.lock(&say).unwrap();
    let own = folder.path().join("lock");
    kill_up_after("certificates, configuration, network", &own);
    kill_up_after("API server ready", &own);
    let out = Command::new(env!("CARGO_BIN_EXE_msars-cluster"))
        .arg("down")
        .env("MSARS_CLUSTER_LOCK", &own)
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    assert_eq!(traces(), before, "down after a killed up leaves nothing");
    for step in ["network", "images imported", "node Ready"] {
        kill_up_after(step, &own);
    }
    drop(machine);

    let begin = Instant::now();
    let cluster = Cluster::up(options(), &say).unwrap();
    println!("up after kills: {:.1} s", begin.elapsed().as_secs_f64());
    let api = cluster.pid("kube-apiserver").unwrap();
    drop(cluster);
    let cluster = Cluster::up(options(), &say).unwrap();
    let same = cluster.pid("kube-apiserver").unwrap();
    assert_eq!(api, same, "a second up leaves what runs alone");
    the_node_recovers(cluster);

    let cluster = Cluster::attach().unwrap();
    a_program_of_this_machine_runs_in_a_pod(&cluster);
    a_shadow_pod_is_resized(&cluster);
    metrics_carry_the_promised_labels(&cluster);
    programs_of_others_are_looked_after(&cluster);
    the_audit_log_keeps_bodies(&cluster);

    let begin = Instant::now();
    // What a caller that was killed has left inside.
    let mut left = cluster.enter("sleep").arg("600").spawn().unwrap();
    cluster.down().unwrap();
    println!("down: {:.1} s", begin.elapsed().as_secs_f64());
    let ended = left.wait().unwrap();
    assert!(!ended.success(), "it did not sleep to its end: {ended}");
    assert_eq!(traces(), before, "down leaves nothing behind");
    assert!(!Path::new("/run/msars-cluster").exists() && !paths.run.exists());
}

fn the_node_recovers(cluster: Cluster) {
    assert!(traces().contains("kubelet"), "traces see what runs");
    // The API server holds its port for a while after it has lost its mark: what starts at once must wait for that.
    let mut cluster = cluster;
    for name in ["kubelet", "kube-apiserver", "kube-apiserver"] {
        let old = cluster.pid(name).unwrap();
        let kill = ["-KILL", &old.to_string()];
        assert!(Command::new("kill").args(kill).status().unwrap().success());
        eventually(
            "the program is gone",
            || Ok(format!("{name} {:?}", cluster.pid(name))),
            |answer| answer.ends_with("None"),
        );
        drop(cluster);
        cluster = Cluster::up(options(), &say).unwrap();
        assert_ne!(cluster.pid(name).unwrap(), old);
    }
    let node = format!("node/{NODE}");
    cluster
        .ask(["wait", "--for=condition=Ready", &node, "--timeout=30s"])
        .unwrap();
}

fn a_program_of_this_machine_runs_in_a_pod(cluster: &Cluster) {
    let first = Image::of_program("tests/getent:v1", Path::new("/usr/bin/getent")).unwrap();
    let second = first.named("tests/getent:v2").with_env("COLOUR=blue");
    cluster.load_images(&[first, second]).unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_msars-cluster"));
    let own = Image::of_program("tests/own:v1", bin).unwrap();
    cluster.load_images(&[own]).unwrap();
    let pod = |name: &str, image: &str, args: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{restartPolicy: OnFailure, containers: \
             [{{name: app, image: '{image}', imagePullPolicy: IfNotPresent, args: {args}, \
             securityContext: {{runAsNonRoot: true, readOnlyRootFilesystem: true}}}}]}}}}\n---\n"
        )
    };
    let pods = [
        pod(
            "resolves",
            "tests/getent:v2",
            "[ahostsv4, prometheus.monitoring]",
        ),
        pod("helps", "tests/own:v1", "[--help]"),
    ];
    cluster.apply(&pods.concat()).unwrap();
    for name in ["resolves", "helps"] {
        let pod = format!("pod/{name}");
        cluster
            .ask([
                "wait",
                "--for=jsonpath={.status.phase}=Succeeded",
                &pod,
                "--timeout=50s",
            ])
            .unwrap();
    }
    let service = ["-n", "monitoring", "get", "service", "prometheus"];
    let address = cluster
        .ask(
            service
                .into_iter()
                .chain(["-o", "jsonpath={.spec.clusterIP}"]),
        )
        .unwrap();
    let answer = cluster.ask(["logs", "resolves"]).unwrap();
    assert!(answer.contains(&address), "{address} in {answer}");
    assert!(
        cluster
            .ask(["logs", "helps"])
            .unwrap()
            .contains("load-image")
    );
    // The Service leads to the process on the node.
    let ready = cluster.get(&format!("http://{address}:9090/-/ready"));
    assert!(ready.unwrap().contains("Ready"));
    let missing = cluster.kubectl(["get", "pod", "nobody"]).unwrap();
    assert!(!missing.status.success());
    assert!(cluster.ask(["get", "pod", "nobody"]).is_err());
}

fn metrics_carry_the_promised_labels(cluster: &Cluster) {
    let query = |text: &str| {
        cluster.get(&format!(
            "{}/api/v1/query?query={text}",
            cluster.prometheus()
        ))
    };
    eventually(
        "CoreDNS is scraped under its workload's name",
        || {
            query(
                "up{workload=\"coredns\",namespace=\"kube-system\",pod_template_hash=~\".%2B\",shadow=\"\"}",
            )
        },
        |answer| answer.contains("\"1\"]") && answer.contains("\"node\":\"node1\""),
    );
    eventually(
        "a shadow pod is marked as one",
        || query("up{shadow=\"true\",workload=\"shop\",pod=\"copy\"}"),
        |answer| answer.contains("\"0\"]"),
    );
    eventually(
        "CPU use of a container by namespace, pod and container",
        || {
            query(
                "container_cpu_usage_seconds_total{namespace=\"kube-system\",container=\"coredns\"}",
            )
        },
        |answer| answer.contains("\"pod\":\"coredns-") && !answer.contains("\"id\""),
    );
}

fn programs_of_others_are_looked_after(cluster: &Cluster) {
    let mut sleep = Command::new("sleep");
    sleep.arg("600");
    assert!(cluster.spawn("sleeper", &sleep).unwrap());
    assert!(
        !cluster.spawn("sleeper", &sleep).unwrap(),
        "it runs already"
    );
    cluster.stop("sleeper").unwrap();
    assert_eq!(cluster.pid("sleeper"), None);
    // `down` ends the second one.
    assert!(cluster.spawn("sleeper", &sleep).unwrap());
    assert!(cluster.spawn("kubelet", &sleep).is_err());
    let shell = cluster.unowned("env").output().unwrap();
    assert!(!String::from_utf8_lossy(&shell.stdout).contains("MSARS_CLUSTER_OWNER"));
    let inside = cluster.enter("ip").args(["-br", "addr"]).output().unwrap();
    assert!(String::from_utf8_lossy(&inside.stdout).contains("172.31.0.1"));
}

fn the_audit_log_keeps_bodies(cluster: &Cluster) {
    let audit = std::fs::read_to_string(cluster.audit_log()).unwrap();
    let events: Vec<serde_json::Value> = audit
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let body = |name: &str, subresource: Option<&str>| {
        events
            .iter()
            .filter(|event| event["objectRef"]["name"] == name)
            .filter(|event| event["objectRef"]["subresource"].as_str() == subresource)
            .find_map(|event| event.get("requestObject").cloned())
    };
    assert_eq!(body("coredns", None).unwrap()["kind"], "Deployment");
    let resize = body("copy", Some("resize")).unwrap();
    assert_eq!(
        resize["spec"]["containers"][0]["resources"]["limits"]["cpu"],
        "200m"
    );
}

/// The pause program with a shadow pod's label: Prometheus finds it, though nobody answers.
fn a_shadow_pod_is_resized(cluster: &Cluster) {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: copy, labels: {app: shop, msars.io/shadow: 'true'}, \
               annotations: {prometheus.io/scrape: 'true', prometheus.io/port: '8080'}}, spec: {containers: [{name: app, \
               image: 'registry.k8s.io/pause:3.10.1', resources: {limits: {cpu: 100m, memory: 32Mi}}}]}}";
    cluster.apply(pod).unwrap();
    cluster
        .ask(["wait", "--for=condition=Ready", "pod/copy", "--timeout=30s"])
        .unwrap();
    let resources = r#"{"limits":{"cpu":"200m"},"requests":{"cpu":"200m"}}"#;
    let patch =
        format!(r#"{{"spec":{{"containers":[{{"name":"app","resources":{resources}}}]}}}}"#);
    cluster
        .ask([
            "patch",
            "pod",
            "copy",
            "--subresource",
            "resize",
            "-p",
            &patch,
        ])
        .unwrap();
    let status = "jsonpath={.status.containerStatuses[0].resources.limits.cpu}";
    eventually(
        "the resize is done",
        || cluster.ask(["get", "pod", "copy", "-o", status]),
        |answer| answer == "200m",
    );
}
