//! Pods and replicas of a namespace over time, rebuilt from the API server's log. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::entry::{Entry, entries};
use crate::stored::{milli, shadow};

/// An accepted write to a pod's size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resize {
    /// When.
    pub at: Timestamp,
    /// Whether the product wrote it.
    pub ours: bool,
}

/// A pod from its creation to its end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its Deployment; empty when none owns it.
    pub workload: String,
    /// It is a copy made for profiling, or drives one.
    pub shadow: bool,
    /// When it was created.
    pub from: Timestamp,
    /// When its end was asked for; none while it lives.
    pub leaving: Option<Timestamp>,
    /// When it was gone; none while it is there.
    pub gone: Option<Timestamp>,
    /// Container → CPU request, thousandths of a core, as last written.
    pub requests: BTreeMap<String, u32>,
    /// Sum of its requests from each instant on, thousandths of a core.
    pub sizes: Vec<(Timestamp, u32)>,
    /// Writes to its size.
    pub resizes: Vec<Resize>,
    /// Resizes that its node had no room for, by the time at which the kubelet said so.
    pub deferred: BTreeSet<String>,
    /// Container → restarts.
    pub restarts: BTreeMap<String, u32>,
}

impl Pod {
    /// Its CPU request at an instant; none when it is not there.
    pub fn size_at(&self, at: Timestamp) -> Option<u32> {
        if self.gone.is_some_and(|gone| gone <= at) {
            return None;
        }
        let size = self.sizes.iter().rev().find(|(from, _)| *from <= at)?;
        Some(size.1)
    }
}

/// An accepted write to a Deployment's replicas by `/scale`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// When.
    pub at: Timestamp,
    /// The Deployment.
    pub workload: String,
    /// Replicas before.
    pub from: u32,
    /// Replicas after.
    pub to: u32,
    /// Whether the product wrote it.
    pub ours: bool,
}

/// Everything that was there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fleet {
    /// By creation.
    pub pods: Vec<Pod>,
    /// By time.
    pub scales: Vec<Scale>,
    /// Replicas wanted per Deployment from each instant on.
    pub replicas: BTreeMap<String, Vec<(Timestamp, u32)>>,
}

/// Reads pods and replicas of a namespace out of the log.
pub fn read(log: &str, namespace: &str) -> Fleet {
    let mut fleet = Fleet::default();
    for entry in entries(log, namespace, "pods") {
        fleet.pod(&entry);
    }
    for entry in entries(log, namespace, "deployments") {
        fleet.replicas(&entry);
    }
    fleet
}

impl Fleet {
    fn pod(&mut self, entry: &Entry) {
        let (_, sub) = entry.place();
        if (entry.verb(), sub) == ("create", "") {
            self.pods
                .extend(entry.answered().and_then(|pod| born(entry.at, pod)));
            return;
        }
        let Some(pod) = entry
            .name()
            .and_then(|name| self.pods.iter_mut().rev().find(|pod| pod.name == name))
        else {
            return;
        };
        match (entry.verb(), sub) {
            // The owner's wish first, the kubelet's word that it is gone last.
            ("delete", "") => {
                pod.leaving.get_or_insert(entry.at);
                pod.gone = Some(entry.at);
            }
            ("patch" | "update", "resize") => {
                pod.requests
                    .extend(entry.sent().into_iter().flat_map(requests));
                pod.sizes.push((entry.at, pod.requests.values().sum()));
                pod.resizes.push(Resize {
                    at: entry.at,
                    ours: entry.ours(),
                });
            }
            ("patch" | "update", "status") => {
                if let Some(status) = entry.sent().and_then(|sent| sent.get("status")) {
                    told(pod, status);
                }
            }
            _ => {}
        }
    }

    fn replicas(&mut self, entry: &Entry) {
        let Some(name) = entry.name() else { return };
        let wanted = entry
            .sent()
            .and_then(|sent| sent.pointer("/spec/replicas")?.as_u64())
            .and_then(|wanted| u32::try_from(wanted).ok());
        let Some(to) = wanted else { return };
        let history = self.replicas.entry(name.to_owned()).or_default();
        let from = history.last().map(|(_, replicas)| *replicas);
        history.push((entry.at, to));
        if entry.place().1 == "scale"
            && let Some(from) = from.filter(|from| *from != to)
        {
            self.scales.push(Scale {
                at: entry.at,
                workload: name.to_owned(),
                from,
                to,
                ours: entry.ours(),
            });
        }
    }

