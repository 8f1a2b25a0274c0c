//! The pods of a job, against an API server that gives every pod a uid of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use msars_client::leader::Claim;
use msars_domain::{MilliCpu, Percentile};
use serde_json::{Value, json};

use super::super::size::tests::{answers, blueprint, lead};
use super::*;
use crate::lead::Lead;

#[derive(Default)]
struct Stored {
    /// Uid and run, by role.
    pods: BTreeMap<String, (String, String)>,
    made: u32,
    /// Method and role, with the uid that a deletion is bound to.
    asked: Vec<String>,
    claim: watch::Sender<Claim>,
    /// Ends the lead as soon as it is asked.
    ends: &'static str,
    /// Tells the job to end as soon as it is asked.
    stops: &'static str,
    stop: watch::Sender<bool>,
    /// How often what it is asked is done without an answer.
    silent: (&'static str, u32),
}

fn pod(role: &str, (uid, run): &(String, String)) -> Value {
    let metadata = json!({
        "namespace": "shop", "name": role, "uid": uid, "annotations": {"msars.io/shadow-run": run},
    });
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
}

fn failure(code: u16) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "scripted", "reason": "x"});
    (code, status)
}

impl Stored {
    fn answer(&mut self, method: &Method, path: &str, sent: &Value) -> (u16, Value) {
        let name = sent["metadata"]["name"].as_str().unwrap_or(path);
        let role = name.rsplit(['-', '/']).next().unwrap_or_default();
        let only = &sent["preconditions"]["uid"];
        let bound = only.as_str().map(|uid| format!(" {uid}"));
        let asked = format!("{method} {role}{}", bound.unwrap_or_default());
        if asked == self.ends {
            self.claim.send_replace(None);
        }
        if asked == self.stops {
            self.stop.send_replace(true);
        }
        let silent = self.silent.1 > 0 && asked == self.silent.0;
        self.asked.push(asked);
        let done = self.does(method, role, sent);
        if silent {
            self.silent.1 -= 1;
            return failure(503);
        }
        done
    }

    fn does(&mut self, method: &Method, role: &str, sent: &Value) -> (u16, Value) {
        let only = &sent["preconditions"]["uid"];
        match (method.as_str(), self.pods.get(role).cloned()) {
            ("POST", None) => {
                self.made += 1;
                let run = sent["metadata"]["annotations"]["msars.io/shadow-run"].as_str();
                let made = (
                    format!("made{}", self.made),
                    run.unwrap_or_default().to_owned(),
                );
                self.pods.insert(role.to_owned(), made.clone());
                (201, pod(role, &made))
            }
            ("GET", Some(made)) => (200, pod(role, &made)),
            ("DELETE", Some((uid, _run))) if *only == uid => {
                self.pods.remove(role);
                (200, json!({"kind": "Status", "status": "Success"}))
            }
            (_, Some(_)) => failure(409),
            (_, None) => failure(404),
        }
    }
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<Stored>>);

impl Server {
    /// With a load pod of this run.
    fn with(run: &str) -> Self {
        let server = Self::default();
        let there = ("there".to_owned(), run.to_owned());
        server.stored().pods.insert("load".into(), there);
        server
    }

    /// Runs of the pods that are there, by role.
    fn pods(&self) -> Vec<(String, String)> {
        let stored = self.stored();
        let runs = stored.pods.iter();
        runs.map(|(role, (_uid, run))| (role.clone(), run.clone()))
            .collect()
    }

    /// Makes the load pod; the category of what went wrong.
    async fn create(&self, bench: &Bench) -> Result<(), &'static str> {
        let (_stop, stopped) = watch::channel(false);
        let blueprint = blueprint();
        let made = create(bench, &blueprint, &blueprint.load(""), &stopped).await;
        made.map_err(|error| error.category())
    }

    fn stored(&self) -> MutexGuard<'_, Stored> {
        self.0.lock().unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.stored().asked.clone()
    }

    /// A bench of a replica that leads until this is asked.
    fn bench(&self, ends: &'static str) -> Bench {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let server = self.clone();
        tokio::spawn(async move {
            while let Some((request, answer)) = handle.next_request().await {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let sent = serde_json::from_slice(&body).unwrap_or_default();
                let (code, found) = server.stored().answer(&head.method, head.uri.path(), &sent);
                let found = Body::from(found.to_string().into_bytes());
                answer.send_response(Response::builder().status(code).body(found).unwrap());
            }
        });
        let mut bench = answers(Vec::new());
        bench.client = Client::new(service, "shop");
        let mut stored = self.stored();
        stored.ends = ends;
        stored.claim.send_replace(Some(Timestamp::MAX));
        bench.lead = Lead::new(stored.claim.subscribe(), || Timestamp::UNIX_EPOCH);
        bench
    }
}

