//! Guarded watches against a scripted API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use kube::{Api, Client, client::Body};
use msars_api::crd::SloAutoscaler;
use msars_client::slim;
use msars_client::watched::{Watched, guarded, watched};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tower_test::mock;

/// What the API server answers to a list or a watch.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// A list of one object.
    List,
    /// A watch that stays open and says nothing.
    Quiet,
    /// A status 500.
    Failure,
    /// A watch whose stream says that something went wrong, and stays open.
    Error,
    /// A watch whose connection breaks.
    Broken,
    /// A watch that is too old.
    Expired,
    /// One object changes, then the connection breaks.
    Change,
    /// A list of autoscalers of these names, and whether each can be read.
    Autoscalers(&'static [(&'static str, bool)]),
    /// A watch that tells of autoscalers, how, and whether each can be read; then it stays open and says nothing.
    Told(&'static [(&'static str, &'static str, bool)]),
}

/// The rest of an answer after its first bytes.
#[derive(Clone, Copy, Debug)]
enum Rest {
    End,
    Silence,
    Break,
}

struct Said(Option<Bytes>, Rest);

impl HttpBody for Said {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(bytes) = self.0.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match self.1 {
            Rest::End => Poll::Ready(None),
            Rest::Silence => Poll::Pending,
            Rest::Break => {
                let kind = std::io::ErrorKind::ConnectionReset;
                Poll::Ready(Some(Err(kind.into())))
            }
        }
    }
}

/// An autoscaler whose largest number no type of ours holds, unless it can be read.
fn autoscaler(name: &str, version: usize, readable: bool) -> Value {
    let most: u64 = if readable { 8 } else { 5_000_000_000 };
    json!({
        "apiVersion": "msars.io/v1alpha1", "kind": "SloAutoscaler",
        "metadata": {"name": name, "namespace": "ns", "resourceVersion": version.to_string()},
        "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}, "mode": "auto",
            "maxReplicas": most},
    })
}

fn told((index, (how, name, readable)): (usize, &(&str, &str, bool))) -> String {
    let object = autoscaler(name, 8 + index, *readable);
    json!({"type": how, "object": object}).to_string()
}

impl Answer {
    fn respond(self) -> Response<Said> {
        let object =
            json!({"metadata": {"name": "switches", "namespace": "ns", "resourceVersion": "8"}});
        let status = |code: u16| {
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                "reason": "x", "message": "scripted"})
        };
        let error = |code: u16| json!({"type": "ERROR", "object": status(code)});
        let (code, body, rest) = match self {
            Self::List => {
                let list = json!({"kind": "ConfigMapList", "apiVersion": "v1",
                    "metadata": {"resourceVersion": "7"}, "items": [object]});
                (200, Some(list), Rest::End)
            }
            Self::Quiet => (200, None, Rest::Silence),
            Self::Failure => (500, Some(status(500)), Rest::End),
            Self::Error => (200, Some(error(500)), Rest::Silence),
            Self::Broken => (200, None, Rest::Break),
            Self::Expired => (200, Some(error(410)), Rest::End),
            Self::Change => {
                let change = json!({"type": "MODIFIED", "object": object});
                (200, Some(change), Rest::Break)
            }
            Self::Autoscalers(all) => {
                let all = all.iter();
                let all: Vec<Value> = all.map(|(name, ok)| autoscaler(name, 7, *ok)).collect();
                let list = json!({"kind": "SloAutoscalerList", "apiVersion": "msars.io/v1alpha1",
                    "metadata": {"resourceVersion": "7"}, "items": all});
                (200, Some(list), Rest::End)
            }
            Self::Told(events) => {
                let lines: Vec<String> = events.iter().enumerate().map(told).collect();
                let bytes = Bytes::from(lines.join("\n") + "\n");
                return Response::new(Said(Some(bytes), Rest::Silence));
            }
        };
        let bytes = body.map(|body| Bytes::from(format!("{body}\n")));
        Response::builder()
            .status(code)
            .body(Said(bytes, rest))
            .unwrap()
    }
}

