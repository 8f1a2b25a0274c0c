//! Programs of the cluster. There is no record to keep: every process carries the cluster's mark in its environment
//! from its first instant, so that whatever a killed run left behind is found again.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, read, read_dir, read_to_string};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::network::{NAMESPACE, past_proxies};
use crate::paths::Paths;

/// Names the cluster, by its state folder, in the environment of each of its processes.
pub const OWNER: &str = "MSARS_CLUSTER_OWNER";
/// Names the program.
pub const PROGRAM: &str = "MSARS_CLUSTER_PROGRAM";
/// Looks in a row, 50 ms apart, that must miss a program before it counts as gone.
const MISSES: u32 = 6;
/// Characters of a program's name that the kernel shows.
const SHOWN: usize = 15;
/// The programs that replace themselves by the one that [`start`] was asked for, as the kernel shows them.
const STEPS: [&str; 2] = ["setsid", "nsenter"];
/// How long a process may take to come after its start, or to go after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// The program it was started as; what a program starts itself bears that program's name.
    pub name: String,
    /// The session it belongs to: every program that we start leads one.
    session: u32,
    /// Still `setsid`, about to lead a session.
    early: bool,
}

impl Process {
    fn leads(&self) -> bool {
        self.session == self.pid || self.early
    }
}

struct Stat {
    name: String,
    state: char,
    parent: u32,
    session: u32,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    Some(Stat {
        name: head.split_once('(')?.1.to_owned(),
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
    })
}

/// Ids of all processes of the machine.
pub(crate) fn all() -> Vec<u32> {
    let Ok(entries) = read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn marked(pid: u32, owner: &str) -> Option<String> {
    let environment = read(format!("/proc/{pid}/environ")).ok()?;
    let environment = String::from_utf8_lossy(&environment);
    let value = |name: &str| {
        environment
            .split('\0')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(key, value)| (key == name).then(|| value.to_owned()))
    };
    (value(OWNER)? == owner).then(|| value(PROGRAM).unwrap_or_default())
}

/// Every living process of the cluster but this one and its ancestors.
pub fn processes(paths: &Paths) -> Vec<Process> {
    let owner = paths.text("");
    let mut mine = BTreeSet::new();
    let mut next = std::process::id();
    while next > 1 && mine.insert(next) {
        next = stat(next).map_or(0, |stat| stat.parent);
    }
    let mut found: Vec<Process> = all()
        .into_iter()
        .filter(|pid| !mine.contains(pid))
        .filter_map(|pid| {
            let name = marked(pid, &owner)?;
            let stat = stat(pid).filter(|stat| !matches!(stat.state, 'Z' | 'X'))?;
            Some(Process {
                pid,
                name,
                session: stat.session,
                early: stat.name == STEPS[0],
            })
        })
        .collect();
    found.sort_by(|one, other| (&one.name, one.pid).cmp(&(&other.name, other.pid)));
    found
}

/// The process of a program that [`start`] started, while it lives.
pub fn running(paths: &Paths, name: &str) -> Option<u32> {
    processes(paths)
        .into_iter()
        .find(|process| process.name == name && process.leads())
        .map(|process| process.pid)
}

/// Whether a killed program of this name has threads left, which may hold its sockets: the kernel takes its memory first,
/// and with it the mark, then one thread after the other, and closes its files with the last; the first shows none before.
pub fn dying(name: &str) -> bool {
    let shown = name.get(..name.len().min(SHOWN)).unwrap_or(name);
    all().into_iter().any(|pid| {
        stat(pid).is_some_and(|stat| stat.name == shown)
            && !read(format!("/proc/{pid}/environ")).is_ok_and(|marks| !marks.is_empty())
            && (read_dir(format!("/proc/{pid}/fd")).is_ok_and(|mut open| open.next().is_some())
                || read_dir(format!("/proc/{pid}/task")).is_ok_and(|all| all.count() > 1))
    })
}

