//! Replicas, sizes and restarts as kubectl and the controllers show them against the fleet that is rebuilt from the API
//! server's log. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::fleet::{Fleet, Pod, requests};
use crate::logs::Applied;
use crate::stored::{items, name, shadow};

/// What is written at the very end may not be told yet.
const UNTOLD: SignedDuration = SignedDuration::from_secs(3);

/// What kubectl and the controllers showed, between two instants.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Before the first look.
    pub from: Timestamp,
    /// After the last.
    pub to: Timestamp,
    /// `kubectl get deployments`.
    pub deployments: Value,
    /// `kubectl get pods`.
    pub pods: Value,
    /// `kubectl get events`.
    pub events: Value,
    /// What the controllers say that they wrote.
    pub applied: Vec<Applied>,
}

/// Everything that does not agree, as lines.
pub fn contradictions(fleet: &Fleet, shown: &Shown) -> Vec<String> {
    let mut lines = replicas(fleet, shown);
    lines.extend(pods(fleet, shown));
    lines.extend(resized(fleet, shown));
    lines.extend(rescaled(fleet, shown));
    lines.extend(written(fleet, shown));
    lines.iter().map(|line| format!("audit: {line}")).collect()
}

/// Values of a history that were in force at any instant of the look.
fn in_force(history: &[(Timestamp, u32)], shown: &Shown) -> Vec<u32> {
    let ends = history
        .iter()
        .skip(1)
        .map(|(at, _)| Some(*at))
        .chain([None]);
    history
        .iter()
        .zip(ends)
        .filter(|((from, _), to)| *from <= shown.to && to.is_none_or(|to| to >= shown.from))
        .map(|((_, value), _)| *value)
        .collect()
}

fn replicas(fleet: &Fleet, shown: &Shown) -> Vec<String> {
    let check = |deployment: &Value| {
        let found = deployment.pointer("/spec/replicas")?.as_u64()?;
        let known = fleet.replicas.get(name(deployment));
        let wanted = in_force(known.map_or(&[][..], Vec::as_slice), shown);
        let fits = wanted.iter().any(|wanted| u64::from(*wanted) == found);
        (!fits).then(|| {
            format!(
                "{} has {found} replicas, the log says {wanted:?}",
                name(deployment)
            )
        })
    };
    items(&shown.deployments).iter().filter_map(check).collect()
}

fn leaves(pod: &Value) -> bool {
    pod.pointer("/metadata/deletionTimestamp").is_some()
}

fn pods(fleet: &Fleet, shown: &Shown) -> Vec<String> {
    let living: BTreeMap<&str, &Value> = items(&shown.pods)
        .iter()
        .filter(|pod| !shadow(pod) && !leaves(pod))
        .map(|pod| (name(pod), pod))
        .collect();
    let mut lines = Vec::new();
    for pod in fleet.serving() {
        let through = pod.from < shown.from && pod.leaving.is_none_or(|at| at > shown.to);
        if through && !living.contains_key(pod.name.as_str()) {
            lines.push(format!("{} lives by the log alone", pod.name));
        }
    }
    for (name, shown_pod) in living {
        match fleet.pods.iter().rev().find(|pod| pod.name == name) {
            None => lines.push(format!("the log shows no birth of {name}")),
            Some(pod) => lines.extend(differs(pod, shown_pod, shown)),
        }
    }
    lines
}

/// How a living pod differs from what the log makes of it.
fn differs(pod: &Pod, found: &Value, shown: &Shown) -> Vec<String> {
    let mut lines = Vec::new();
    let requested: u32 = requests(found).iter().map(|(_, milli)| milli).sum();
    let wanted = in_force(&pod.sizes, shown);
    if !wanted.contains(&requested) {
        lines.push(format!(
            "{} requests {requested}m, the log says {wanted:?}",
            pod.name
        ));
    }
    let statuses = found.pointer("/status/containerStatuses");
    let counts = statuses.and_then(Value::as_array).into_iter().flatten();
    let restarts: u64 = counts
        .filter_map(|status| status.get("restartCount")?.as_u64())
        .sum();
    let told: u32 = pod.restarts.values().sum();
    if restarts != u64::from(told) {
        lines.push(format!(
            "containers of {} restarted {restarts} times, {told} by the log",
            pod.name
        ));
    }
    lines
}

fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The kubelet's word on resizes of serving pods.
fn resized(fleet: &Fleet, shown: &Shown) -> Vec<String> {
    let told = |reason: &str| -> BTreeSet<&str> {
        items(&shown.events)
            .iter()
            .filter(|event| text(event, "/reason") == reason)
            .map(|event| text(event, "/regarding/name"))
            .collect()
    };
    let mut lines = Vec::new();
    let (done, deferred) = (told("ResizeCompleted"), told("ResizeDeferred"));
    let serving: Vec<&Pod> = fleet.serving().collect();
    for pod in &serving {
        let name = pod.name.as_str();
        if pod.resizes.is_empty() && done.contains(name) {
            lines.push(format!("{name} was resized, which the log does not show"));
        }
        if pod.deferred.is_empty() == deferred.contains(name) {
            lines.push(format!(
                "a resize of {name} was deferred: {} by the kubelet's events, {} by the log",
                deferred.contains(name),
                !pod.deferred.is_empty()
            ));
        }
    }
    let asked = serving.iter().any(|pod| {
        let early = |at: Timestamp| at.duration_since(shown.from) < -UNTOLD;
        let early = pod.resizes.iter().filter(|resize| early(resize.at));
        early.count() > pod.deferred.len()
    });
    let seen = serving.iter().any(|pod| done.contains(pod.name.as_str()));
    if asked && !seen {
        lines.push("the log shows resizes, the kubelet says that it completed none".to_owned());
    }
    lines
}

/// The autoscaler's events on replicas.
fn rescaled(fleet: &Fleet, shown: &Shown) -> Vec<String> {
    let told: BTreeSet<(&str, u32)> = items(&shown.events)
        .iter()
        .filter(|event| {
            text(event, "/reason") == "SuccessfulRescale"
                && text(event, "/reportingController").starts_with("msars")
        })
        .filter_map(|event| {
            let to = text(event, "/note").strip_prefix("New size: ")?;
            let to = to.split(';').next()?.parse().ok()?;
            Some((text(event, "/regarding/name"), to))
        })
        .collect();
    let ours = fleet.scales.iter().filter(|scale| scale.ours);
    let logged: BTreeSet<(&str, u32)> = ours
        .clone()
        .map(|scale| (scale.workload.as_str(), scale.to))
        .collect();
    let untold = ours
        .filter(|scale| scale.at.duration_since(shown.from) < -UNTOLD)
        .map(|scale| (scale.workload.as_str(), scale.to))
        .filter(|scale| !told.contains(scale))
        .map(|(workload, to)| format!("no event tells that {workload} was scaled to {to}"));
    let unlogged = told
        .difference(&logged)
        .map(|(workload, to)| format!("an event alone tells that {workload} was scaled to {to}"));
    untold.chain(unlogged).collect()
}

