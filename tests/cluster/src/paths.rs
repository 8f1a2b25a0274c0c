//! Where everything of one cluster lies.

use std::fs::{File, create_dir_all};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folders of one cluster.
#[derive(Debug, Clone)]
pub struct Paths {
    /// State, logs, process ids; removed by `down`.
    pub run: PathBuf,
    /// Built programs, kept by version.
    pub cache: PathBuf,
}

impl Paths {
    /// `MSARS_CLUSTER_RUN` (default `/var/lib/msars-cluster`) and `MSARS_CACHE` (default `~/.cache/msars`).
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
        let run = std::env::var_os("MSARS_CLUSTER_RUN")
            .map_or_else(|| "/var/lib/msars-cluster".into(), PathBuf::from);
        Ok(Self { run, cache })
    }

    /// A folder of the run, made if needed.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.run.join(name);
        create_dir_all(&path).with_context(|| format!("making the folder {}", path.display()))?;
        Ok(path)
    }

    /// A file's path in the run, as text for a configuration.
    pub fn text(&self, name: &str) -> String {
        self.run.join(name).display().to_string()
    }

    /// The admin's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.run.join("cfg/admin.conf")
    }

    /// Waits until no other run of the test bed works on the cluster; held until dropped.
    pub fn lock(&self) -> Result<File> {
        create_dir_all(&self.cache)?;
        let path = self.cache.join("cluster.lock");
        let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
        if file.try_lock().is_err() {
            println!("another run holds {}; waiting for it", path.display());
            file.lock()?;
        }
        Ok(file)
    }
}

/// Where containerd listens; not the default, so that a container engine of the machine is left alone.
pub const CRI_FOLDER: &str = "/run/msars-cluster";

/// Containerd's socket.
pub fn cri_socket() -> PathBuf {
    Path::new(CRI_FOLDER).join("containerd.sock")
}
