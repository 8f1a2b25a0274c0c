//! What a command needs on this machine: everything that is missing at once, with what installs it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

/// How much a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// To compile and to run pure tests.
    Build,
    /// The real local cluster besides; its Debian packages it installs by itself.
    Cluster,
}

/// Oldest Go that builds the pinned modules.
const GO: Version = (1, 26, 7);

/// Major, minor, patch.
type Version = (u32, u32, u32);

/// What this machine has.
#[derive(Debug, Clone)]
struct Found {
    /// Names of programs on the path.
    programs: Vec<&'static str>,
    /// Go's version, when it tells one.
    go: Option<Version>,
    /// Whether we may make namespaces and cgroups.
    root: bool,
}

const PROGRAMS: &[(&str, Need, &str)] = &[
    (
        "cargo",
        Need::Build,
        "install Rust: curl -sSf https://sh.rustup.rs | sh",
    ),
    ("gcc", Need::Build, "apt-get install gcc libc6-dev"),
    ("git", Need::Build, "apt-get install git"),
    ("python3", Need::Cluster, "apt-get install python3"),
    ("apt-get", Need::Cluster, "use Debian or a relative of it"),
];

/// One line per missing thing.
fn missing(found: &Found, need: Need) -> Vec<String> {
    let mut lines: Vec<String> = PROGRAMS
        .iter()
        .filter(|(_, of, _)| *of == Need::Build || need == Need::Cluster)
        .filter(|(program, _, _)| !found.programs.contains(program))
        .map(|(program, _, remedy)| format!("missing: {program}: {remedy}"))
        .collect();
    if need == Need::Cluster {
        let remedy = "install it from https://go.dev/dl (tar -C /usr/local -xzf …; add /usr/local/go/bin to PATH)";
        match found.go {
            None => lines.push(format!("missing: go, {} or newer: {remedy}", dotted(GO))),
            Some(version) if version < GO => lines.push(format!(
                "too old: go {}, wanted {} or newer: {remedy}",
                dotted(version),
                dotted(GO)
            )),
            Some(_) => {}
        }
        if !found.root {
            lines.push(
                "missing: root, for network namespaces, cgroups and mounts: run the same by sudo -E env PATH=\"$PATH\" …"
                    .into(),
            );
        }
    }
    lines
}

fn dotted((major, minor, patch): Version) -> String {
    format!("{major}.{minor}.{patch}")
}

/// `go version go1.26.1 linux/amd64` → (1, 26, 1); a version under development counts as its first release.
fn go_version(text: &str) -> Option<Version> {
    let word = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix("go").filter(|rest| rest.contains('.')))?;
    let mut parts = word.split('.');
    let leading = |part: &str| -> Option<u32> {
        let end = part
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(part.len());
        part[..end].parse().ok()
    };
    let (major, minor) = (leading(parts.next()?)?, leading(parts.next()?)?);
    Some((major, minor, parts.next().and_then(leading).unwrap_or(0)))
}

fn look() -> Result<Found> {
    let path = std::env::var_os("PATH").context("PATH is not set")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let has = |program: &str| folders.iter().any(|folder| folder.join(program).is_file());
    let go = Command::new("go")
        .arg("version")
        .output()
        .ok()
        .and_then(|out| go_version(&String::from_utf8_lossy(&out.stdout)));
    let status =
        std::fs::read_to_string("/proc/self/status").context("reading who runs this program")?;
    let root = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_whitespace().nth(1))
        == Some("0");
    Ok(Found {
        programs: PROGRAMS
            .iter()
            .map(|(program, _, _)| *program)
            .filter(|program| has(program))
            .collect(),
        go,
        root,
    })
}

/// True when nothing is missing; otherwise says everything that is.
pub fn preflight(need: Need) -> Result<bool> {
    let lines = missing(&look()?, need);
    for line in &lines {
        eprintln!("{line}");
    }
    Ok(lines.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Found {
        Found {
            programs: Vec::new(),
            go: None,
            root: false,
        }
    }

    #[test]
    fn all_that_is_missing_is_said_at_once() {
        assert_eq!(missing(&nothing(), Need::Build).len(), 3);
        let all = missing(&nothing(), Need::Cluster);
        assert_eq!(all.len(), 7, "{all:#?}");
        for line in all {
            assert!(
                line.split(": ").count() >= 3,
                "{line} tells what to do about it"
            );
        }
    }

    #[test]
    fn a_full_machine_lacks_nothing_and_an_old_go_does_not_do() {
        let mut found = Found {
            programs: PROGRAMS.iter().map(|(program, _, _)| *program).collect(),
            go: Some((1, 26, 7)),
            root: true,
        };
        assert!(missing(&found, Need::Cluster).is_empty());
        found.go = Some((1, 26, 1));
        let lines = missing(&found, Need::Cluster);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("too old: go 1.26.1, wanted 1.26.7 or newer"));
        assert!(missing(&found, Need::Build).is_empty());
    }

    #[test]
    fn go_tells_its_version_in_one_word() {
        assert_eq!(
            go_version("go version go1.26.1 linux/amd64"),
            Some((1, 26, 1))
        );
        assert_eq!(
            go_version("go version go1.27rc1 linux/arm64"),
            Some((1, 27, 0))
        );
        assert_eq!(
            go_version("go version devel go1.27-abc linux"),
            Some((1, 27, 0))
        );
        assert_eq!(go_version("command not found"), None);
    }
}
