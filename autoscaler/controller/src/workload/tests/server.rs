//! An API server of a few objects: lists, watches that tell of every write, and writes that are refused by wish.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use msars_client::connect::Clients;
use msars_client::leader::Claim;
use msars_observe::{Observer, Preset, Timeouts, Windows};
use msars_ops::shutdown::Tasks;
use tokio::sync::watch;
use tower_test::mock::SendResponse;

use super::super::{Means, Workloads};
use super::*;
use crate::kubelet::Kubelets;
use crate::metrics::Metrics;
use crate::objective::Board;
use crate::own::Own;
use crate::world::World;

/// Where the kinds of the tests are.
pub(crate) const DEPLOYMENTS: &str = "/apis/apps/v1/deployments";
pub(crate) const OBJECTIVES: &str = "/apis/msars.io/v1alpha1/servicelevelobjectives";
pub(super) const AUTOSCALERS: &str = "/apis/msars.io/v1alpha1/sloautoscalers";
pub(crate) const PODS: &str = "/api/v1/pods";

type Answer = SendResponse<Response<Body>>;

#[derive(Default)]
struct State {
    /// By kind, then by namespace and name.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    /// Version, kind, what a watch says of it.
    events: Vec<(u64, String, Value)>,
    /// Kind, the version seen, and the answer that waits.
    watches: Vec<(String, u64, Answer)>,
    /// Every request that is no list and no watch: method and path.
    asked: Vec<String>,
    /// Methods with the ends of paths that are refused.
    refused: Vec<(Method, String, u16)>,
    /// Kinds that can be neither listed nor watched.
    silent: Vec<String>,
    /// The lead of whoever asked for one, and the end of the path that ends it as soon as it is asked.
    claim: watch::Sender<Claim>,
    ends: Option<String>,
    version: u64,
}

/// A handle on it.
#[derive(Clone, Default)]
pub(crate) struct Server(Arc<Mutex<State>>);

/// Kind, object and subresource of a path.
fn parts(path: &str) -> (String, Option<String>, Option<String>) {
    let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let Some(at) = words.iter().position(|word| *word == "namespaces") else {
        return (path.to_owned(), None, None);
    };
    let word = |index: usize| words.get(index).map(|word| (*word).to_owned());
    let Some(plural) = words.get(at + 2) else {
        // Namespaces themselves.
        return (path.to_owned(), word(at + 1), None);
    };
    let kind = format!("/{}/{plural}", words[..at].join("/"));
    let name = word(at + 3).map(|name| format!("{}/{name}", words[at + 1]));
    (kind, name, word(at + 4))
}

fn status(code: u16) -> (u16, Value) {
    let message = "scripted";
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": "x"});
    (code, body)
}

fn respond(answer: Answer, code: u16, body: &str) {
    let body = Body::from(body.as_bytes().to_vec());
    answer.send_response(Response::builder().status(code).body(body).unwrap());
}