/// How often each object was scaled or resized, by those who wrote.
fn written(fleet: &Fleet, shown: &Shown) -> Vec<String> {
    type Counts<'a> = BTreeMap<(&'a str, &'a str), usize>;
    let early = |at: Timestamp| at.duration_since(shown.from) < -UNTOLD;
    let (mut said, mut logged): (Counts<'_>, Counts<'_>) = Default::default();
    let spoken = shown.applied.iter().filter(|one| early(one.at));
    for one in spoken.filter(|one| ["scale", "resize"].contains(&one.action.as_str())) {
        *said.entry((&one.action, &one.target)).or_default() += 1;
    }
    for scale in fleet.scales.iter().filter(|s| s.ours && early(s.at)) {
        *logged.entry(("scale", &scale.workload)).or_default() += 1;
    }
    for pod in &fleet.pods {
        let ours = pod.resizes.iter().filter(|r| r.ours && early(r.at)).count();
        if ours > 0 {
            *logged.entry(("resize", &pod.name)).or_default() += ours;
        }
    }
    let places: BTreeSet<_> = said.keys().chain(logged.keys()).copied().collect();
    places
        .into_iter()
        .filter_map(|place| {
            let of = |counts: &Counts<'_>| counts.get(&place).copied().unwrap_or_default();
            let (said, logged) = (of(&said), of(&logged));
            (said != logged).then(|| {
                format!(
                    "{} of {}: {said} by the controllers' logs, {logged} by the API server's",
                    place.0, place.1
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet::read;
    use crate::fleet::tests::{at, log, resize};

    /// One resize of the first pod is deferred, the other goes through.
    fn fleet() -> Fleet {
        read(&format!("{}\n{}", log(), resize(45, "one", 190)), "shop")
    }

    fn shown() -> Shown {
        let pod = json!({
            "metadata": {"name": "one"},
            "spec": {"containers": [
                {"name": "app", "resources": {"requests": {"cpu": "190m"}}},
                {"name": "sidecar", "resources": {"requests": {"cpu": "10m"}}},
            ]},
            "status": {"containerStatuses": [{"name": "app", "restartCount": 0}]},
        });
        let event = |reason: &str, name: &str, note: &str| json!({"reason": reason, "regarding": {"name": name}, "note": note, "reportingController": "msars-autoscaler"});
        let applied = |second, action: &str, target: &str| Applied {
            at: at(second),
            action: action.into(),
            target: target.into(),
        };
        Shown {
            from: at(110),
            to: at(111),
            deployments: json!({"items": [{"metadata": {"name": "catalogue"}, "spec": {"replicas": 1}}]}),
            pods: json!({"items": [pod]}),
            events: json!({"items": [
                event("ResizeCompleted", "one", ""),
                event("ResizeDeferred", "one", ""),
                event("SuccessfulRescale", "catalogue", "New size: 2; reason: x"),
                event("SuccessfulRescale", "catalogue", "New size: 1; reason: x"),
            ]}),
            applied: vec![
                applied(40, "resize", "one"),
                applied(45, "resize", "one"),
                applied(55, "scale", "catalogue"),
                applied(85, "scale", "catalogue"),
                applied(86, "create_pod", "x"),
            ],
        }
    }

    #[test]
    fn what_agrees_is_silent() {
        let fleet = fleet();
        assert_eq!(contradictions(&fleet, &shown()), Vec::<String>::new());
        // What changes during the look fits before and after.
        let mut early = shown();
        (early.from, early.to) = (at(84), at(86));
        early.deployments["items"][0]["spec"]["replicas"] = json!(2);
        let lines = contradictions(&fleet, &early);
        assert!(
            !lines.iter().any(|line| line.contains("replicas")),
            "{lines:?}"
        );
    }

    #[test]
    fn every_contradiction_is_told() {
        type Spoil = fn(&mut Shown);
        let table: [(&str, Spoil); 11] = [
            ("catalogue has 3 replicas, the log says [1]", |s| {
                s.deployments["items"][0]["spec"]["replicas"] = json!(3);
            }),
            ("one requests 100m, the log says [200]", |s| {
                s.pods["items"][0]["spec"]["containers"][0]["resources"]["requests"]["cpu"] =
                    json!("90m");
            }),
            ("containers of one restarted 1 times, 0 by the log", |s| {
                s.pods["items"][0]["status"]["containerStatuses"][0]["restartCount"] = json!(1);
            }),
            ("one lives by the log alone", |s| {
                s.pods = json!({"items": []});
            }),
            ("no birth of other", |s| {
                let other = json!({"metadata": {"name": "other"}});
                s.pods["items"].as_array_mut().unwrap().push(other);
            }),
            ("it completed none", |s| {
                s.events["items"][0]["reason"] = json!("x");
            }),
            ("two was resized, which the log does not show", |s| {
                let other = json!({"reason": "ResizeCompleted", "regarding": {"name": "two"}});
                s.events["items"].as_array_mut().unwrap().push(other);
            }),
            (
                "deferred: false by the kubelet's events, true by the log",
                |s| {
                    s.events["items"][1]["reason"] = json!("x");
                },
            ),
            ("no event tells that catalogue was scaled to 2", |s| {
                s.events["items"][2]["reason"] = json!("x");
            }),
            ("an event alone tells that catalogue was scaled to 7", |s| {
                let more = s.events["items"][2]
                    .to_string()
                    .replace("size: 2", "size: 7");
                let more = serde_json::from_str(&more).unwrap();
                s.events["items"].as_array_mut().unwrap().push(more);
            }),
            ("scale of catalogue: 1 by the controllers' logs, 2", |s| {
                s.applied.remove(2);
            }),
        ];
        for (words, spoil) in table {
            let mut shown = shown();
            spoil(&mut shown);
            let lines = contradictions(&fleet(), &shown);
            assert!(
                lines.len() == 1 && lines[0].contains(words),
                "{words}: {lines:?}"
            );
        }
    }
}
