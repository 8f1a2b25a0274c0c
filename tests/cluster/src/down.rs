//! Takes the cluster down: nothing of it stays.

use std::fs::{read_dir, read_link, read_to_string, remove_dir, remove_dir_all, remove_file};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::network::{BRIDGE_FILTER, NAMESPACE, filters_bridges};
use crate::paths::{CRI_FOLDER, Paths, put};
use crate::process::{all, end, signal, succeeds};

/// Machine-wide settings that the kubelet overwrites.
const SYSCTLS: &[&str] = &[
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Folders that the cluster's programs make whatever they are told; gone again if they were not there before.
const FOLDERS: &[&str] = &[
    "/var/lib/kubelet/device-plugins",
    "/var/lib/kubelet",
    "/var/lib/cni/results",
    "/var/lib/cni/cache",
    "/var/lib/cni",
    "/var/log/containers",
    "/var/log/pods",
    "/run/containerd/s",
    "/run/containerd",
];

/// How long processes may take to go after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a cgroup may stay busy after its last process.
const BUSY: Duration = Duration::from_secs(2);

/// Keeps the machine's settings, namespaces and folders as they were before the first start.
pub fn save_machine(paths: &Paths) -> Result<()> {
    let cfg = paths.folder("cfg")?;
    let once = |name: &str, text: &dyn Fn() -> Result<String>| -> Result<()> {
        let file = cfg.join(name);
        if !file.exists() {
            put(&file, &text()?)?;
        }
        Ok(())
    };
    once("namespaces", &|| {
        Ok(names_in(Path::new("/run/netns")).join("\n"))
    })?;
    once("absent", &|| {
        let absent = FOLDERS.iter().filter(|folder| !Path::new(folder).exists());
        Ok(absent.copied().collect::<Vec<_>>().join("\n"))
    })?;
    once("modules", &|| {
        let loaded = filters_bridges();
        Ok(if loaded { "" } else { BRIDGE_FILTER }.to_owned())
    })?;
    once("sysctls", &|| {
        let mut text = String::new();
        for key in SYSCTLS {
            let value = read_to_string(Path::new("/proc/sys").join(key))
                .with_context(|| format!("reading {key}"))?;
            text.extend([key, " ", value.trim(), "\n"]);
        }
        Ok(text)
    })
}

fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn restore_sysctls(paths: &Paths) -> Result<()> {
    let Ok(text) = read_to_string(paths.run.join("cfg/sysctls")) else {
        return Ok(());
    };
    for line in text.lines() {
        if let Some((key, value)) = line.split_once(' ') {
            std::fs::write(Path::new("/proc/sys").join(key), value)
                .with_context(|| format!("restoring {key}"))?;
        }
    }
    Ok(())
}

/// Unloads what was loaded for the cluster; what somebody else needs by now stays.
fn restore_modules(paths: &Paths) {
    let loaded = read_to_string(paths.run.join("cfg/modules")).unwrap_or_default();
    if !loaded.is_empty() {
        succeeds(Command::new("/sbin/modprobe").args(["-r", &loaded]));
    }
}

/// Stops every program, then removes mounts, namespaces, cgroups and state. Fine when nothing is up, and after a run
/// that was killed at any point.
///
/// # Errors
/// When the cluster belongs to another state folder, or a process or folder of it cannot be removed.
pub fn down(paths: &Paths) -> Result<()> {
    paths.refuse_others()?;
    // Containerd, its shims and all others at once: nothing has anything to save, and asking containerd to end each
    // container takes a tenth of a second per container.
    end(paths, |_| true)?;
    let bundles = bundles();
    end_containers(&bundles)?;
    unmount(paths)?;
    remove_namespaces(paths)?;
    remove_all_cgroups()?;
    restore_sysctls(paths)?;
    restore_modules(paths);
    remove_strays(paths, &bundles)?;
    detach(&[&paths.run.display().to_string()]);
    for folder in [paths.run.as_path(), Path::new(CRI_FOLDER)] {
        if folder.exists() {
            remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
        }
    }
    Ok(())
}

/// Containerd's folder of every container that it knows as started: named by its id.
fn bundles() -> Vec<PathBuf> {
    let folder = Path::new(CRI_FOLDER).join("containerd/io.containerd.runtime.v2.task/k8s.io");
    names_in(&folder)
        .into_iter()
        .map(|name| folder.join(name))
        .collect()
}

/// Processes of containers whose shim is gone, found by the container's id in their cgroup.
fn end_containers(bundles: &[PathBuf]) -> Result<()> {
    let ids: Vec<String> = bundles
        .iter()
        .filter_map(|bundle| Some(bundle.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left: Vec<u32> = all()
            .into_iter()
            .filter(|pid| {
                // A zombie has no command line any more.
                std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
                    && read_to_string(format!("/proc/{pid}/cgroup"))
                        .is_ok_and(|groups| ids.iter().any(|id| groups.contains(id.as_str())))
            })
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("processes of containers survive SIGKILL: {left:?}");
        }
        for pid in left {
            signal(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn unmount(paths: &Paths) -> Result<()> {
    let mounts = read_to_string("/proc/mounts")?;
    let run = format!("{}/", paths.run.display());
    let mut points: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| point.starts_with(&run) || point.starts_with(&format!("{CRI_FOLDER}/")))
        .collect();
    points.sort_unstable();
    points.reverse();
    detach(&points);
    Ok(())
}

/// One may be below another that is gone already: what matters is that none is left, which the test checks.
fn detach(points: &[&str]) {
    if !points.is_empty() {
        let _ = Command::new("umount")
            .arg("-l")
            .args(points)
            .stderr(Stdio::null())
            .status();
    }
}

fn remove_namespaces(paths: &Paths) -> Result<()> {
    let folder = Path::new("/run/netns");
    if !folder.exists() {
        return Ok(());
    }
    // Pods' namespaces carry no name of ours, so those that were there before the first start are left alone;
    // without that record only our own goes.
    let before = read_to_string(paths.run.join("cfg/namespaces")).ok();
    let mut ours = Vec::new();
    for name in names_in(folder) {
        let pods = name.starts_with("cni-")
            && before
                .as_ref()
                .is_some_and(|before| before.lines().all(|line| line != name));
        if name == NAMESPACE || pods {
            ours.push(format!("/run/netns/{name}"));
        }
    }
    // What `ip netns del` does, for all at once.
    detach(&ours.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &ours {
        remove_file(name).with_context(|| format!("removing {name}"))?;
    }
    // `ip netns add` mounts the folder on itself once; empty, nobody needs that mount.
    if read_dir(folder)?.next().is_none() {
        detach(&["/run/netns"]);
    }
    Ok(())
}

/// Pods' groups of every controller. One that stays busy is somebody else's, or goes with the next `down`.
fn remove_all_cgroups() -> Result<()> {
    let controllers = read_dir("/sys/fs/cgroup").context("reading the cgroups")?;
    let roots: Vec<PathBuf> = controllers
        .flatten()
        .map(|controller| controller.path().join("kubepods"))
        // With cgroup v2 there is one tree, and the pods' group is its child.
        .chain([PathBuf::from("/sys/fs/cgroup/kubepods")])
        .collect();
    let deadline = Instant::now() + BUSY;
    loop {
        for root in &roots {
            remove_cgroups(root);
        }
        if roots.iter().all(|root| !root.exists()) || Instant::now() >= deadline {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Cgroup folders can only be removed empty and from the inside out.
fn remove_cgroups(folder: &Path) {
    let Ok(entries) = read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    // One that still holds a dying process is tried again.
    let _ = remove_dir(folder);
}

/// What the programs put outside of the folders they were given.
fn remove_strays(paths: &Paths, bundles: &[PathBuf]) -> Result<()> {
    for bundle in bundles {
        if let Ok(address) = read_to_string(bundle.join("address"))
            && let Some(socket) = address.trim().strip_prefix("unix://")
        {
            // The shim removes it unless it was killed.
            let _ = remove_file(socket);
        }
    }
    for link in names_in(Path::new("/var/log/containers")) {
        let link = Path::new("/var/log/containers").join(link);
        if read_link(&link).is_ok_and(|target| target.starts_with(&paths.run)) {
            remove_file(&link)?;
        }
    }
    for result in names_in(Path::new("/var/lib/cni/results")) {
        if result.starts_with("msars-") {
            remove_file(Path::new("/var/lib/cni/results").join(result))?;
        }
    }
    let absent = read_to_string(paths.run.join("cfg/absent")).unwrap_or_default();
    for folder in absent.lines() {
        if folder.starts_with("/var/lib/kubelet/") {
            for file in names_in(Path::new(folder)) {
                remove_file(Path::new(folder).join(file))?;
            }
        }
        // Somebody else may have begun to use it: only an empty one goes.
        let _ = remove_dir(folder);
    }
    Ok(())
}