impl State {
    /// Stores an object and tells the watches.
    fn put(&mut self, kind: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let text = |name: &str| {
            object["metadata"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let key = format!("{}/{}", text("namespace"), text("name"));
        let all = self.objects.entry(kind.to_owned()).or_default();
        let known = all.insert(key, object.clone()).is_some();
        self.tell(kind, if known { "MODIFIED" } else { "ADDED" }, &object);
        object
    }

    fn tell(&mut self, kind: &str, change: &str, object: &Value) {
        let event = json!({"type": change, "object": object});
        self.events.push((self.version, kind.to_owned(), event));
        for (kind, seen, answer) in std::mem::take(&mut self.watches) {
            self.watch(kind, seen, answer);
        }
    }

    /// Deletes an object, unless another of its name was meant.
    fn delete(&mut self, kind: &str, name: &str, uid: &Value) -> (u16, Value) {
        let all = self.objects.entry(kind.to_owned()).or_default();
        let Some(mut object) = all.remove(name) else {
            return status(404);
        };
        if !uid.is_null() && *uid != object["metadata"]["uid"] {
            all.insert(name.to_owned(), object);
            return status(409);
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.tell(kind, "DELETED", &object);
        (200, json!({"kind": "Status", "status": "Success"}))
    }

    /// Tells what came after a version, or waits for it.
    fn watch(&mut self, kind: String, seen: u64, answer: Answer) {
        let news = |event: &&(u64, String, Value)| event.0 > seen && event.1 == kind;
        let told: Vec<String> = self
            .events
            .iter()
            .filter(news)
            .map(|(_, _, event)| format!("{event}\n"))
            .collect();
        if told.is_empty() {
            self.watches.push((kind, seen, answer));
        } else {
            respond(answer, 200, &told.concat());
        }
    }

    fn get(&self, kind: &str, name: &str) -> Option<&Value> {
        self.objects.get(kind)?.get(name)
    }

    fn write(&mut self, method: &Method, path: &str, sent: &Value) -> (u16, Value) {
        let refuses =
            |(verb, end, _): &&(Method, String, u16)| verb == method && path.ends_with(end);
        if let Some((_, _, code)) = self.refused.iter().find(refuses) {
            return status(*code);
        }
        let (kind, name, part) = parts(path);
        let found = name
            .as_deref()
            .and_then(|name| self.get(&kind, name).cloned());
        match (method.as_str(), part.as_deref(), found) {
            ("POST", ..) => (201, sent.clone()),
            ("GET", Some("scale"), Some(object)) => {
                let (meta, replicas) = (&object["metadata"], &object["spec"]["replicas"]);
                (
                    200,
                    json!({"metadata": meta, "spec": {"replicas": replicas}}),
                )
            }
            ("GET", None, Some(object)) | ("PATCH", Some("resize"), Some(object)) => (200, object),
            ("PUT", Some("scale"), Some(mut object)) => {
                object["spec"]["replicas"] = sent["spec"]["replicas"].clone();
                let generation = object["metadata"]["generation"].as_u64().unwrap();
                object["metadata"]["generation"] = json!(generation + 1);
                self.put(&kind, object);
                (200, sent.clone())
            }
            ("PUT", Some("status"), Some(mut object)) => {
                object["status"] = sent["status"].clone();
                (200, self.put(&kind, object))
            }
            ("PUT", None, Some(_)) => (200, self.put(&kind, sent.clone())),
            ("DELETE", None, Some(_)) => {
                let name = name.unwrap_or_default();
                self.delete(&kind, &name, &sent["preconditions"]["uid"])
            }
            ("PATCH", None, Some(mut object)) => {
                let patch: json_patch::Patch = serde_json::from_value(sent.clone()).unwrap();
                if json_patch::patch(&mut object, &patch).is_err() {
                    let (_, mut body) = status(422);
                    body["message"] = json!("testing path failed");
                    return (422, body);
                }
                let generation = object["metadata"]["generation"].as_u64().unwrap();
                object["metadata"]["generation"] = json!(generation + 1);
                (200, self.put(&kind, object))
            }
            _ => status(404),
        }
    }
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Stores an object, as somebody else would.
    pub(crate) fn put(&self, kind: &str, object: &Value) {
        self.state().put(kind, object.clone());
    }

    /// An object as it is stored.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Value {
        self.state().get(kind, name).cloned().unwrap_or_default()
    }

    /// Refuses what ends with this from now on.
    pub(super) fn refuse(&self, method: Method, end: &str, code: u16) {
        self.state().refused.push((method, end.into(), code));
    }

    /// Refuses nothing any more.
    pub(super) fn relent(&self) {
        self.state().refused.clear();
    }

    /// Ends every list and watch of a kind from now on, and those that are open.
    pub(super) fn silence(&self, kind: &str) {
        let mut state = self.state();
        state.silent.push(kind.into());
        for (watched, seen, answer) in std::mem::take(&mut state.watches) {
            if watched == kind {
                respond(answer, 503, &status(503).1.to_string());
            } else {
                state.watches.push((watched, seen, answer));
            }
        }
    }

    /// A lead of a minute.
    pub(crate) fn lead(&self) -> watch::Receiver<Claim> {
        let claim = self.state().claim.clone();
        claim.send_replace(Some(now() + jiff::SignedDuration::from_mins(1)));
        claim.subscribe()
    }

    /// Ends that lead as soon as a path that ends with this is asked.
    pub(crate) fn end_lead_at(&self, end: &str) {
        self.state().ends = Some(end.into());
    }

    /// What was asked since the last time, but for events.
    pub(super) fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut self.state().asked);
        asked.retain(|one| !one.ends_with("/events"));
        asked
    }

    /// The writes since the last time, but for events; to ask what is granted changes nothing.
    pub(crate) fn written(&self) -> Vec<String> {
        let mut asked = self.asked();
        asked.retain(|one| !one.starts_with("GET") && !one.ends_with("accessreviews"));
        asked
    }

