//! The server over real TLS, in process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::Request;
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use msars_server::{Decide, Decision, Limits, Metrics, Outcome, Pair, RustlsConfig};
use prometheus_client::registry::Registry;
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// How long a server that ends still takes connections.
const LINGER: Duration = Duration::from_millis(300);

const REVIEW: &str = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u-1","object":{}}}"#;

/// Answers with a body of its own; waits or panics where the object says so.
struct Scripted;

impl Decide for Scripted {
    fn decide(&self, review: &[u8], _now: jiff::Timestamp) -> Decision {
        let text = std::str::from_utf8(review).unwrap();
        if text.contains("boom") {
            // Unwinds as a panic does, but prints no backtrace, which may take longer than a test's deadline.
            std::panic::resume_unwind(Box::new("scripted"));
        }
        if text.contains("slow") {
            std::thread::sleep(Duration::from_millis(400));
        }
        Decision {
            body: b"decided".to_vec(),
            outcome: Outcome::Passed,
        }
    }
}

fn issue() -> Pair {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Pair {
        certificates: issued.cert.pem().into_bytes(),
        key: issued.signing_key.serialize_pem().into_bytes(),
    }
}

struct Running {
    address: SocketAddr,
    tls: RustlsConfig,
    metrics: Metrics,
    stop: watch::Sender<bool>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Running {
    fn start(pair: &Pair, limits: Limits) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::register(&mut Registry::default());
        let routes = msars_server::router(Arc::new(Scripted), limits, metrics.clone());
        let tls = RustlsConfig::from_config(msars_server::rustls_config(pair).unwrap());
        let stop = watch::Sender::new(false);
        let ends = (stop.subscribe(), LINGER);
        let server = msars_server::serve(listener, tls.clone(), routes, ends);
        let server = tokio::spawn(server);
        Self {
            address,
            tls,
            metrics,
            stop,
            server,
        }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        self.server.await.unwrap().unwrap();
    }
}