/// An API server that gives `answers[i]` to list or watch `i`, and the last one to all that follow.
fn serving(lists: &'static [Answer], watches: &'static [Answer]) -> Client {
    let (service, mut server) = mock::pair::<Request<Body>, Response<Said>>();
    tokio::spawn(async move {
        let mut next = [lists, watches].map(|answers| answers.iter().copied());
        let mut last = [lists, watches].map(|answers| *answers.last().unwrap());
        while let Some((request, send)) = server.next_request().await {
            let query = request.uri().query().unwrap_or_default();
            let which = usize::from(query.contains("watch=true"));
            last[which] = next[which].next().unwrap_or(last[which]);
            send.send_response(last[which].respond());
        }
    });
    Client::new(service, "ns")
}

fn watching(
    lists: &'static [Answer],
    watches: &'static [Answer],
) -> (Watched<ConfigMap>, watch::Sender<bool>) {
    let api = Api::namespaced(serving(lists, watches), "ns");
    let stop = watch::Sender::new(false);
    let (copy, task) = watched(
        "switches",
        api,
        ((), slim::whole),
        watcher::Config::default(),
        Arc::new(Notify::new()),
        stop.subscribe(),
    );
    tokio::spawn(task);
    (copy, stop)
}

fn guarding(
    lists: &'static [Answer],
    watches: &'static [Answer],
) -> (Watched<SloAutoscaler>, watch::Sender<bool>) {
    let api: Api<DeserializeGuard<SloAutoscaler>> = Api::all(serving(lists, watches));
    let stop = watch::Sender::new(false);
    let (copy, task) = guarded(
        "autoscalers",
        api,
        ((), slim::unmanaged),
        watcher::Config::default(),
        Arc::new(Notify::new()),
        stop.subscribe(),
    );
    tokio::spawn(task);
    (copy, stop)
}

