//! The pods of a job, against an API server that gives every pod a uid of its own.

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
    /// Uids by role.
    pods: BTreeMap<String, String>,
    made: u32,
    /// Method and role, with the uid that a deletion is bound to.
    asked: Vec<String>,
    claim: watch::Sender<Claim>,
    /// Ends the lead as soon as it is asked.
    ends: &'static str,
}

fn pod(role: &str, uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": role, "uid": uid}})
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
        self.asked.push(asked);
        match (method.as_str(), self.pods.get(role).cloned()) {
            ("POST", None) => {
                self.made += 1;
                let uid = format!("made{}", self.made);
                self.pods.insert(role.to_owned(), uid.clone());
                (201, pod(role, &uid))
            }
            ("GET", Some(uid)) => (200, pod(role, &uid)),
            ("DELETE", Some(uid)) if only.is_null() || *only == uid => {
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
    /// With a pod of this role and uid.
    fn with(role: &str, uid: &str) -> Self {
        let server = Self::default();
        server.stored().pods.insert(role.into(), uid.into());
        server
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
    let blueprint = blueprint();
    // The uid that the job knows, the one of the pod that is there, whether it leads; the pod that stays.
    let table = [
        (Some("mine"), "mine", true, None),
        (Some("mine"), "mine", false, None),
        (Some("mine"), "theirs", false, Some("theirs")),
        // Nobody else makes one while it leads.
        (None, "mine", true, None),
        (None, "theirs", false, Some("theirs")),
    ];
    for (known, there, leads, stays) in table {
        let server = Server::with("load", there);
        let mut bench = server.bench("");
        bench.lead = lead(leads);
        let made = known.map(|uid| (blueprint.load_key(), uid.to_owned()));
        let made: Made = made.into_iter().collect();
        clean(&bench, &blueprint, &made).await;
        let found = server.stored().pods.get("load").cloned();
        assert_eq!(found.as_deref(), stays, "{known:?} {there} {leads}");
    }
}

#[tokio::test]
async fn a_left_over_goes_first_and_a_pod_that_is_made_is_known() {
    let server = Server::with("load", "old");
    let made = create(&server.bench(""), &blueprint().load("")).await;
    assert_eq!(made.unwrap().as_deref(), Some("made1"));
    assert_eq!(
        server.asked(),
        [
            "POST load",
            "GET load",
            "DELETE load old",
            "POST load",
            "GET load"
        ]
    );
}

#[tokio::test]
async fn who_leads_no_more_makes_no_pod_and_sweeps_none() {
    let load = blueprint().load("");
    // A pod that was cut off is there: it may be the next leader's by now.
    for ends in ["POST load", "GET load"] {
        let server = Server::with("load", "old");
        let made = create(&server.bench(ends), &load).await;
        let made = made.map_err(|error| error.category());
        assert_eq!(made, Err("Stopped"), "{ends}");
        assert_eq!(server.asked(), ["POST load", "GET load"], "{ends}");
    }
    // It is made, but whose it is when it is read nobody knows.
    let server = Server::default();
    let made = create(&server.bench("POST load"), &load).await;
    assert_eq!(made.unwrap(), None);
    let mut bench = server.bench("");
    bench.lead = lead(false);
    let made = create(&bench, &load).await;
    assert_eq!(made.map_err(|error| error.category()), Err("Stopped"));
    assert_eq!(server.asked(), ["POST load", "GET load"]);
}

#[tokio::test]
async fn a_job_that_loses_the_lead_leaves_what_it_does_not_know_to_the_next_leader() {
    let (progress, _seen) = watch::channel(Progress::Starting);
    // As its second pod is made it is over by itself; with both it waits for them until it is told.
    for (ends, gone, left) in [
        ("POST subject", None, "subject"),
        ("GET load", Some("DELETE subject made1"), "load"),
    ] {
        let server = Server::default();
        let bench = server.bench(ends);
        let (stop, stopped) = watch::channel(false);
        let told = async {
            while !server.asked().iter().any(|asked| asked == "GET load") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.send_replace(true);
            std::future::pending::<()>().await;
        };
        let job = job();
        let run = Box::pin(run(&bench, &job, &progress, stopped));
        let ended = tokio::select! {
            ended = run => ended,
            () = told => unreachable!("it never ends"),
        };
        assert_eq!(ended.unwrap_err().category(), "Stopped", "{ends}");
        let mut asked = server.asked();
        asked.retain(|asked| asked.starts_with("DELETE"));
        let gone: Vec<&str> = gone.into_iter().collect();
        assert_eq!(asked, gone, "{ends}");
        let pods = server.stored().pods.clone();
        assert_eq!(pods.keys().collect::<Vec<_>>(), [left], "{ends}");
    }
}
