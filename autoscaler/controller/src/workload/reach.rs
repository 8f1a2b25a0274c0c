//! What a namespace lacks for what its workloads ask: the grant of writes, which the API server is asked for, and the
//! label by which the webhooks see it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::Client;
use msars_api::annotations::{Gate, Mode, Settings};
use msars_api::names::ENABLED_LABEL;
use msars_client::access::{Access, allowed};
use msars_domain::ObjectKey;

use super::adopt::Told;
use super::{PARALLEL, Workloads};
use crate::world::Workload;

/// A grant is asked for again after so many seconds, ...
const GRANTED_S: f64 = 600.0;
/// ... and one that is missing or not known after so many: its command may just have been run.
const MISSING_S: f64 = 30.0;
/// Longest time of all questions of a tick.
const WITHIN: Duration = Duration::from_secs(5);
/// The writes of scaling.
const WRITES: [Access; 2] = [
    Access {
        group: "apps",
        resource: "deployments",
        subresource: "scale",
        verb: "update",
    },
    Access {
        group: "",
        resource: "pods",
        subresource: "resize",
        verb: "patch",
    },
];

/// Where the API server grants our writes, by namespace, as last answered; `None` when it never did.
#[derive(Debug, Default)]
pub struct Grants(BTreeMap<String, (Option<bool>, Timestamp)>);

impl Grants {
    /// Whether writes in a namespace are granted; `None` while that is not known.
    pub fn of(&self, namespace: &str) -> Option<bool> {
        self.0.get(namespace).and_then(|(granted, _)| *granted)
    }

    /// Namespaces without the grant.
    pub fn missing(&self) -> BTreeSet<String> {
        let missing =
            |(_, (granted, _)): &(&String, &(Option<bool>, Timestamp))| *granted == Some(false);
        let names = self.0.iter().filter(missing);
        names.map(|(namespace, _)| namespace.clone()).collect()
    }

    /// A write was forbidden: no other is tried before the API server was asked.
    pub fn refused(&mut self, namespace: &str, now: Timestamp) {
        self.0.insert(namespace.to_owned(), (Some(false), now));
    }

    /// Forgets all but `wanted`; those of which an answer is missing or old.
    fn due(&mut self, wanted: &BTreeSet<&str>, now: Timestamp) -> Vec<String> {
        self.0
            .retain(|namespace, _| wanted.contains(namespace.as_str()));
        let old = |namespace: &&&str| {
            self.0.get(**namespace).is_none_or(|(granted, at)| {
                let lasts = if *granted == Some(true) {
                    GRANTED_S
                } else {
                    MISSING_S
                };
                now.duration_since(*at).as_secs_f64() >= lasts
            })
        };
        wanted
            .iter()
            .filter(old)
            .map(|&name| name.to_owned())
            .collect()
    }

    /// Without an answer the last one holds.
    fn learn(&mut self, namespace: String, answer: Option<bool>, now: Timestamp) {
        let granted = answer.or_else(|| self.of(&namespace));
        self.0.insert(namespace, (granted, now));
    }
}

/// Whether every write of scaling is granted in a namespace; `None` without an answer.
async fn granted(client: &Client, namespace: &str) -> Option<bool> {
    for access in WRITES {
        match allowed(client, namespace, access).await {
            Ok(true) => {}
            Ok(false) => return Some(false),
            Err(error) => {
                tracing::info!(%error, category = error.category(), namespace, "whether writes are granted is not known");
                return None;
            }
        }
    }
    Some(true)
}

/// What is known of a workload's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// The webhooks see it; `None` while that is not known.
    pub labelled: Option<bool>,
    /// Our writes are granted; `None` while that is not known.
    pub granted: Option<bool>,
}