    /// Pods that serve, shadow pods left out.
    pub fn serving(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| !pod.shadow)
    }
}

/// A new pod as the API server answered, with what webhooks made of it.
fn born(at: Timestamp, pod: &Value) -> Option<Pod> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
    let hash = text("/metadata/labels/pod-template-hash").unwrap_or_default();
    let workload = text("/metadata/ownerReferences/0/name")
        .and_then(|set| set.strip_suffix(hash)?.strip_suffix('-'))
        .unwrap_or_default();
    let requests: BTreeMap<String, u32> = requests(pod).into_iter().collect();
    Some(Pod {
        name: text("/metadata/name")?.to_owned(),
        workload: workload.to_owned(),
        shadow: shadow(pod),
        from: at,
        sizes: vec![(at, requests.values().sum())],
        requests,
        ..Pod::default()
    })
}

/// CPU requests of the containers that an object or a patch of one names.
pub fn requests(pod: &Value) -> Vec<(String, u32)> {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
    containers
        .into_iter()
        .flatten()
        .filter_map(|container| {
            let name = container.get("name")?.as_str()?;
            let cpu = container.pointer("/resources/requests/cpu")?.as_str()?;
            Some((name.to_owned(), milli(cpu)?))
        })
        .collect()
}

/// Restarts and deferred resizes in a status, or a patch of one.
fn told(pod: &mut Pod, status: &Value) {
    let list = |name: &str| status.get(name).and_then(Value::as_array);
    for container in list("containerStatuses").into_iter().flatten() {
        let name = container.get("name").and_then(Value::as_str);
        let count = container.get("restartCount").and_then(Value::as_u64);
        if let Some((name, count)) = name.zip(count.and_then(|count| u32::try_from(count).ok())) {
            let most = pod.restarts.entry(name.to_owned()).or_default();
            *most = count.max(*most);
        }
    }
    for condition in list("conditions").into_iter().flatten() {
        let is =
            |field: &str, value: &str| condition.get(field).and_then(Value::as_str) == Some(value);
        let since = condition.get("lastTransitionTime").and_then(Value::as_str);
        if is("type", "PodResizePending") && is("reason", "Deferred") {
            pod.deferred.insert(since.unwrap_or_default().to_owned());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    const US: &str = "system:serviceaccount:msars-system:msars-autoscaler";

    pub fn event(
        second: u32,
        verb: &str,
        place: (&str, &str, &str),
        user: &str,
        body: &Value,
    ) -> String {
        let (resource, sub, name) = place;
        let at = format!("2026-03-01T10:{:02}:{:02}Z", second / 60, second % 60);
        let mut event = json!({
            "stage": "ResponseComplete", "responseStatus": {"code": 200}, "verb": verb,
            "requestReceivedTimestamp": at, "stageTimestamp": at, "user": {"username": user},
            "objectRef": {"resource": resource, "namespace": "shop"},
        });
        if !sub.is_empty() {
            event["objectRef"]["subresource"] = sub.into();
        }
        if name.is_empty() {
            event["responseObject"] = body.clone();
        } else {
            event["objectRef"]["name"] = name.into();
            event["requestObject"] = body.clone();
        }
        event.to_string()
    }

    fn create(second: u32, name: &str, milli: u32) -> String {
        let pod = json!({
            "metadata": {"name": name, "labels": {"pod-template-hash": "77"}, "ownerReferences": [{"name": "catalogue-77"}]},
            "spec": {"containers": [
                {"name": "app", "resources": {"requests": {"cpu": format!("{milli}m")}}},
                {"name": "sidecar", "resources": {"requests": {"cpu": "10m"}}},
                {"name": "bare"},
            ]},
        });
        event(
            second,
            "create",
            ("pods", "", ""),
            "system:controller",
            &pod,
        )
    }

    pub(crate) fn resize(second: u32, name: &str, milli: u32) -> String {
        let app = json!({"name": "app", "resources": {"requests": {"cpu": format!("{milli}m")}}});
        let body = json!({"metadata": {"uid": "u"}, "spec": {"containers": [app]}});
        event(second, "patch", ("pods", "resize", name), US, &body)
    }

    fn delete(second: u32, name: &str) -> String {
        event(
            second,
            "delete",
            ("pods", "", name),
            "system:node:n",
            &Value::Null,
        )
    }

    fn scale(second: u32, to: u32, user: &str) -> String {
        let body = json!({"spec": {"replicas": to}});
        event(
            second,
            "update",
            ("deployments", "scale", "catalogue"),
            user,
            &body,
        )
    }

    fn status(second: u32, name: &str, body: &Value) -> String {
        let body = json!({"status": body});
        event(
            second,
            "patch",
            ("pods", "status", name),
            "system:node:n",
            &body,
        )
    }

    /// One pod from second 10, grown at 40, a second one from 60 to 100, and a copy from 20 to 30.
    pub(crate) fn log() -> String {
        let deployment = json!({"spec": {"replicas": 1}});
        let copy = create(20, "copy", 500).replace(
            "\"pod-template-hash\":\"77\"",
            "\"msars.io/shadow\":\"subject\"",
        );
        let pending =
            json!({"type": "PodResizePending", "reason": "Deferred", "lastTransitionTime": "x"});
        let counts = |restarts: u32| json!({"containerStatuses": [{"name": "app", "restartCount": restarts}], "conditions": [pending]});
        [
            event(
                9,
                "create",
                ("deployments", "", "catalogue"),
                "admin",
                &deployment,
            ),
            create(10, "one", 90),
            copy,
            delete(30, "copy"),
            resize(40, "one", 190),
            status(41, "one", &counts(0)),
            status(42, "one", &counts(0)),
            scale(55, 2, US),
            create(60, "two", 90),
            scale(85, 1, US),
            delete(90, "two"),
            delete(100, "two"),
            scale(101, 1, "admin"),
            "broken \"pods\" {".to_owned(),
        ]
        .join("\n")
    }

    pub(crate) fn at(second: u32) -> Timestamp {
        let text = format!("2026-03-01T10:{:02}:{:02}Z", second / 60, second % 60);
        text.parse().unwrap()
    }

    #[test]
    fn a_pod_has_its_size_from_birth_over_resizes_to_its_end() {
        let fleet = read(&log(), "shop");
        let names: Vec<(&str, &str, bool)> = fleet
            .pods
            .iter()
            .map(|pod| (pod.name.as_str(), pod.workload.as_str(), pod.shadow))
            .collect();
        assert_eq!(
            names,
            [
                ("one", "catalogue", false),
                ("copy", "", true),
                ("two", "catalogue", false)
            ]
        );
        let sizes = |pod: usize, seconds: &[u32]| -> Vec<Option<u32>> {
            let size = |second: &u32| fleet.pods[pod].size_at(at(*second));
            seconds.iter().map(size).collect()
        };
        assert_eq!(
            sizes(0, &[9, 10, 39, 40, 500]),
            [None, Some(100), Some(100), Some(200), Some(200)]
        );
        assert_eq!(sizes(2, &[60, 95, 100]), [Some(100), Some(100), None]);
        assert_eq!(fleet.pods[2].leaving, Some(at(90)));
        assert_eq!(fleet.serving().count(), 2);
        assert!(read(&log(), "elsewhere").pods.is_empty());
    }

    #[test]
    fn scales_resizes_deferrals_and_restarts_are_told() {
        let fleet = read(&log(), "shop");
        let scales: Vec<(u32, u32, bool)> = fleet
            .scales
            .iter()
            .map(|scale| (scale.from, scale.to, scale.ours))
            .collect();
        // The last write changed nothing.
        assert_eq!(scales, [(1, 2, true), (2, 1, true)]);
        assert_eq!(fleet.replicas["catalogue"].len(), 4);
        let pod = &fleet.pods[0];
        assert_eq!((pod.resizes.len(), pod.deferred.len()), (1, 1));
        assert_eq!(pod.restarts["app"], 0);
        let again = status(
            50,
            "one",
            &json!({"containerStatuses": [{"name": "app", "restartCount": 2}]}),
        );
        let fleet = read(&format!("{}\n{again}", log()), "shop");
        assert_eq!(fleet.pods[0].restarts["app"], 2);
    }
}
