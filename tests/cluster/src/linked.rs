//! What a program that is linked against this machine's C library needs beside itself.

use std::collections::BTreeSet;
use std::fs::read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::image::File;

/// The C library loads these by name when it first resolves one, so `ldd` does not tell of them.
const BY_NAME: &[&str] = &["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"];

/// The program as a file of the image in `folder`, which ends with `/`.
pub fn file_of(program: &Path, folder: &str) -> Result<File> {
    let name = program
        .file_name()
        .with_context(|| format!("{} is no program", program.display()))?;
    Ok(File {
        path: format!("{folder}{}", name.to_string_lossy()),
        bytes: read(program).with_context(|| format!("reading {}", program.display()))?,
        mode: 0o755,
    })
}

/// The libraries and the loader, at the paths where the loader looks for them; none for a static program.
pub fn libraries(program: &Path) -> Result<Vec<File>> {
    let out = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .output()
        .context("starting ldd")?;
    let errors = String::from_utf8_lossy(&out.stderr);
    if errors.contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    if !out.status.success() {
        bail!("ldd {}: {}", program.display(), errors.trim());
    }
    let mut paths = reported(&String::from_utf8_lossy(&out.stdout))
        .with_context(|| format!("libraries of {}", program.display()))?;
    let beside: Vec<PathBuf> = paths
        .iter()
        .filter(|path| path.file_name().is_some_and(|name| name == "libc.so.6"))
        .filter_map(|path| path.parent())
        .flat_map(|folder| BY_NAME.iter().map(|name| folder.join(name)))
        .filter(|path| path.exists())
        .collect();
    paths.extend(beside);
    let file = |path: PathBuf| {
        Ok(File {
            bytes: read(&path).with_context(|| format!("reading {}", path.display()))?,
            path: path.display().to_string(),
            mode: 0o755,
        })
    };
    paths.into_iter().map(file).collect()
}

/// The paths in `ldd`'s answer: `name => path (address)`, or `path (address)` for the loader.
fn reported(answer: &str) -> Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    for line in answer.lines().map(str::trim) {
        if let Some((name, "not found")) = line.split_once(" => ") {
            bail!("{name} is not on this machine");
        }
        let place = line.split_once(" => ").map_or(line, |(_, place)| place);
        if place.starts_with('/')
            && let Some(path) = place.split(' ').next()
        {
            paths.insert(path.into());
        }
    }
    Ok(paths)
}

/// The files of /etc that the C library reads.
pub fn etc() -> Vec<File> {
    let file = |name: &str, text: &str| File {
        path: format!("/etc/{name}"),
        bytes: text.into(),
        mode: 0o644,
    };
    vec![
        file(
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\n",
        ),
        file(
            "passwd",
            "root:x:0:0:root:/:/bin/false\nnonroot:x:65532:65532:nonroot:/tmp:/bin/false\n",
        ),
        file("group", "root:x:0:\nnonroot:x:65532:\n"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_ldd_is_read() {
        let answer = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let paths: Vec<String> = reported(answer)
            .unwrap()
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        assert_eq!(
            paths,
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
        let error = reported("\tlibtorch.so => not found\n").unwrap_err();
        assert!(error.to_string().contains("libtorch.so"));
    }
}
