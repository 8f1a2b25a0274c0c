//! Where everything of one cluster lies.

use std::fs::{File, create_dir_all, read_to_string, rename, write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Between two looks at the lock.
const LOOK: Duration = Duration::from_millis(200);

/// The folders of one cluster.
#[derive(Debug, Clone)]
pub struct Paths {
    /// State and logs; removed by `down`.
    pub run: PathBuf,
    /// Built programs, kept by version.
    pub cache: PathBuf,
    /// Held by whoever works on the cluster; one for the whole machine, whatever the other two are.
    pub lock: PathBuf,
}

impl Paths {
    /// `MSARS_CLUSTER_RUN` (default `/var/lib/msars-cluster`), `MSARS_CACHE` (default `~/.cache/msars`) and
    /// `MSARS_CLUSTER_LOCK` (default `/run/lock/msars-cluster.lock`).
    ///
    /// # Errors
    /// When there is no home folder to derive the cache from.
    pub fn from_env() -> Result<Self> {
        let cache = match std::env::var_os("MSARS_CACHE") {
            Some(folder) => PathBuf::from(folder),
            None => match std::env::var_os("XDG_CACHE_HOME") {
                Some(folder) => PathBuf::from(folder).join("msars"),
                None => PathBuf::from(
                    std::env::var_os("HOME").context("HOME is not set; set MSARS_CACHE")?,
                )
                .join(".cache/msars"),
            },
        };
        let or = |name: &str, default: &str| {
            std::env::var_os(name).map_or_else(|| PathBuf::from(default), PathBuf::from)
        };
        Ok(Self {
            run: or("MSARS_CLUSTER_RUN", "/var/lib/msars-cluster"),
            cache,
            lock: or("MSARS_CLUSTER_LOCK", "/run/lock/msars-cluster.lock"),
        })
    }

    /// A folder of the run, made if needed.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.run.join(name);
        create_dir_all(&path).with_context(|| format!("making the folder {}", path.display()))?;
        Ok(path)
    }

    /// A file's path in the run, as text for a configuration.
    pub fn text(&self, name: &str) -> String {
        self.run.join(name).display().to_string()
    }

    /// The admin's kubeconfig; its server is reachable inside the network namespace only.
    pub fn kubeconfig(&self) -> PathBuf {
        self.run.join("cfg/admin.conf")
    }

    /// The log of one program of the cluster.
    pub fn log(&self, program: &str) -> PathBuf {
        self.run.join("logs").join(format!("{program}.log"))
    }

    /// Waits until nobody else works on the cluster, without taking it, and asks meanwhile whether to go on waiting.
    ///
    /// # Errors
    /// What `check` answers; when the lock file cannot be opened.
    pub fn until_free(&self, say: &dyn Fn(&str), check: &dyn Fn() -> Result<()>) -> Result<()> {
        let file = self.lock_file()?;
        let mut told = false;
        while file.try_lock().is_err() {
            if !told {
                say(&self.held());
                told = true;
            }
            check()?;
            sleep(LOOK);
        }
        Ok(())
    }

    fn lock_file(&self) -> Result<File> {
        if let Some(folder) = self.lock.parent() {
            create_dir_all(folder)?;
        }
        File::create(&self.lock).with_context(|| format!("opening {}", self.lock.display()))
    }

    fn held(&self) -> String {
        format!("another run holds {}; waiting for it", self.lock.display())
    }

    /// Waits until nobody else works on the cluster; held until dropped or the process ends, however it ends.
    ///
    /// # Errors
    /// When the lock file cannot be opened.
    pub fn lock(&self, say: &dyn Fn(&str)) -> Result<File> {
        let file = self.lock_file()?;
        if file.try_lock().is_err() {
            say(&self.held());
            file.lock()?;
        }
        Ok(file)
    }

    /// The namespace and the socket are one per machine, so a second state folder has to wait for the first to go.
    pub(crate) fn claim(&self) -> Result<()> {
        create_dir_all(CRI_FOLDER)?;
        put(&Path::new(CRI_FOLDER).join("state"), &self.text(""))?;
        Ok(())
    }

    /// Refuses to touch the cluster of another state folder.
    pub(crate) fn refuse_others(&self) -> Result<()> {
        match read_to_string(Path::new(CRI_FOLDER).join("state")) {
            Ok(other) if other != self.text("") => bail!(
                "a cluster with its state in {other} is up; take it down first: MSARS_CLUSTER_RUN={other} msars-cluster down"
            ),
            _ => Ok(()),
        }
    }
}

/// Writes a file whole or not at all, so that a killed run leaves no half of one; tells whether anything changed.
pub(crate) fn put(path: &Path, text: &str) -> Result<bool> {
    if read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(false);
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    write(&fresh, text)
        .and_then(|()| rename(&fresh, path))
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(true)
}

/// Where containerd listens; not the default, so that a container engine of the machine is left alone.
pub const CRI_FOLDER: &str = "/run/msars-cluster";

/// Containerd's socket.
pub fn cri_socket() -> PathBuf {
    Path::new(CRI_FOLDER).join("containerd.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_once_for_the_same_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("one");
        assert!(put(&file, "a").unwrap());
        assert!(!put(&file, "a").unwrap());
        assert!(put(&file, "b").unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_lock_is_free_again_after_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths {
            run: folder.path().into(),
            cache: folder.path().into(),
            lock: folder.path().join("deep/lock"),
        };
        let said = std::cell::Cell::new(0);
        let say = |_: &str| said.set(said.get() + 1);
        drop(paths.lock(&say).unwrap());
        assert_eq!(said.get(), 0);
        // Who says what while it waits here is left open: see `patient`.
        drop(paths.lock(&say).unwrap());
    }

    /// A process that another test starts holds this one's files, and so its lock, from its fork to its exec; a lock
    /// let go is free once those are through.
    fn patient() -> impl Fn() -> Result<()> {
        let since = std::time::Instant::now();
        move || {
            anyhow::ensure!(since.elapsed() < Duration::from_mins(1), "still held");
            Ok(())
        }
    }

    #[test]
    fn who_waits_for_the_lock_can_be_told_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths {
            run: folder.path().into(),
            cache: folder.path().into(),
            lock: folder.path().join("lock"),
        };
        let held = paths.lock(&|_| {}).unwrap();
        let (said, asked) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let stopped = paths.until_free(&|_| said.set(said.get() + 1), &|| {
            asked.set(asked.get() + 1);
            anyhow::ensure!(asked.get() < 3, "interrupted");
            Ok(())
        });
        assert_eq!(stopped.unwrap_err().to_string(), "interrupted");
        assert_eq!((said.get(), asked.get()), (1, 3));
        drop(held);
        paths.until_free(&|_| {}, &patient()).unwrap();
    }
}