async fn dial(address: SocketAddr, trusted: &[&Pair]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    for pair in trusted {
        roots.add(der(pair)).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect("localhost".try_into().unwrap(), stream)
        .await
        .unwrap()
}

/// A connection, and the certificate that the server showed.
async fn connect(address: SocketAddr, trusted: &[&Pair]) -> (SendRequest<Full<Bytes>>, Vec<u8>) {
    let stream = dial(address, trusted).await;
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    (sender, shown)
}

/// A connection with a review that announces 3,000 bytes and brings these.
async fn stuck(address: SocketAddr, pair: &Pair, begun: &str) -> TlsStream<TcpStream> {
    let mut stream = dial(address, &[pair]).await;
    let head = "POST /mutate/pods HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3000\r\n\r\n";
    let sent = format!("{head}{begun}");
    stream.write_all(sent.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

/// Sends the rest of a review, and returns the answer with its head.
async fn finish(stream: &mut TlsStream<TcpStream>, rest: &str) -> String {
    stream.write_all(rest.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let (mut answer, mut part) = (String::new(), [0; 1024]);
    while !answer.contains("decided") && !answer.contains("allowed") {
        let length = stream.read(&mut part).await.unwrap();
        assert_ne!(length, 0, "{answer}");
        answer.push_str(std::str::from_utf8(&part[..length]).unwrap());
    }
    answer
}

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&pair.certificates).unwrap()
}

async fn ask(sender: &mut SendRequest<Full<Bytes>>, body: impl Into<Bytes>) -> (u16, String) {
    let request = Request::post("/mutate/deployments")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .unwrap();
    sender.ready().await.unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn assert_open((status, body): &(u16, String), uid: &str) {
    let review: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(*status, 200);
    assert_eq!(review["response"]["allowed"], true);
    assert_eq!(review["response"]["uid"], uid);
    assert!(review["response"].get("patch").is_none());
}

#[tokio::test]
async fn whatever_goes_wrong_is_allowed() {
    let pair = issue();
    let limits = Limits {
        body: 1000,
        deadline: Duration::from_millis(100),
        ..Limits::default()
    };
    let running = Running::start(&pair, limits);
    let (mut sender, _) = connect(running.address, &[&pair]).await;

    assert_eq!(ask(&mut sender, REVIEW).await, (200, "decided".to_owned()));
    assert_open(&ask(&mut sender, &REVIEW[..REVIEW.len() - 2]).await, "u-1");
    assert_open(&ask(&mut sender, "").await, "");
    let slow = REVIEW.replace("{}", r#"{"a":"slow"}"#);
    assert_open(&ask(&mut sender, slow).await, "u-1");
    let panicking = REVIEW.replace("{}", r#"{"a":"boom"}"#);
    assert_open(&ask(&mut sender, panicking).await, "u-1");
    let (mut second, _) = connect(running.address, &[&pair]).await;
    assert_open(&ask(&mut second, vec![b' '; 1001]).await, "");

    let count = |outcome| running.metrics.count(outcome);
    assert_eq!(count(Outcome::Passed), 1);
    assert_eq!(count(Outcome::Unreadable), 3);
    assert_eq!(count(Outcome::Late), 1);
    assert_eq!(count(Outcome::Failed), 1);
    drop((sender, second));
    running.end().await;
}

#[tokio::test]
async fn rotation_under_a_stream_of_requests_loses_none() {
    let (old, new) = (issue(), issue());
    let running = Running::start(&old, Limits::default());
    let on_disk = Arc::new(Mutex::new(old.clone()));
    let read = {
        let on_disk = Arc::clone(&on_disk);
        move || {
            let pair = on_disk.lock().unwrap().clone();
            async move { Ok(pair) }
        }
    };
    let follower = tokio::spawn(msars_server::follow(
        old.clone(),
        read,
        Duration::from_millis(2),
        running.tls.clone(),
        running.metrics.clone(),
        running.stop.subscribe(),
    ));

    let (mut kept, shown) = connect(running.address, &[&old, &new]).await;
    assert_eq!(shown, der(&old).to_vec());
    let mut after_rotation = 0;
    let mut asked = 0;
    while after_rotation < 50 {
        asked += 1;
        assert!(asked < 5000, "the new certificate never came into use");
        match asked {
            // Half-written files: the key is there before its certificate.
            50 => on_disk.lock().unwrap().key.clone_from(&new.key),
            100 => *on_disk.lock().unwrap() = new.clone(),
            _ => {}
        }
        let (mut fresh, shown) = connect(running.address, &[&old, &new]).await;
        assert_eq!(ask(&mut fresh, REVIEW).await.1, "decided");
        assert_eq!(ask(&mut kept, REVIEW).await.1, "decided");
        if shown == der(&new).to_vec() {
            after_rotation += 1;
        } else {
            assert_eq!(after_rotation, 0, "the old certificate came back");
        }
    }
    assert_eq!(running.metrics.count(Outcome::Passed), 2 * asked);
    drop(kept);
    running.end().await;
    follower.await.unwrap();
}

#[tokio::test]
async fn who_has_not_heard_of_the_end_is_still_answered() {
    let pair = issue();
    let running = Running::start(&pair, Limits::default());
    running.stop.send_replace(true);
    let (mut late, _) = connect(running.address, &[&pair]).await;
    assert_eq!(ask(&mut late, REVIEW).await, (200, "decided".to_owned()));
    drop(late);
    let address = running.address;
    running.end().await;
    assert!(TcpStream::connect(address).await.is_err(), "it has ended");
}

#[tokio::test]
async fn bodies_under_way_take_no_more_memory_than_they_may() {
    let pair = issue();
    let limits = Limits {
        body: 3000,
        memory: 4000,
        deadline: Duration::from_millis(100),
        ..Limits::default()
    };
    let running = Running::start(&pair, limits);
    let (mut first, _) = connect(running.address, &[&pair]).await;
    let (mut second, _) = connect(running.address, &[&pair]).await;
    let slow = REVIEW.replace("{}", &format!(r#"{{"a":"slow {}"}}"#, "x".repeat(2000)));
    // Late, and its body stays in memory until its decision ends.
    assert_open(&ask(&mut first, slow).await, "u-1");
    let large = REVIEW.replace("{}", &format!(r#"{{"a":"{}"}}"#, "x".repeat(2000)));
    assert_open(&ask(&mut second, large.clone()).await, "u-1");
    assert_eq!(running.metrics.count(Outcome::Late), 2);
    // A small one fits beside it.
    assert_eq!(ask(&mut first, REVIEW).await, (200, "decided".to_owned()));
    let mut answer = ask(&mut second, large.clone()).await;
    while answer.1 != "decided" {
        answer = ask(&mut second, large.clone()).await;
    }
    drop((first, second));
    running.end().await;
}

/// Whoever reaches the port can announce as much as he likes.
#[tokio::test]
async fn a_body_that_is_announced_and_not_sent_keeps_nobody_waiting() {
    let pair = issue();
    let limits = Limits {
        body: 3000,
        arriving: 3000,
        memory: 3000,
        deadline: Duration::from_secs(5),
        ..Limits::default()
    };
    let running = Running::start(&pair, limits);
    let mut silent = Vec::new();
    for bytes in [0, 0, 1, 1000] {
        silent.push(stuck(running.address, &pair, &"x".repeat(bytes)).await);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (mut sender, _) = connect(running.address, &[&pair]).await;
    assert_eq!(ask(&mut sender, REVIEW).await, (200, "decided".to_owned()));
    assert_eq!(running.metrics.count(Outcome::Late), 0, "nobody waited");
    drop((sender, silent));
    running.end().await;
}

#[tokio::test]
async fn what_was_sent_of_bodies_takes_no_more_memory_than_it_may() {
    let pair = issue();
    let limits = Limits {
        body: 3000,
        arriving: 3000,
        deadline: Duration::from_secs(1),
        ..Limits::default()
    };
    let running = Running::start(&pair, limits);
    // One takes all the room, and one the place beside it.
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(stuck(running.address, &pair, &"x".repeat(2900)).await);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let (mut sender, _) = connect(running.address, &[&pair]).await;
    assert_eq!(ask(&mut sender, REVIEW).await, (200, "decided".to_owned()));
    let late = running.metrics.count(Outcome::Late);
    assert_eq!(late, 1, "decided once the first one was given up");
    drop((sender, silent));
    running.end().await;
}

/// Each holds room, and needs more than is left.
#[tokio::test]
async fn half_read_bodies_that_fill_all_room_do_not_wait_for_each_other() {
    let pair = issue();
    let limits = Limits {
        body: 3000,
        arriving: 5000,
        deadline: Duration::from_secs(5),
        ..Limits::default()
    };
    let running = Running::start(&pair, limits);
    let review = format!("{REVIEW:3000}");
    let begun = [2000, 2000, 500];
    let mut halves = Vec::new();
    for bytes in begun {
        halves.push(stuck(running.address, &pair, &review[..bytes]).await);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    for (half, bytes) in halves.iter_mut().zip(begun) {
        let answer = finish(half, &review[bytes..]).await;
        assert!(answer.ends_with("decided"), "{bytes}: {answer}");
    }
    assert_eq!(running.metrics.count(Outcome::Late), 0, "nobody waited");
    drop(halves);
    running.end().await;
}

#[tokio::test]
async fn an_unusable_first_certificate_is_counted_until_there_is_a_usable_one() {
    let (good, other) = (issue(), issue());
    let mixed = Pair {
        certificates: good.certificates.clone(),
        key: other.key,
    };
    let none = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let mut looks = vec![Ok(good.clone()), Ok(mixed.clone()), Ok(mixed), Err(none())];
    let read = move || {
        let look = looks.pop().unwrap();
        async move { look }
    };
    let metrics = Metrics::register(&mut Registry::default());
    let (every, stop) = (Duration::from_millis(1), watch::Sender::new(false));
    let found = msars_server::first(read, every, &metrics, stop.subscribe()).await;
    assert_eq!(found.unwrap().0, good);
    assert_eq!(metrics.refused(), 2);
    stop.send_replace(true);
    let read = move || async move { Err::<Pair, _>(none()) };
    let found = msars_server::first(read, every, &metrics, stop.subscribe()).await;
    assert!(found.is_none(), "it was told to stop");
}