/// What the condition `InReach` says; `None` leaves it as it is, while something that is needed is not known.
pub fn told(workload: &ObjectKey, settings: &Settings, reach: Reach) -> Option<Told> {
    let namespace = &workload.namespace;
    let acts = settings.mode == Mode::Auto;
    // Without mode auto nothing is held, whatever the gate.
    let holds = acts && settings.gate == Gate::Hold;
    let ungranted = acts && reach.granted == Some(false);
    let unlabelled = holds && reach.labelled == Some(false);
    let grant = ungranted.then(|| {
        format!(
            "msars.io/mode is auto, but nothing may be written in namespace {namespace}: kubectl apply -k manifests/namespace -n {namespace}"
        )
    });
    let label = unlabelled.then(|| {
        format!(
            "msars.io/gate is hold, but the webhooks do not see namespace {namespace}, so that nothing is held: kubectl label namespace {namespace} {ENABLED_LABEL}=true"
        )
    });
    let lacks: Vec<String> = [grant, label].into_iter().flatten().collect();
    if !lacks.is_empty() {
        let reason = if ungranted {
            "NamespaceNotGranted"
        } else {
            "NamespaceNotLabelled"
        };
        return Some((false, reason, lacks.join("; ")));
    }
    let unknown = acts && reach.granted.is_none() || holds && reach.labelled.is_none();
    let text = format!("namespace {namespace} lacks nothing that the annotations need");
    (!unknown).then_some((true, "InReach", text))
}

impl Workloads {
    /// Asks for the grants of namespaces in which something is to be written.
    pub(super) async fn ask_grants(
        &mut self,
        workloads: &BTreeMap<ObjectKey, Workload>,
        now: Timestamp,
    ) {
        let acting = workloads
            .values()
            .filter(|workload| workload.settings.mode == Mode::Auto);
        let wanted = acting.map(|workload| workload.key.namespace.as_str());
        let due = self.grants.due(&wanted.collect(), now);
        let client = &self.hands.client;
        let answers = futures::stream::iter(due)
            .map(|namespace| async move {
                let answer = granted(client, &namespace).await;
                (namespace, answer)
            })
            .buffer_unordered(PARALLEL)
            .take_until(tokio::time::sleep(WITHIN));
        let mut answers = std::pin::pin!(answers);
        while let Some((namespace, answer)) = answers.next().await {
            self.grants.learn(namespace, answer, now);
        }
    }

