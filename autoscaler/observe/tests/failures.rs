//! A server that fails in each way a real one can; what Prometheus answers when all is well is tested against a real one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use msars_domain::{ObjectKey, Percentile, Reading, Unknown};
use msars_observe::{Access, Client, Hears, Observer, Preset, PromError, Scope, Timeouts, Windows};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What the server does with every request.
#[derive(Clone, Copy)]
enum Behaviour {
    /// Answers with these bytes and hangs up.
    Says(&'static str),
    /// Reads and never answers.
    Hangs,
    /// Sends a body without end.
    Endless,
}

async fn server(behaviour: Behaviour) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                if stream.read(&mut buffer).await.is_err() {
                    return;
                }
                match behaviour {
                    Behaviour::Says(text) => {
                        let _ = stream.write_all(text.as_bytes()).await;
                        let _ = stream.shutdown().await;
                    }
                    Behaviour::Hangs => std::future::pending().await,
                    Behaviour::Endless => {
                        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
                        let _ = stream.write_all(head.as_bytes()).await;
                        while stream.write_all(&buffer).await.is_ok() {}
                    }
                }
            });
        }
    });
    format!("http://{address}")
}

fn client(url: &str, query: Duration) -> Client {
    let timeouts = Timeouts {
        query,
        ..Timeouts::default()
    };
    Client::new(url, Access::default(), timeouts)
        .unwrap()
        .at_most(1 << 20)
}

fn now() -> Timestamp {
    Timestamp::from_second(1_769_000_000).unwrap()
}

const PATIENT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn each_failure_has_its_name_and_says_whether_to_try_again() {
    let cases = [
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy",
            "PrometheusStatus",
            true,
        ),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "PrometheusStatus",
            false,
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\n{\"status\":\"error\",\"errorType\":\"timeout\",\"error\":\"query timed out\"}",
            "QueryRefused",
            true,
        ),
        (
            "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"parse error\"}",
            "QueryRefused",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"status\":\"succ",
            "AnswerBrokenOff",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"status\":\"succ",
            "AnswerMalformed",
            false,
        ),
        ("SMTP ready\r\n", "PrometheusUnreachable", true),
    ];
    for (says, category, retry) in cases {
        let url = server(Behaviour::Says(says)).await;
        let error = client(&url, PATIENT).query("up", now()).await.unwrap_err();
        assert_eq!(
            (error.category(), error.retry()),
            (category, retry),
            "{error}"
        );
    }
}

#[tokio::test]
async fn whoever_hears_of_queries_hears_how_each_ended() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ears = Arc::clone(&heard);
    let hears = Hears::new(Arc::new(move |error, _took| {
        let ended = error.map_or("answered", PromError::category);
        ears.lock().unwrap().push(ended);
    }));
    for says in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[]}}",
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"status\":\"succ",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
    ] {
        let url = server(Behaviour::Says(says)).await;
        let client = client(&url, PATIENT).heard_by(hears.clone());
        drop(client.query("up", now()).await);
    }
    let heard = heard.lock().unwrap();
    assert_eq!(
        heard[..],
        ["answered", "AnswerMalformed", "PrometheusStatus"]
    );
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let url = server(Behaviour::Hangs).await;
    let error = client(&url, Duration::from_millis(50))
        .query("up", now())
        .await
        .unwrap_err();
    assert_eq!(error.category(), "PrometheusTimeout");
    assert!(error.retry());
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    let url = server(Behaviour::Endless).await;
    let error = client(&url, PATIENT)
        .range("up", now(), now(), Duration::from_secs(15))
        .await
        .unwrap_err();
    assert_eq!(error.category(), "AnswerTooLarge");
    assert!(!error.retry());
}

#[tokio::test]
async fn without_prometheus_everything_is_unknown_and_nothing_is_zero() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let observer = Observer::new(client(&url, PATIENT), Preset::shop()).unwrap();
    let workload = ObjectKey::new("shop", "carts");
    let scope = Scope {
        windows: Windows::default(),
        workloads: BTreeMap::from([(workload, Percentile::new(0.99).unwrap())]),
        pods: BTreeMap::new(),
    };
    let observed = observer.signals(&scope, now()).await;
    let why = Unknown::Unreachable;
    let signals = &observed.signals[0];
    assert_eq!(signals.rate, Reading::Unknown { why });
    assert_eq!(signals.peak_rate, Reading::Unknown { why });
    assert_eq!(signals.request_quantile, Reading::Unknown { why });
    assert_eq!(signals.self_quantile, Reading::Unknown { why });
    assert_eq!(signals.callee_wait, Reading::Unknown { why });
    assert_eq!(signals.error_share, Reading::Unknown { why });
    assert_eq!(signals.cpu_cores, Reading::Unknown { why });
    assert_eq!(signals.throttled, Reading::Unknown { why });
    assert_eq!(observed.problems.len(), 10);
    assert!(
        observed
            .problems
            .iter()
            .all(|p| p.category == "PrometheusUnreachable" && p.retry)
    );

    let shop = ["shop"].into();
    let graphs = observer.call_graphs(&shop, Duration::from_mins(5), now());
    let graph = graphs.await.unwrap().of("shop", &["carts".into()].into());
    assert_eq!(graph.unwrap_err().category(), "PrometheusUnreachable");
}

#[tokio::test]
async fn no_workloads_no_queries() {
    let observer = Observer::new(client("http://127.0.0.1:9", PATIENT), Preset::shop()).unwrap();
    let observed = observer.signals(&Scope::default(), now()).await;
    assert!(observed.signals.is_empty() && observed.problems.is_empty());
}
