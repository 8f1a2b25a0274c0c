//! Takes the cluster down: nothing of it stays.

use std::fs::{
    read_dir, read_link, read_to_string, remove_dir, remove_dir_all, remove_file, write,
};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::network::NAMESPACE;
use crate::paths::{CRI_FOLDER, Paths, cri_socket};
use crate::process::{started, stop};

/// Machine-wide settings that the kubelet overwrites.
const SYSCTLS: &[&str] = &[
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Keeps the machine's settings and namespaces as they were before the first start.
pub fn save_machine(paths: &Paths) -> Result<()> {
    let namespaces = paths.folder("cfg")?.join("namespaces");
    if !namespaces.exists() {
        write(&namespaces, names_in(Path::new("/run/netns")).join("\n"))?;
    }
    let file = paths.folder("cfg")?.join("sysctls");
    if file.exists() {
        return Ok(());
    }
    let mut text = String::new();
    for key in SYSCTLS {
        let value = read_to_string(Path::new("/proc/sys").join(key))
            .with_context(|| format!("reading {key}"))?;
        text.extend([key, " ", value.trim(), "\n"]);
    }
    Ok(write(file, text)?)
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
            write(Path::new("/proc/sys").join(key), value)
                .with_context(|| format!("restoring {key}"))?;
        }
    }
    Ok(())
}

fn ctr(args: &[&str]) -> Command {
    let mut command = Command::new("ctr");
    command
        .args(["-a", &cri_socket().display().to_string(), "-n", "k8s.io"])
        .args(args)
        .stderr(Stdio::null());
    command
}

/// Stops every program, then removes mounts, namespaces, cgroups and state. Fine when nothing is up.
pub fn down(paths: &Paths) -> Result<()> {
    // The kubelet first, so that nobody starts a pod again; what is left has nothing to save.
    let first = [
        "kubelet",
        "kube-proxy",
        "kube-scheduler",
        "kube-controller-manager",
    ];
    for name in first {
        stop(paths, name, "-KILL")?;
    }
    if cri_socket().exists()
        && let Ok(tasks) = ctr(&["tasks", "ls", "-q"]).output()
    {
        for task in String::from_utf8_lossy(&tasks.stdout).lines() {
            // A task may have ended by itself: its answer does not matter, shims are looked for below.
            let _ = ctr(&["tasks", "rm", "-f", task])
                .stdout(Stdio::null())
                .status();
        }
    }
    for name in started(paths) {
        stop(paths, &name, "-KILL")?;
    }
    end_shims()?;
    unmount(paths)?;
    remove_namespaces(paths)?;
    for controller in read_dir("/sys/fs/cgroup")
        .context("reading the cgroups")?
        .flatten()
    {
        remove_cgroups(&controller.path().join("kubepods"));
    }
    restore_sysctls(paths)?;
    if let Ok(logs) = read_dir("/var/log/containers") {
        for link in logs.flatten() {
            if read_link(link.path()).is_ok_and(|target| target.starts_with(&paths.run)) {
                remove_file(link.path())?;
            }
        }
    }
    for folder in [paths.run.as_path(), Path::new(CRI_FOLDER)] {
        if folder.exists() {
            remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
        }
    }
    Ok(())
}

/// Shims of our own socket can stay behind when both of their tasks are removed at once.
fn end_shims() -> Result<()> {
    let ours = cri_socket().display().to_string();
    for process in read_dir("/proc")?.flatten() {
        let Ok(line) = std::fs::read(process.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line);
        let words: Vec<&str> = line.split('\0').collect();
        let shim = words
            .first()
            .is_some_and(|program| program.ends_with("containerd-shim-runc-v2"));
        if shim
            && words
                .windows(2)
                .any(|pair| pair[0] == "-address" && pair[1] == ours)
        {
            let pid = process.file_name().to_string_lossy().into_owned();
            let _ = Command::new("kill")
                .args(["-KILL", &pid])
                .stderr(Stdio::null())
                .status();
        }
    }
    Ok(())
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
    for point in points.into_iter().rev() {
        // A mount below a mount that is gone already: what matters is that none is left, which the test checks.
        let _ = Command::new("umount")
            .args(["-l", point])
            .stderr(Stdio::null())
            .status();
    }
    Ok(())
}

fn remove_namespaces(paths: &Paths) -> Result<()> {
    let folder = Path::new("/run/netns");
    if !folder.exists() {
        return Ok(());
    }
    // Pods' namespaces carry no name of ours, so those that were there before the first start are left alone;
    // without that record only our own goes.
    let before = read_to_string(paths.run.join("cfg/namespaces")).ok();
    for name in names_in(folder) {
        let pods = name.starts_with("cni-")
            && before
                .as_ref()
                .is_some_and(|before| before.lines().all(|line| line != name));
        if name == NAMESPACE || pods {
            crate::tools::run(Command::new("ip").args(["netns", "del", &name]))?;
        }
    }
    // `ip netns add` mounts the folder on itself once; empty, nobody needs that mount.
    if read_dir(folder)?.next().is_none() {
        let _ = Command::new("umount")
            .args(["-l", "/run/netns"])
            .stderr(Stdio::null())
            .status();
    }
    Ok(())
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
    // A group that still holds a dying process goes with the next `down`.
    let _ = remove_dir(folder);
}