fn job() -> Job {
    Job {
        blueprint: blueprint(),
        mix: "GET /".parse().unwrap(),
        port: 8080,
        metrics: None,
        sizes: vec![MilliCpu(200), MilliCpu(400)],
        rates: Vec::new(),
        grid: Vec::new(),
        node: MilliCpu(2000),
        percentile: Percentile::new(0.99).unwrap(),
        work_guess_ms: 5.0,
        spared: BTreeMap::new(),
        wished: None,
        until: Timestamp::UNIX_EPOCH,
        since: Timestamp::UNIX_EPOCH,
    }
}

#[tokio::test]
async fn a_job_deletes_its_own_pods_whoever_leads_and_no_other() {
    let table = [
        ("run1", true, &[][..]),
        ("run1", false, &[]),
        ("other", true, &["load"]),
        ("other", false, &["load"]),
    ];
    for (run, leads, stays) in table {
        let server = Server::with(run);
        let mut bench = server.bench("");
        bench.lead = lead(leads);
        clean(&bench, &blueprint()).await;
        let pods = server.pods();
        let roles: Vec<&str> = pods.iter().map(|(role, _run)| role.as_str()).collect();
        assert_eq!(roles, stays, "{run} {leads}");
    }
}

#[tokio::test]
async fn what_is_not_answered_at_once_is_looked_for_again() {
    let server = Server::with("run1");
    server.stored().silent = ("GET load", 2);
    clean(&server.bench(""), &blueprint()).await;
    assert_eq!(server.pods(), []);
}

#[tokio::test]
async fn a_left_over_goes_first() {
    let server = Server::with("other");
    assert_eq!(server.create(&server.bench("")).await, Ok(()));
    assert_eq!(
        server.asked(),
        ["POST load", "GET load", "DELETE load there", "POST load"]
    );
    assert_eq!(server.pods(), [("load".into(), "run1".into())]);
}

#[tokio::test]
async fn a_pod_whose_creation_was_not_answered_is_made_once() {
    let server = Server::default();
    server.stored().silent = ("POST load", 1);
    assert_eq!(server.create(&server.bench("")).await, Ok(()));
    assert_eq!(server.asked(), ["POST load", "POST load", "GET load"]);
    assert_eq!(server.stored().made, 1);
}

#[tokio::test]
async fn who_leads_no_more_makes_no_pod_and_sweeps_none() {
    // A pod that was cut off is there: it may be the next leader's by now.
    for ends in ["POST load", "GET load"] {
        let server = Server::with("other");
        let made = server.create(&server.bench(ends)).await;
        assert_eq!(made, Err("Stopped"), "{ends}");
        assert_eq!(server.asked(), ["POST load", "GET load"], "{ends}");
    }
    let server = Server::default();
    let mut bench = server.bench("");
    bench.lead = lead(false);
    assert_eq!(server.create(&bench).await, Err("Stopped"));
    assert!(server.asked().is_empty());
}

/// Runs a job that is told to end when the server is asked this, and loses its lead when it is asked that; the server.
async fn broken_off(stops: &'static str, ends: &'static str) -> Server {
    let server = Server::default();
    let bench = server.bench(ends);
    let stopped = {
        let mut stored = server.stored();
        stored.stops = stops;
        stored.stop.subscribe()
    };
    let (progress, _seen) = watch::channel(Progress::Starting);
    let ended = Box::pin(run(&bench, &job(), &progress, stopped)).await;
    assert_eq!(ended.unwrap_err().category(), "Stopped", "{stops} {ends}");
    server
}

#[tokio::test]
async fn a_job_that_is_told_to_end_leaves_no_pod_whatever_write_was_under_way() {
    for stops in ["POST subject", "POST load", "GET subject"] {
        for ends in ["", stops] {
            let server = broken_off(stops, ends).await;
            assert_eq!(server.pods(), [], "{stops} {ends}");
        }
    }
    let server = broken_off("POST subject", "").await;
    assert!(!server.asked().contains(&"POST load".to_owned()));
}

#[tokio::test]
async fn a_job_that_loses_the_lead_makes_no_more_and_takes_its_own_away() {
    let server = broken_off("GET subject", "POST subject").await;
    let asked = server.asked();
    assert!(!asked.contains(&"POST load".to_owned()), "{asked:?}");
    assert_eq!(server.pods(), []);
}
