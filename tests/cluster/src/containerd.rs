//! Talking to the run's containerd.

use std::collections::BTreeSet;
use std::fs::{remove_file, write};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::image::{Image, archive, hex};
use crate::paths::{Paths, cri_socket};
use crate::process::{limited, run};

/// How long an import may take.
const IMPORT: Duration = Duration::from_mins(2);
/// How long until the kubelet's side of containerd has taken note of an image; usually a tenth of a second.
const NOTICE: Duration = Duration::from_secs(20);

/// `ctr` on our socket, ended after `limit`.
pub fn ctr(paths: &Paths, limit: Duration, args: &[&str]) -> Command {
    let mut command = Command::new("ctr");
    command
        .args(["-a", &cri_socket().display().to_string(), "-n", "k8s.io"])
        .args(args);
    limited(paths, limit, &command)
}

/// Imports images by one archive, and waits until the kubelet can see them.
pub fn import(paths: &Paths, images: &[Image]) -> Result<()> {
    if images.is_empty() {
        return Ok(());
    }
    let bytes = archive(images)?;
    let mut name = hex(&bytes);
    name.truncate(12);
    let file = paths.folder("images")?.join(format!("{name}.tar"));
    write(&file, bytes)?;
    let imported = run(ctr(paths, IMPORT, &["images", "import"]).arg(&file));
    remove_file(&file)?;
    imported?;
    // Containerd marks an image as the kubelet's a moment after the import.
    let seen = [
        "images",
        "ls",
        "-q",
        r#"labels."io.cri-containerd.image"==managed"#,
    ];
    let wanted: BTreeSet<&str> = images.iter().map(Image::name).collect();
    let deadline = Instant::now() + NOTICE;
    loop {
        let out = run(&mut ctr(paths, NOTICE, &seen))?;
        let text = String::from_utf8_lossy(&out.stdout);
        let seen: BTreeSet<&str> = text.lines().collect();
        let missing: Vec<&&str> = wanted.difference(&seen).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("containerd does not show the kubelet these imported images: {missing:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
