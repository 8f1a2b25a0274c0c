//! Programs of the cluster by their own process id and start time, so that a reused id is never killed.

use std::fs::{File, OpenOptions, read_to_string, remove_file, write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::network::NAMESPACE;
use crate::paths::Paths;

/// State and start time of a process, from /proc.
fn stat(pid: u32) -> Option<(char, String)> {
    let text = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = text.rsplit_once(") ")?.1;
    let fields: Vec<&str> = rest.split(' ').collect();
    Some((
        fields.first()?.chars().next()?,
        (*fields.get(19)?).to_owned(),
    ))
}

fn alive(pid: u32, start: &str) -> bool {
    stat(pid).is_some_and(|(state, since)| !matches!(state, 'Z' | 'X') && since == start)
}

fn recorded(file: &Path) -> Option<(u32, String)> {
    let text = read_to_string(file).ok()?;
    let (pid, start) = text.trim().split_once(' ')?;
    Some((pid.parse().ok()?, start.to_owned()))
}

/// Starts a program detached inside the namespace with its own log, unless it still runs.
pub fn start(paths: &Paths, name: &str, program: &Path, args: &[String], path: &str) -> Result<()> {
    let file = paths.folder("pids")?.join(name);
    if let Some((pid, since)) = recorded(&file)
        && alive(pid, &since)
    {
        return Ok(());
    }
    let log = paths.folder("logs")?.join(format!("{name}.log"));
    let out = OpenOptions::new().create(true).append(true).open(&log)?;
    let child = Command::new("setsid")
        .arg("nsenter")
        .arg(format!("--net=/run/netns/{NAMESPACE}"))
        .arg("--")
        .arg(program)
        .args(args)
        .env("PATH", path)
        .stdin(Stdio::null())
        .stdout(File::try_clone(&out)?)
        .stderr(out)
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    // setsid and nsenter replace themselves, so this id stays the program's own.
    let pid = child.id();
    let since = stat(pid)
        .with_context(|| format!("{name} ended at once; see {}", log.display()))?
        .1;
    write(&file, format!("{pid} {since}"))?;
    Ok(())
}

/// Stops a program with the signal, by force after ten seconds; a program that is gone is fine.
pub fn stop(paths: &Paths, name: &str, signal: &str) -> Result<()> {
    let file = paths.run.join("pids").join(name);
    let Some((pid, since)) = recorded(&file) else {
        return Ok(());
    };
    for signal in [signal, "-KILL"] {
        if !alive(pid, &since) {
            break;
        }
        // The program may end between the look and the signal: its answer does not matter.
        let _ = Command::new("kill")
            .args([signal, &pid.to_string()])
            .stderr(Stdio::null())
            .status();
        let deadline = Instant::now() + Duration::from_secs(10);
        while alive(pid, &since) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    if alive(pid, &since) {
        bail!("{name} (process {pid}) survives SIGKILL");
    }
    remove_file(&file)?;
    Ok(())
}

/// Names of the programs that were started and not stopped.
pub fn started(paths: &Paths) -> Vec<String> {
    let Ok(folder) = std::fs::read_dir(paths.run.join("pids")) else {
        return Vec::new();
    };
    folder
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Asks until the answer is yes; past the deadline an error that names the question and the end of the log.
pub fn until(
    paths: &Paths,
    what: &str,
    log: &str,
    limit: Duration,
    mut ask: impl FnMut() -> bool,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !ask() {
        if Instant::now() >= deadline {
            let text = read_to_string(paths.run.join("logs").join(format!("{log}.log")))
                .unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(8).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            bail!(
                "{what}: not within {} s; the end of {log}'s log:\n{}",
                limit.as_secs(),
                tail.join("\n")
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_another_that_reuses_its_id() {
        let me = std::process::id();
        let since = stat(me).unwrap().1;
        assert!(alive(me, &since));
        assert!(!alive(me, "1"));
    }
}
