//! A stream of admissions: dry runs of an update that must be held, over kubectl's proxy on a socket of the file
//! system, which needs no network.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::bed::{Bed, until};

/// Between two updates.
const EVERY: Duration = Duration::from_millis(150);

/// What became of the updates.
#[derive(Debug, Default)]
pub struct Counts {
    /// Answered with success and held.
    pub held: AtomicU64,
    /// Answered with success, but not held: let through.
    pub through: AtomicU64,
    /// Not answered with success.
    pub failed: AtomicU64,
}

/// The running stream.
#[derive(Debug)]
pub struct Stream {
    proxy: Child,
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    /// What became of the updates so far.
    pub counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

fn update(socket: &Path, path: &str, mark: &str) -> std::io::Result<String> {
    let body = format!(
        r#"{{"spec":{{"template":{{"spec":{{"containers":[{{"name":"app","env":[{{"name":"E2E_DRY","value":"{mark}"}}]}}]}}}}}}}}"#
    );
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // HTTP/1.0: the answer comes in one piece and ends with the connection.
    write!(
        stream,
        "PATCH {path}?dryRun=All&fieldManager=e2e HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/strategic-merge-patch+json\r\n\
         Accept: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

impl Stream {
    /// Starts it on a Deployment of the shop.
    pub fn start(bed: &Bed, name: &str) -> Result<Self> {
        let socket = std::env::temp_dir().join(format!("msars-e2e-{}.sock", std::process::id()));
        if socket.exists() {
            std::fs::remove_file(&socket)?;
        }
        let proxy = bed
            .cluster
            .enter("kubectl")
            .args(["proxy", "--reject-methods=^$"])
            .arg(format!("--unix-socket={}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting kubectl proxy")?;
        let path = format!(
            "/apis/apps/v1/namespaces/{}/deployments/{name}",
            bed.namespace
        );
        until("kubectl proxy answers", 20, || {
            let answer = update(&socket, &path, "first");
            Ok(answer.map(drop).map_err(|error| error.to_string()))
        })?;
        let (stop, counts) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(Counts::default()),
        );
        let (ended, seen, from, begin) = (
            Arc::clone(&stop),
            Arc::clone(&counts),
            socket.clone(),
            bed.mark(),
        );
        let thread = std::thread::spawn(move || {
            let mut number = 0_u64;
            while !ended.load(Ordering::Relaxed) {
                number += 1;
                let count = match update(&from, &path, &format!("{begin}-{number}")) {
                    Ok(answer)
                        if answer
                            .lines()
                            .next()
                            .is_some_and(|line| line.contains(" 200 ")) =>
                    {
                        if answer.contains("\"msars.io/hold-hash\"") {
                            &seen.held
                        } else {
                            &seen.through
                        }
                    }
                    _ => &seen.failed,
                };
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(EVERY);
            }
        });
        Ok(Self {
            proxy,
            socket,
            stop,
            counts,
            thread: Some(thread),
        })
    }

    /// Ends it: held, let through, failed.
    pub fn end(mut self) -> Result<[u64; 3]> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread
                .join()
                .map_err(|_panic| anyhow::anyhow!("the stream panicked"))?;
        }
        let counts = &self.counts;
        Ok([&counts.held, &counts.through, &counts.failed]
            .map(|count| count.load(Ordering::Relaxed)))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Gone already is what is wanted.
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}
