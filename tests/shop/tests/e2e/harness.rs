//! Roles as processes of their own on loopback, and a client for them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Seed of every pod's work and visits.
pub const SEED: u64 = 11;

/// A running role; killed when dropped.
pub struct Pod {
    child: Child,
    /// Where it listens.
    pub address: String,
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pod {
    /// Starts `role` at `version` with fixed draws.
    pub fn start(role: &str, version: &str, peers: &[(&str, &str)], more: &[&str]) -> Self {
        let peers: Vec<String> = peers
            .iter()
            .map(|(name, place)| format!("{name}={place}"))
            .collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_msars-shop"));
        command
            .args([
                "serve",
                "--role",
                role,
                "--version",
                version,
                "--listen",
                "127.0.0.1:0",
            ])
            .args([
                "--peers",
                &peers.join(";"),
                "--seed",
                &SEED.to_string(),
                "--process-cpu",
            ])
            .args(more);
        Self::spawn(&mut command)
    }

    /// Starts a command that serves and waits until it says where.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().strip_prefix("listening ").unwrap().to_owned();
        Self { child, address }
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

/// A keep-alive client.
#[derive(Clone)]
pub struct Visitor(Client<HttpConnector, Full<Bytes>>);

impl Visitor {
    pub fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    /// Sends `GET /path` or `POST /path`; the body is read whole.
    pub async fn ask(&self, pod: &str, what: &str) -> Result<Response<String>, String> {
        let (method, path) = what.split_once(' ').unwrap();
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{pod}{path}"))
            .body(Full::default())
            .unwrap();
        let response = self
            .0
            .request(request)
            .await
            .map_err(|error| format!("{error:?}"))?;
        let (head, body) = response.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|error| format!("{error:?}"))?
            .to_bytes();
        Ok(Response::from_parts(
            head,
            String::from_utf8_lossy(&body).into_owned(),
        ))
    }

    /// The code of an answer.
    pub async fn code(&self, pod: &str, what: &str) -> u16 {
        self.ask(pod, what).await.unwrap().status().as_u16()
    }

    /// The sum of all samples of that name whose labels hold `with`.
    pub async fn metric(&self, pod: &str, name: &str, with: &str) -> f64 {
        let text = self.ask(pod, "GET /metrics").await.unwrap().into_body();
        text.lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name) && line.contains(with))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }
}
