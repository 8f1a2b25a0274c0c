//! What the product says about a workload and what there is of it: conditions, fleets, decisions.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use jiff::Timestamp;
use msars_api::annotations::cpu_millis;
use msars_api::names::SHADOW_LABEL;
use serde_json::Value;

use crate::bed::{Bed, SYSTEM};
use crate::patience::slowly;
use crate::strikes::leader;
use crate::yard::Plot;

/// A condition of an autoscaler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whether it is True.
    pub holds: bool,
    /// Its reason.
    pub reason: String,
    /// Its sentence.
    pub message: String,
}

/// Replicas asked for, and the smallest CPU size that one of its pods was asked to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fleet {
    /// `spec.replicas`.
    pub replicas: u64,
    /// Thousandths of a core.
    pub milli: u32,
}

/// Fleets by Deployment.
pub type Fleets = BTreeMap<String, Fleet>;

/// Deployments that have less than before, one sentence each.
pub fn shrunk(before: &Fleets, now: &Fleets) -> Vec<String> {
    let less = |(name, was): (&String, &Fleet)| {
        let is = now.get(name)?;
        (is.replicas < was.replicas || is.milli < was.milli).then(|| {
            format!(
                "{name} from {} × {}m to {} × {}m",
                was.replicas, was.milli, is.replicas, is.milli
            )
        })
    };
    before.iter().filter_map(less).collect()
}

/// One decision as it was logged.
#[derive(Debug, Clone)]
pub struct Decided {
    /// When.
    pub at: Timestamp,
    /// Whether the request rate was known.
    pub known: bool,
    /// The peak planned for, requests per second.
    pub peak: Option<f64>,
    /// Replicas and size wanted.
    pub wanted: Fleet,
    /// Writes that followed.
    pub actions: usize,
    /// What was remembered before.
    pub before: Value,
    /// The reason's word.
    pub reason: String,
}

impl Decided {
    fn of(line: &Value, plot: &Plot) -> Option<Self> {
        let ours = |key: &Value| key["namespace"] == plot.namespace && key["name"] == plot.name();
        let tick = &line["tick"];
        let seen = tick["observations"].as_array()?;
        let index = seen
            .iter()
            .position(|seen| ours(&seen["signals"]["workload"]))?;
        let decision = line["decisions"].get(index)?;
        Some(Self {
            at: tick["now"].as_str()?.parse().ok()?,
            known: seen[index].pointer("/signals/rate/Known").is_some(),
            peak: decision.pointer("/numbers/peak").and_then(Value::as_f64),
            wanted: Fleet {
                replicas: decision.pointer("/wanted/replicas")?.as_u64()?,
                milli: u32::try_from(decision.pointer("/wanted/size")?.as_u64()?).ok()?,
            },
            actions: decision["actions"].as_array().map_or(0, Vec::len),
            before: tick["states"].get(index)?.clone(),
            reason: decision.pointer("/reason/is")?.as_str()?.to_owned(),
        })
    }
}

fn size(pod: &Value) -> Option<u32> {
    let containers = pod.pointer("/spec/containers")?.as_array()?;
    let app = containers.iter().find(|found| found["name"] == "app");
    let resources = &app.or_else(|| containers.first())?["resources"];
    let cpu = |side: &str| resources[side]["cpu"].as_str().and_then(cpu_millis);
    cpu("limits").or_else(|| cpu("requests"))
}

impl Bed {
    /// The status of a plot's autoscaler.
    pub fn status(&self, plot: &Plot) -> Result<Value> {
        Ok(self.get_at(plot, &["sloautoscaler", plot.name()])?["status"].clone())
    }

    /// One condition of a plot's autoscaler, when it has a status.
    pub fn says(&self, plot: &Plot, kind: &str) -> Result<Option<Told>> {
        let said = self.kubectl(&[
            "-n",
            plot.namespace,
            "get",
            "sloautoscaler",
            plot.name(),
            "-o",
            "json",
        ])?;
        if !said.good {
            return Ok(None);
        }
        let object: Value = serde_json::from_str(&said.out)?;
        let list = object.pointer("/status/conditions");
        let mut list = list.and_then(Value::as_array).into_iter().flatten();
        let text = |found: &Value, name: &str| found[name].as_str().unwrap_or_default().to_owned();
        Ok(list.find(|found| found["type"] == kind).map(|found| Told {
            holds: found["status"] == "True",
            reason: text(found, "reason"),
            message: text(found, "message"),
        }))
    }