fn wait_dying(name: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while dying(name) {
        if Instant::now() >= deadline {
            bail!("a killed {name} is not gone after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Starts a program detached inside the namespace with its own log, unless it still runs; tells whether it did.
pub fn start(paths: &Paths, name: &str, inner: &Command) -> Result<bool> {
    if running(paths, name).is_some() {
        return Ok(false);
    }
    wait_dying(name)?;
    paths.folder("logs")?;
    let log = paths.log(name);
    let out = OpenOptions::new().create(true).append(true).open(&log)?;
    let mut command = Command::new(STEPS[0]);
    command
        .arg(STEPS[1])
        .arg(format!("--net=/run/netns/{NAMESPACE}"))
        .arg("--");
    wrap(&mut command, inner);
    // setsid and nsenter replace themselves, so that the process is the program's own.
    let started = past_proxies(&mut command)
        .env(OWNER, paths.text(""))
        .env(PROGRAM, name)
        .stdin(Stdio::null())
        .stdout(File::try_clone(&out)?)
        .stderr(out)
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    settle(paths, started.id())?;
    Ok(true)
}

/// Waits until a started process is the program itself and shows its mark, or is gone: a process that is just replacing
/// itself has no environment yet, and whoever looks for it then finds nothing and starts a second one.
fn settle(paths: &Paths, pid: u32) -> Result<()> {
    let owner = paths.text("");
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        // The mark before the name: until there is one, the name may still be that of whoever started it.
        let early = marked(pid, &owner).is_none();
        match stat(pid) {
            None => return Ok(()),
            Some(stat) if matches!(stat.state, 'Z' | 'X') => return Ok(()),
            Some(stat) if !early && !STEPS.contains(&stat.name.as_str()) => {
                // It may have become the program between the two looks; a program's own mark stays.
                if marked(pid, &owner).is_some() {
                    return Ok(());
                }
            }
            Some(_) => {}
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("process {pid} does not become the program it was started as within {PATIENCE:?}")
}

fn wrap(outer: &mut Command, inner: &Command) {
    outer.arg(inner.get_program()).args(inner.get_args());
    pass_on(outer, inner);
}

/// Environment and folder of one command become another's.
pub(crate) fn pass_on(outer: &mut Command, inner: &Command) {
    for (key, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(key, value),
            None => outer.env_remove(key),
        };
    }
    if let Some(folder) = inner.get_current_dir() {
        outer.current_dir(folder);
    }
}

/// The same command, ended after `limit`, and found by `down` should this process be gone first.
pub fn limited(paths: &Paths, limit: Duration, inner: &Command) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "2", &format!("{:.1}", limit.as_secs_f64())]);
    wrap(&mut command, inner);
    command
        .env(OWNER, paths.text(""))
        .env(PROGRAM, "command")
        .stdin(Stdio::null());
    command
}

/// Runs a command; its failure is an error that says what was tried and what it answered.
pub fn run(command: &mut Command) -> Result<Output> {
    let out = command
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    if !out.status.success() {
        bail!(
            "{command:?} ended with {}: {}",
            out.status,
            String::from_utf8_lossy(&out.stderr).trim()
        );
    }
    Ok(out)
}

/// Whether a command succeeds.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Sends a signal; a process that is gone is fine.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Ends what is picked and whatever it starts meanwhile, by force.
pub fn end(paths: &Paths, pick: impl Fn(&Process) -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left: Vec<Process> = processes(paths).into_iter().filter(&pick).collect();
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("these survive SIGKILL: {left:?}");
        }
        for process in left {
            signal(process.pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Stops one program in its own way, by force after ten seconds. Fine when it does not run.
pub fn stop(paths: &Paths, name: &str) -> Result<()> {
    let Some(pid) = running(paths, name) else {
        return Ok(());
    };
    signal(pid, Signal::TERM);
    let deadline = Instant::now() + PATIENCE;
    while running(paths, name) == Some(pid) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    end(paths, |process| process.name == name)
}

/// The last lines of a log, for an error.
pub fn tail(file: &Path) -> String {
    let text = read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(12);
    format!(
        "the end of {}:\n{}",
        file.display(),
        lines[from..].join("\n")
    )
}

/// Asks until the answer is yes. Past the deadline, or as soon as the program that it depends on is gone, an error that
/// names the question and the end of the program's log.
pub fn until(
    paths: &Paths,
    what: &str,
    program: &str,
    limit: Duration,
    mut ask: impl FnMut() -> bool,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    let mut missed = 0;
    while !ask() {
        // A process that is just replacing itself by its program shows no environment for an instant.
        missed = if running(paths, program).is_none() {
            missed + 1
        } else {
            0
        };
        if missed >= MISSES {
            bail!("{what}: {program} is gone; {}", tail(&paths.log(program)));
        }
        if Instant::now() >= deadline {
            bail!(
                "{what}: not within {} s; {}",
                limit.as_secs(),
                tail(&paths.log(program))
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(folder: &Path) -> Paths {
        Paths {
            run: folder.join("run"),
            cache: folder.join("cache"),
            lock: folder.join("lock"),
        }
    }

    #[test]
    fn a_process_is_found_by_its_mark_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, others) = (paths(folder.path()), paths(&folder.path().join("other")));
        let mut sleep = Command::new("sleep");
        sleep.arg("600");
        let mut child = limited(&ours, Duration::from_mins(10), &sleep)
            .spawn()
            .unwrap();
        settle(&ours, child.id()).unwrap();
        assert!(processes(&ours).iter().any(|found| found.pid == child.id()));
        assert_eq!(processes(&others), []);
        end(&others, |_| true).unwrap();
        assert!(child.try_wait().unwrap().is_none());
        end(&ours, |_| true).unwrap();
        assert!(!child.wait().unwrap().success());
        assert_eq!(processes(&ours), []);
    }

    #[test]
    fn a_started_process_is_found_as_soon_as_it_settled() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        for _ in 0..50 {
            let mut child = Command::new(STEPS[0])
                .args(["sleep", "600"])
                .env(OWNER, paths.text(""))
                .env(PROGRAM, "sleeper")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            settle(&paths, child.id()).unwrap();
            assert_eq!(running(&paths, "sleeper"), Some(child.id()));
            end(&paths, |_| true).unwrap();
            child.wait().unwrap();
        }
        let mut gone = Command::new("true").spawn().unwrap();
        settle(&paths, gone.id()).unwrap();
        gone.wait().unwrap();
    }

    #[test]
    fn a_command_that_hangs_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut sleep = Command::new("sleep");
        sleep.arg("600");
        let mut command = limited(&paths(folder.path()), Duration::from_millis(100), &sleep);
        let error = run(&mut command).unwrap_err().to_string();
        assert!(error.contains("124"), "{error}");
    }
}
