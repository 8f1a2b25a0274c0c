//! Runs over HTTP, and the program itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

mod target;

use std::net::SocketAddr;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use msars_domain::Token;
use msars_domain::load::{EndedBy, RunResult};
use msars_loadgen::serve;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const MS: Duration = Duration::from_millis(1);
/// What the servers of these tests want.
const TOKEN: &str = "t0ken";

/// A server and what ends it.
async fn server() -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let token = Token::new(TOKEN).unwrap();
    let serving = tokio::spawn(serve(listener, token, async { drop(stopped.await) }));
    (address, stop, serving)
}

/// Sends a request with the token.
async fn open(server: SocketAddr, head: &str, body: &str) -> TcpStream {
    let brings = format!("authorization: Bearer {TOKEN}\r\n");
    send(server, head, &brings, body).await
}

/// Sends a request with these lines among its headers.
async fn send(server: SocketAddr, head: &str, lines: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let length = body.len();
    let request = format!(
        "{head} HTTP/1.1\r\nhost: a\r\n{lines}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

async fn ask(server: SocketAddr, head: &str, body: &Value) -> (u16, String) {
    answer(open(server, head, &body.to_string()).await).await
}

fn job(target: SocketAddr, path: &str) -> Value {
    json!({
        "target": format!("http://{target}"), "requests": format!("GET {path}"),
        "rate": 200, "duration_s": 0.2, "windows_s": 0.1, "seed": 3, "timeout_ms": 60_000,
    })
}

#[tokio::test]
async fn a_run_is_asked_for_and_answered() {
    let (target, _) = target::start().await;
    let (server, _stop, _serving) = server().await;
    assert_eq!(ask(server, "GET /healthz", &json!(null)).await.0, 200);
    let (status, body) = ask(server, "POST /run", &job(target, "/")).await;
    assert_eq!(status, 200, "{body}");
    let result: RunResult = serde_json::from_str(&body).unwrap();
    assert_eq!((result.ended_by, result.windows.len()), (EndedBy::Time, 2));
    assert!(result.total.sent > 0 && result.total.failed == 0);
}

#[tokio::test]
async fn a_run_without_the_token_is_refused_and_sends_nothing() {
    let (target, seen) = target::start().await;
    let (server, _stop, _serving) = server().await;
    let asked = job(target, "/");
    for lines in [
        "",
        "authorization: Bearer\r\n",
        "authorization: Bearer t0ke\r\n",
        "authorization: Bearer t0ken2\r\n",
        "authorization: t0ken\r\n",
        "msars-run-token: t0ken\r\n",
    ] {
        let stream = send(server, "POST /run", lines, &asked.to_string()).await;
        let (status, body) = answer(stream).await;
        assert_eq!(status, 401, "{lines}: {body}");
        assert!(body.contains("authorization: Bearer"), "{lines}: {body}");
        assert!(!body.contains(TOKEN), "{lines}: {body}");
    }
    assert_eq!(seen.connections.load(SeqCst), 0);
    // The kubelet has none, and asks whether the pod is Ready.
    let healthy = send(server, "GET /healthz", "", "").await;
    assert_eq!(answer(healthy).await.0, 200);
    let (status, body) = ask(server, "POST /run", &asked).await;
    assert_eq!(status, 200, "{body}");
    assert!(seen.requests.load(SeqCst) > 0);
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let (server, _stop, _serving) = server().await;
    let address = server;
    let spoiled = |field: &str, value: Value| {
        let mut job = job(address, "/");
        job[field] = value;
        job
    };
    for (field, value, message) in [
        ("rate", json!(2001), "rate is 2001"),
        ("duration_s", json!(121), "at most 120"),
        ("max_requests", json!(100_001), "at most 100000"),
        ("target", json!("https://a"), "http://host:port"),
        ("requests", json!("get /"), "method `get`"),
        ("speed", json!(1), "unknown field"),
    ] {
        let (status, body) = ask(server, "POST /run", &spoiled(field, value)).await;
        assert!(
            status == 400 && body.contains(message),
            "{field}: {status} {body}"
        );
    }
    assert_eq!(ask(server, "GET /run", &json!(null)).await.0, 405);
    assert_eq!(ask(server, "GET /", &json!(null)).await.0, 404);
    let (status, _) = answer(open(server, "POST /run", &" ".repeat((1 << 20) + 1)).await).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn one_run_at_a_time_and_hanging_up_ends_it() {
    let (target, seen) = target::start().await;
    let (server, _stop, _serving) = server().await;
    let first = open(server, "POST /run", &job(target, "/never").to_string()).await;
    while seen.under_way.load(SeqCst) == 0 {
        tokio::time::sleep(MS).await;
    }
    assert_eq!(ask(server, "POST /run", &job(target, "/")).await.0, 409);
    assert_eq!(ask(server, "GET /healthz", &json!(null)).await.0, 200);
    drop(first);
    while seen.under_way.load(SeqCst) > 0 {
        tokio::time::sleep(MS).await;
    }
    // The turn comes back once the server has seen the end of the connection.
    while ask(server, "POST /run", &job(target, "/")).await.0 == 409 {}
}

#[tokio::test]
async fn the_end_of_the_server_ends_a_run_with_what_it_has() {
    let (target, seen) = target::start().await;
    let (server, stop, serving) = server().await;
    let mut long = job(target, "/");
    long["duration_s"] = json!(60);
    let running = open(server, "POST /run", &long.to_string()).await;
    while seen.requests.load(SeqCst) < 5 {
        tokio::time::sleep(MS).await;
    }
    stop.send(()).unwrap();
    let (status, body) = answer(running).await;
    let result: RunResult = serde_json::from_str(&body).unwrap();
    assert_eq!((status, result.ended_by), (200, EndedBy::Stop));
    assert!(result.total.sent >= 5);
    serving.await.unwrap();
}

#[tokio::test]
async fn the_program_plays_a_trace_into_a_report() {
    let (target, _) = target::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (trace, report) = (folder.path().join("trace"), folder.path().join("out.json"));
    std::fs::write(&trace, "400\n100\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_msars-profile"))
        .args([
            "run",
            "--target",
            &format!("http://{target}"),
            "--requests",
            "GET /; GET /404",
        ])
        .args([
            "--time-scale",
            "600",
            "--rate-scale",
            "0.5",
            "--step",
            "2m",
            "--window",
            "200ms",
        ])
        .arg("--trace")
        .arg(&trace)
        .arg("--report")
        .arg(&report)
        .output()
        .await
        .unwrap();
    let progress = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{progress}"
    );
    assert_eq!(
        progress.lines().count(),
        3,
        "two windows and the summary: {progress}"
    );
    let result: RunResult = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert_eq!(result.windows.len(), 2);
    assert!(result.windows[0].tally.sent > result.windows[1].tally.sent);
    assert_eq!(
        result.total.outcomes.client_error,
        result.classes[1].tally.sent
    );
}

#[tokio::test]
async fn the_program_ends_cleanly_when_told() {
    let (target, seen) = target::start().await;
    let run = ["run", "--rate", "100", "--duration", "1h", "--target"].map(str::to_owned);
    let run = run
        .into_iter()
        .chain([format!("http://{target}")])
        .collect();
    let listen = ["serve", "--listen", "127.0.0.1:0"]
        .map(str::to_owned)
        .to_vec();
    for (arguments, sends) in [(run, true), (listen, false)] {
        let arguments: Vec<String> = arguments;
        let mut child = Command::new(env!("CARGO_BIN_EXE_msars-profile"))
            .args(arguments)
            .env("MSARS_RUN_TOKEN", TOKEN)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        if sends {
            while seen.requests.load(SeqCst) == 0 {
                tokio::time::sleep(MS).await;
            }
        } else {
            let line = lines.next_line().await.unwrap().unwrap();
            assert!(line.starts_with("listening on 127.0.0.1:"), "{line}");
        }
        let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut stdout = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut stdout)
            .await
            .unwrap();
        assert!(child.wait().await.unwrap().success());
        if sends {
            let result: RunResult = serde_json::from_str(&stdout).unwrap();
            assert_eq!(result.ended_by, EndedBy::Stop);
        }
    }
}