/// Waits until `wanted`, and says how long that took.
async fn until(what: &str, wanted: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !wanted() {
        let took = begun.elapsed();
        assert!(took < Duration::from_mins(2), "{what}: not in two minutes");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_quiet_kind_is_well_again_after_one_error() {
    const TABLE: [(&str, &[Answer], &[Answer]); 6] = [
        (
            "refused",
            &[Answer::List],
            &[Answer::Failure, Answer::Quiet],
        ),
        ("told", &[Answer::List], &[Answer::Error, Answer::Quiet]),
        ("broken", &[Answer::List], &[Answer::Broken, Answer::Quiet]),
        (
            "expired",
            &[Answer::List],
            &[Answer::Expired, Answer::Quiet],
        ),
        ("changed", &[Answer::List], &[Answer::Change, Answer::Quiet]),
        (
            "refused, then not even listed",
            &[Answer::List, Answer::Failure, Answer::List],
            &[Answer::Failure, Answer::Quiet],
        ),
    ];
    for (name, lists, watches) in TABLE {
        let (copy, _stop) = watching(lists, watches);
        until(name, || copy.errors() > 0).await;
        assert!(copy.synced() && !copy.healthy(), "{name}");
        assert_eq!(copy.all().len(), 1, "{name}: the copy stays");
        let took = until(name, || copy.healthy()).await;
        assert!(took < Duration::from_secs(10), "{name}: {took:?}");
        // And it stays well, however quiet.
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert!(copy.healthy(), "{name}");
        assert_eq!(copy.all().len(), 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_keeps_failing_is_not_well() {
    const TABLE: [(&str, &[Answer], &[Answer]); 3] = [
        ("watches refused", &[Answer::List], &[Answer::Failure]),
        ("watches broken", &[Answer::List], &[Answer::Broken]),
        (
            "lists refused",
            &[Answer::List, Answer::Failure],
            &[Answer::Failure],
        ),
    ];
    for (name, lists, watches) in TABLE {
        let (copy, _stop) = watching(lists, watches);
        until(name, || copy.errors() > 0).await;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_mins(10) {
            assert!(!copy.healthy(), "{name}: after {:?}", begun.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Backed off to a try in five seconds: neither given up nor hammered.
        let errors = copy.errors();
        assert!((90..=150).contains(&errors), "{name}: {errors} errors");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_well_as_soon_as_it_is_complete() {
    let (copy, stop) = watching(&[Answer::List], &[Answer::Quiet]);
    let took = until("complete", || copy.healthy()).await;
    assert!(took < Duration::from_millis(100), "{took:?}");
    drop(stop);
}

/// Lists, watches, who is there in the end, how many changes could not be read, and how many objects cannot in the end.
type Row = (
    &'static str,
    &'static [Answer],
    &'static [Answer],
    &'static [&'static str],
    (u64, usize),
);

const UNREADABLE: [Row; 10] = [
    (
        "all can be read",
        &[Answer::Autoscalers(&[("a", true), ("b", true)])],
        &[Answer::Quiet],
        &["a", "b"],
        (0, 0),
    ),
    (
        "one of a list",
        &[Answer::Autoscalers(&[("a", true), ("b", false)])],
        &[Answer::Quiet],
        &["a"],
        (1, 1),
    ),
    (
        "the same one, listed again",
        &[Answer::Autoscalers(&[("a", true), ("b", false)])],
        &[Answer::Broken, Answer::Quiet],
        &["a"],
        (1, 1),
    ),
    (
        "one that could be read until it was listed again",
        &[
            Answer::Autoscalers(&[("a", true), ("b", true)]),
            Answer::Autoscalers(&[("a", true), ("b", false)]),
        ],
        &[Answer::Broken, Answer::Quiet],
        &["a"],
        (1, 1),
    ),
    (
        "one that is gone when it is listed again",
        &[
            Answer::Autoscalers(&[("a", false), ("b", true)]),
            Answer::Autoscalers(&[("b", true)]),
        ],
        &[Answer::Broken, Answer::Quiet],
        &["b"],
        (1, 0),
    ),
    (
        "a new one, and others after it",
        &[Answer::Autoscalers(&[])],
        &[Answer::Told(&[("ADDED", "a", false), ("ADDED", "b", true)])],
        &["b"],
        (1, 1),
    ),
    (
        "one that could be read, changed twice",
        &[Answer::Autoscalers(&[("a", true), ("b", true)])],
        &[Answer::Told(&[
            ("MODIFIED", "a", false),
            ("MODIFIED", "a", false),
        ])],
        &["b"],
        (2, 1),
    ),
    (
        "it can be read again",
        &[Answer::Autoscalers(&[("a", false)])],
        &[Answer::Told(&[
            ("MODIFIED", "a", false),
            ("MODIFIED", "a", true),
        ])],
        &["a"],
        (2, 0),
    ),
    (
        "deleted as something that cannot be read",
        &[Answer::Autoscalers(&[("a", true), ("b", true)])],
        &[Answer::Told(&[("DELETED", "a", false)])],
        &["b"],
        (1, 0),
    ),
    (
        "deleted, after it could not be read",
        &[Answer::Autoscalers(&[("a", false), ("b", true)])],
        &[Answer::Told(&[("DELETED", "a", false)])],
        &["b"],
        (2, 0),
    ),
];

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_absent_and_keeps_no_other_object_back() {
    for (name, lists, watches, there, unreadable) in UNREADABLE {
        let (copy, _stop) = guarding(lists, watches);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(copy.healthy(), "{name}: {copy:?}");
        let all = copy.all();
        let mut found: Vec<&str> = all
            .iter()
            .filter_map(|object| object.metadata.name.as_deref())
            .collect();
        found.sort_unstable();
        assert_eq!(found, there, "{name}");
        let found = (copy.unreadable(), copy.unread());
        assert_eq!(found, unreadable, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_cannot_be_read_tells_that_the_watch_lives() {
    // Without it the copy would be well two seconds after the second list.
    let (copy, _stop) = guarding(
        &[Answer::Autoscalers(&[("a", true)])],
        &[Answer::Broken, Answer::Told(&[("MODIFIED", "a", false)])],
    );
    until("broken", || copy.errors() > 0).await;
    assert!(!copy.healthy());
    until("changed", || copy.unreadable() > 0).await;
    assert!(copy.healthy());
}