    fn client(&self) -> Client {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let server = self.clone();
        tokio::spawn(async move {
            while let Some((request, answer)) = handle.next_request().await {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let sent = serde_json::from_slice(&body).unwrap_or_default();
                server.answer(&head.method, &head.uri, &sent, answer);
            }
        });
        Client::new(service, "shop")
    }

    fn answer(&self, method: &Method, uri: &http::Uri, sent: &Value, answer: Answer) {
        let mut state = self.state();
        let path = uri.path().trim_end_matches('/');
        let (kind, name, _) = parts(path);
        let query = uri.query().unwrap_or_default();
        let watched = query.contains("watch=true");
        let listed = method == Method::GET && name.is_none() && path != "/api/v1";
        if (watched || listed) && state.silent.contains(&kind) {
            respond(answer, 503, &status(503).1.to_string());
            return;
        }
        if watched {
            let version = query
                .split('&')
                .find_map(|pair| pair.strip_prefix("resourceVersion="));
            let seen = version
                .and_then(|version| version.parse().ok())
                .unwrap_or(0);
            state.watch(kind, seen, answer);
            return;
        }
        let (code, body) = if listed {
            let items: Vec<&Value> = state
                .objects
                .get(&kind)
                .into_iter()
                .flat_map(BTreeMap::values)
                .collect();
            let meta = json!({"resourceVersion": state.version.to_string()});
            (
                200,
                json!({"kind": "List", "apiVersion": "v1", "metadata": meta, "items": items}),
            )
        } else {
            if state.ends.as_deref().is_some_and(|end| path.ends_with(end)) {
                state.claim.send_replace(None);
            }
            state.asked.push(format!("{method} {path}"));
            match state.write(method, path, sent) {
                (404, _) if path == "/api/v1" => {
                    let resize = json!({"name": "pods/resize", "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["patch"]});
                    (
                        200,
                        json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [resize]}),
                    )
                }
                answered => answered,
            }
        };
        respond(answer, code, &body.to_string());
    }

    /// A complete copy of what is stored, with a client. The tasks end with the last.
    pub(crate) async fn world(&self) -> (World, Client, Tasks) {
        let client = self.client();
        let clients = Clients {
            retrying: client.clone(),
            strict: client.clone(),
        };
        let mut tasks = Tasks::default();
        let world = World::start(&clients, "msars-system", &mut tasks);
        let world = world.with_node(Some(MilliCpu(4000)));
        while !world.scaling_synced() {
            world.changed.notified().await;
        }
        (world, client, tasks)
    }

    /// The workloads' task on such a copy while the claim lasts. The tasks end with the second.
    pub(super) async fn workloads(&self, claim: watch::Receiver<Claim>) -> (Workloads, Tasks) {
        let (world, client, tasks) = self.world().await;
        let means = Means {
            observer: unheard(),
            windows: Windows::default(),
            kubelets: Kubelets::new(kube::Config::new("http://127.0.0.1:9".parse().unwrap())),
            log: None,
            now,
            metrics: Metrics::default(),
            board: Arc::new(Board::default()),
        };
        let own = Own::new(client.clone(), "test");
        let made = Workloads::new(world, own, client, means, claim);
        (made.unwrap(), tasks)
    }
}

/// Prometheus where nobody listens.
pub(crate) fn unheard() -> Observer {
    let prometheus = msars_observe::Client::new(
        "http://127.0.0.1:9",
        msars_observe::Access::default(),
        Timeouts::default(),
    );
    Observer::new(prometheus.unwrap(), Preset::named("shop").unwrap()).unwrap()
}

/// The lead, until `seconds` from now.
pub(super) fn lead(seconds: i64) -> watch::Receiver<Claim> {
    let end = now() + jiff::SignedDuration::from_secs(seconds);
    watch::channel(Some(end)).1
}

/// A Deployment of this name in mode `auto`, as `deployment` but for the name.
pub(crate) fn deployed(name: &str) -> Value {
    let mut object = deployment();
    object["apiVersion"] = json!("apps/v1");
    object["kind"] = json!("Deployment");
    object["metadata"]["name"] = json!(name);
    object["metadata"]["uid"] = json!(format!("d-{name}"));
    object
}

/// Its autoscaler.
pub(super) fn scaled(name: &str) -> Value {
    let mut object = serde_json::to_value(autoscaler()).unwrap();
    object["metadata"]["name"] = json!(name);
    object["metadata"]["uid"] = json!(format!("s-{name}"));
    object["spec"]["targetRef"]["name"] = json!(name);
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": name,
        "uid": format!("d-{name}"), "controller": true, "blockOwnerDeletion": false}]);
    object
}