    /// What is known of a workload's namespace.
    pub(super) fn reached(&self, workload: &Workload) -> Reach {
        let namespace = &workload.key.namespace;
        Reach {
            labelled: self.world.labelled(namespace),
            granted: self.grants.of(namespace),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use msars_api::annotations::parse;
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Mode, gate, labelled, granted; the reason and the commands.
    type Row = (
        Mode,
        Gate,
        Option<bool>,
        Option<bool>,
        &'static str,
        &'static [&'static str],
    );

    #[test]
    fn what_is_missing_is_told_with_its_command() {
        const GRANT: &str = "kubectl apply -k manifests/namespace -n shop";
        const LABEL: &str = "kubectl label namespace shop msars.io/enabled=true";
        let (yes, no) = (Some(true), Some(false));
        let key = ObjectKey::new("shop", "carts");
        let table: &[Row] = &[
            (Mode::Auto, Gate::Hold, yes, yes, "InReach", &[]),
            (
                Mode::Auto,
                Gate::Hold,
                no,
                yes,
                "NamespaceNotLabelled",
                &[LABEL],
            ),
            (
                Mode::Auto,
                Gate::Hold,
                yes,
                no,
                "NamespaceNotGranted",
                &[GRANT],
            ),
            (
                Mode::Auto,
                Gate::Hold,
                no,
                no,
                "NamespaceNotGranted",
                &[GRANT, LABEL],
            ),
            (
                Mode::Auto,
                Gate::Hold,
                None,
                no,
                "NamespaceNotGranted",
                &[GRANT],
            ),
            (Mode::Auto, Gate::Hold, None, yes, "", &[]),
            (Mode::Auto, Gate::Hold, yes, None, "", &[]),
            (Mode::Auto, Gate::Observe, no, yes, "InReach", &[]),
            (
                Mode::Auto,
                Gate::Observe,
                no,
                no,
                "NamespaceNotGranted",
                &[GRANT],
            ),
            (Mode::Auto, Gate::Observe, None, yes, "InReach", &[]),
            // Reading is granted everywhere.
            (Mode::Recommend, Gate::Observe, no, no, "InReach", &[]),
            (Mode::Recommend, Gate::Hold, no, None, "InReach", &[]),
        ];
        for (mode, gate, labelled, granted, reason, commands) in table {
            let settings = Settings {
                mode: *mode,
                gate: *gate,
                ..parse(&BTreeMap::new()).0
            };
            let reach = Reach {
                labelled: *labelled,
                granted: *granted,
            };
            let found = told(&key, &settings, reach);
            let (status, word, text) = found.unwrap_or_default();
            assert_eq!(word, *reason, "{mode:?} {gate:?} {reach:?}");
            assert_eq!(status, *reason == "InReach");
            for command in [GRANT, LABEL] {
                assert_eq!(
                    text.contains(command),
                    commands.contains(&command),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn what_was_answered_is_asked_again_slowly_and_what_is_missing_sooner() {
        let mut grants = Grants::default();
        let wanted = BTreeSet::from(["a", "b", "c"]);
        assert_eq!(grants.due(&wanted, at(0)), ["a", "b", "c"]);
        for (namespace, answer) in [("a", Some(true)), ("b", Some(false)), ("c", None)] {
            grants.learn(namespace.into(), answer, at(0));
        }
        assert_eq!(grants.missing(), BTreeSet::from(["b".to_owned()]));
        assert_eq!(grants.due(&wanted, at(29)), [""; 0]);
        assert_eq!(grants.due(&wanted, at(30)), ["b", "c"]);
        assert_eq!(grants.due(&wanted, at(600)), ["a", "b", "c"]);
        // Without an answer the last one holds.
        grants.learn("a".into(), None, at(600));
        assert_eq!(grants.of("a"), Some(true));
        grants.refused("a", at(610));
        assert_eq!(grants.of("a"), Some(false));
        assert_eq!(grants.due(&BTreeSet::from(["b"]), at(610)), ["b"]);
        assert_eq!(grants.of("a"), None, "nobody asks for it any more");
    }

    /// Answers reviews of these subresources with yes, all others with no; or everything with an error.
    async fn asked(yes: &'static [&'static str], code: u16) -> (Option<bool>, Vec<Value>) {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let server = tokio::spawn(async move {
            let mut asked = Vec::new();
            while let Some((request, answer)) = handle.next_request().await {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let mut review: Value = serde_json::from_slice(&body).unwrap();
                let attributes = review["spec"]["resourceAttributes"].clone();
                let subresource = attributes["subresource"].as_str().unwrap_or_default();
                review["status"] = json!({"allowed": yes.contains(&subresource)});
                asked.push(attributes);
                if code != 201 {
                    review = json!({"kind": "Status", "status": "Failure", "code": code, "message": "no", "reason": "x"});
                }
                let body = Body::from(review.to_string().into_bytes());
                answer.send_response(Response::builder().status(code).body(body).unwrap());
            }
            asked
        });
        let client = Client::new(service, "shop");
        let found = granted(&client, "shop").await;
        drop(client);
        (found, server.await.unwrap())
    }

    #[tokio::test]
    async fn the_api_server_is_asked_before_anything_is_written() {
        let (found, reviews) = asked(&["scale", "resize"], 201).await;
        assert_eq!(found, Some(true));
        let scale = json!({"group": "apps", "resource": "deployments", "subresource": "scale", "verb": "update", "namespace": "shop"});
        let resize = json!({"group": "", "resource": "pods", "subresource": "resize", "verb": "patch", "namespace": "shop"});
        assert_eq!(reviews, [scale, resize]);
        assert_eq!(asked(&["scale"], 201).await.0, Some(false));
        assert_eq!(asked(&[], 201).await.0, Some(false));
        for code in [403, 503] {
            assert_eq!(asked(&["scale", "resize"], code).await.0, None);
        }
    }
}