    /// Waits until a condition has this status and reason; its sentence.
    pub fn until_says(
        &self,
        plot: &Plot,
        kind: &str,
        holds: bool,
        reason: &str,
        seconds: u64,
    ) -> Result<String> {
        let what = format!("{kind} {holds} {reason} of {}", plot.name());
        slowly(&what, seconds, || {
            let found = self.says(plot, kind)?;
            Ok(match found {
                Some(told) if told.holds == holds && told.reason == reason => Ok(told.message),
                other => Err(format!("{other:?}")),
            })
        })
    }

    /// The pods of a namespace that are neither going nor shadow pods.
    pub fn pods_in(&self, namespace: &str) -> Result<Vec<Value>> {
        let text = self.must(&["-n", namespace, "get", "pods", "-o", "json"])?;
        let list: Value = serde_json::from_str(&text)?;
        let mut pods = list["items"].as_array().cloned().unwrap_or_default();
        pods.retain(|pod| {
            let meta = &pod["metadata"];
            meta.get("deletionTimestamp").is_none() && meta["labels"].get(SHADOW_LABEL).is_none()
        });
        Ok(pods)
    }

    /// The pods of a plot.
    pub fn pods_of(&self, plot: &Plot) -> Result<Vec<Value>> {
        let mut pods = self.pods_in(plot.namespace)?;
        pods.retain(|pod| pod["metadata"]["labels"]["app"] == plot.name());
        Ok(pods)
    }

    /// The fleets of a namespace's Deployments.
    pub fn fleets(&self, namespace: &str) -> Result<Fleets> {
        let text = self.must(&["-n", namespace, "get", "deployments", "-o", "json"])?;
        let list: Value = serde_json::from_str(&text)?;
        let pods = self.pods_in(namespace)?;
        let items = list["items"].as_array().into_iter().flatten();
        Ok(items
            .filter_map(|item| {
                let name = item["metadata"]["name"].as_str()?;
                let own = pods
                    .iter()
                    .filter(|pod| pod["metadata"]["labels"]["app"] == name);
                let fleet = Fleet {
                    replicas: item["spec"]["replicas"].as_u64()?,
                    milli: own.filter_map(size).min()?,
                };
                Some((name.to_owned(), fleet))
            })
            .collect())
    }

    /// Decisions about a plot that the leader has logged in the last seconds, oldest first.
    pub fn decisions(&self, plot: &Plot, seconds: u64) -> Result<Vec<Decided>> {
        let (pod, _) = leader(self)?;
        let since = format!("--since={seconds}s");
        let log = self.must(&["-n", SYSTEM, "logs", &pod, &since])?;
        let lines = log.lines().filter(|line| line.starts_with("{\"tick\""));
        Ok(lines
            .filter_map(|line| Decided::of(&serde_json::from_str(line).ok()?, plot))
            .collect())
    }

    /// Waits for decisions about a plot after a moment; `enough` says when they are what was waited for.
    pub fn decided(
        &self,
        plot: &Plot,
        after: Timestamp,
        seconds: u64,
        enough: impl Fn(&[Decided]) -> bool,
    ) -> Result<Vec<Decided>> {
        let what = format!("decisions about {} in the log (--decisions=-)", plot.name());
        slowly(&what, seconds, || {
            let mut found = self.decisions(plot, seconds + 60)?;
            found.retain(|decided| decided.at > after);
            Ok(if enough(&found) {
                Ok(found)
            } else {
                Err(format!("{} since then: {:?}", found.len(), found.last()))
            })
        })
    }

    /// The events about an object of a plot's namespace, as `reason: message`.
    pub fn events(&self, plot: &Plot, about: &str) -> Result<Vec<String>> {
        let list = self.get_at(plot, &["events"])?;
        let items = list["items"].as_array().context("no list")?;
        let ours = |event: &&Value| {
            let name = event.pointer("/involvedObject/name");
            name.and_then(Value::as_str)
                .is_some_and(|name| name.starts_with(about))
        };
        let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        Ok(items
            .iter()
            .filter(ours)
            .map(|event| format!("{}: {}", text(event, "reason"), text(event, "message")))
            .collect())
    }
}
