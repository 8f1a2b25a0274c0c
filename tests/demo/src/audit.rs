//! Holds and verdicts as the API server's own log has them. Pure.

use jiff::Timestamp;
use serde_json::Value;

use crate::entry::reads;

/// A write to a Deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// When the server had answered.
    pub at: Timestamp,
    /// The Deployment.
    pub workload: String,
    /// Who wrote.
    pub by: String,
    /// The webhook's verdict: `Hold`, `KeepHold`, `Release` or `Pass`; none when it was not asked.
    pub verdict: Option<String>,
    /// Its reason.
    pub reason: Option<String>,
    /// The revision of which the verdict speaks.
    pub revision: Option<String>,
    /// When the hold that the verdict speaks of ends at the latest.
    pub until: Option<Timestamp>,
    /// The webhook's patch set `spec.paused` and the hold's annotation.
    pub holds: bool,
    /// The write removed a hold's pause.
    pub releases: bool,
}

impl Write {
    /// Whether the product itself wrote.
    pub fn ours(&self) -> bool {
        self.by.starts_with("system:serviceaccount:msars-system:")
    }
}

/// A hold from the write that began it to the one that ended it.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    /// The Deployment.
    pub workload: String,
    /// The held revision.
    pub revision: String,
    /// When it began.
    pub from: Timestamp,
    /// When it ended; none while it lasts.
    pub to: Option<Timestamp>,
    /// Who ended it.
    pub by: String,
    /// Its deadline.
    pub until: Option<Timestamp>,
}

/// How a hold ended, as far as the API server's log knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Somebody else than the product ended it.
    User,
    /// The product, once the revision's profile was stored.
    Profiled,
    /// The product, at the deadline.
    Deadline,
    /// The product, before either.
    Early,
}

/// A finished profile was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// When the server had answered.
    pub at: Timestamp,
    /// The Deployment.
    pub workload: String,
    /// Of which revision.
    pub revision: String,
}

impl Hold {
    /// Its length in seconds, when it is over.
    pub fn seconds(&self) -> Option<f64> {
        Some(self.to?.duration_since(self.from).as_secs_f64())
    }

    /// Whether the product ended it.
    pub fn ended_by_us(&self) -> bool {
        self.by.starts_with("system:serviceaccount:msars-system:")
    }

    /// How it ended; none while it lasts. A profile counts however late: a release at the deadline would not wait for it.
    pub fn ending(&self, profiles: &[Stored]) -> Option<Ending> {
        let to = self.to?;
        let profiled = profiles.iter().any(|stored| {
            stored.workload == self.workload && stored.revision == self.revision && stored.at <= to
        });
        Some(if !self.ended_by_us() {
            Ending::User
        } else if profiled {
            Ending::Profiled
        } else if self.until.is_some_and(|until| to >= until) {
            Ending::Deadline
        } else {
            Ending::Early
        })
    }
}

/// Every finished profile that was stored in a namespace.
pub fn profiles(log: &str, namespace: &str) -> Vec<Stored> {
    let stored = |line: &str| {
        let event: Value = serde_json::from_str(line).ok()?;
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        let code = event.pointer("/responseStatus/code")?.as_u64()?;
        let done = text("/objectRef/resource") == Some("loadlatencyprofiles")
            && text("/objectRef/subresource") == Some("status")
            && text("/objectRef/namespace") == Some(namespace)
            && text("/requestObject/status/phase") == Some("Done")
            && (200..300).contains(&code);
        let (workload, revision) = text("/objectRef/name")?.rsplit_once('.')?;
        Some(Stored {
            at: text("/stageTimestamp")?.parse().ok()?,
            workload: workload.to_owned(),
            revision: revision.to_owned(),
        })
        .filter(|_| done)
    };
    log.lines()
        .filter(|line| line.contains("\"loadlatencyprofiles\""))
        .filter_map(stored)
        .collect()
}

/// Every accepted write to a Deployment of a namespace, by time. Lines that are no audit event are left out.
pub fn writes(log: &str, namespace: &str) -> Vec<Write> {
    let mut all: Vec<Write> = log
        .lines()
        .filter(|line| line.contains("\"deployments\""))
        .filter_map(|line| write(&serde_json::from_str(line).ok()?, namespace))
        .collect();
    all.sort_by_key(|write| write.at);
    all
}

fn write(event: &Value, namespace: &str) -> Option<Write> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let code = event.pointer("/responseStatus/code")?.as_u64()?;
    let wanted = text("/objectRef/resource") == Some("deployments")
        && text("/objectRef/subresource").is_none()
        && text("/objectRef/namespace") == Some(namespace)
        && (200..300).contains(&code)
        && !reads(event)
        && text("/stage") == Some("ResponseComplete");
    if !wanted {
        return None;
    }
    let note = |name: &str| {
        let annotations = event.get("annotations")?;
        Some(
            annotations
                .get(format!("deployments.msars.io/{name}"))?
                .as_str()?
                .to_owned(),
        )
    };
    let verdict = note("verdict");
    let body = event.get("requestObject");
    let removes = body.is_some_and(|body| {
        ops(body).any(|(op, path, _)| op == "remove" && path == "/spec/paused")
    });
    Some(Write {
        at: text("/stageTimestamp")?.parse().ok()?,
        workload: text("/objectRef/name")?.to_owned(),
        by: text("/user/username")?.to_owned(),
        releases: removes || verdict.as_deref() == Some("Release"),
        reason: note("reason"),
        revision: note("revision"),
        until: note("until").and_then(|until| until.parse().ok()),
        holds: paused_by_webhook(event),
        verdict,
    })
}

/// Operation, path and value of a JSON patch.
fn ops(patch: &Value) -> impl Iterator<Item = (&str, &str, Option<&Value>)> {
    let list = patch.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|op| {
        Some((
            op.get("op")?.as_str()?,
            op.get("path")?.as_str()?,
            op.get("value"),
        ))
    })
}

fn paused_by_webhook(event: &Value) -> bool {
    let annotations = event.get("annotations").and_then(Value::as_object);
    annotations
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("patch.webhook.admission.k8s.io/"))
        .filter_map(|(_, value)| serde_json::from_str::<Value>(value.as_str()?).ok())
        .filter(|told| told.get("webhook").and_then(Value::as_str) == Some("deployments.msars.io"))
        .any(|told| {
            let patch = told.get("patch").unwrap_or(&Value::Null);
            let pause = ops(patch).any(|(op, path, value)| {
                op != "remove" && path == "/spec/paused" && value == Some(&Value::Bool(true))
            });
            let stamp = ops(patch).any(|(op, path, _)| {
                op != "remove" && path == "/metadata/annotations/msars.io~1hold-hash"
            });
            pause && stamp
        })
}

/// The holds that these writes began and ended.
pub fn holds(writes: &[Write]) -> Vec<Hold> {
    let mut all: Vec<Hold> = Vec::new();
    for write in writes {
        let open = all
            .iter_mut()
            .rev()
            .find(|hold| hold.workload == write.workload && hold.to.is_none());
        match open {
            None if write.holds => all.push(Hold {
                workload: write.workload.clone(),
                revision: write.revision.clone().unwrap_or_default(),
                from: write.at,
                to: None,
                by: String::new(),
                until: write.until,
            }),
            Some(hold) if write.releases => {
                hold.to = Some(write.at);
                hold.by.clone_from(&write.by);
            }
            None | Some(_) => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{Ending, holds, profiles, writes};

    const LOG: &str = include_str!("fixtures/audit.jsonl");

    #[test]
    fn a_hold_runs_from_the_webhooks_patch_to_the_release() {
        let writes = writes(LOG, "shop");
        let verdicts: Vec<Option<&str>> = writes.iter().map(|w| w.verdict.as_deref()).collect();
        assert_eq!(
            verdicts,
            [
                None,
                Some("Hold"),
                Some("Release"),
                Some("Pass"),
                Some("Hold"),
                Some("Release")
            ]
        );
        let holds = holds(&writes);
        assert_eq!(holds.len(), 2);
        assert_eq!(holds[0].revision, "4d7b253259ccc01a5871");
        assert!(
            (holds[0].seconds().unwrap() - 55.9).abs() < 0.1,
            "{holds:?}"
        );
        assert!(holds.iter().all(super::Hold::ended_by_us));
        assert_eq!(writes[3].reason.as_deref(), Some("Known"));
        assert!(!writes[3].ours() && writes[2].ours());
    }

    #[test]
    fn other_namespaces_refused_writes_and_broken_lines_are_left_out() {
        assert!(writes(LOG, "elsewhere").is_empty());
        assert!(
            writes(
                &LOG.replace("\"code\":200", "\"code\":409")
                    .replace("\"code\":201", "\"code\":500"),
                "shop"
            )
            .is_empty()
        );
        assert!(writes("\"deployments\" {", "shop").is_empty());
    }

    #[test]
    fn a_hold_ends_as_the_log_shows() {
        let hold = &holds(&writes(LOG, "shop"))[0];
        let stored = profiles(LOG, "shop");
        assert_eq!(stored.len(), 2);
        assert!(profiles(LOG, "elsewhere").is_empty());
        assert_eq!(hold.ending(&stored), Some(Ending::Profiled));
        assert_eq!(hold.ending(&stored[1..]), Some(Ending::Early));
        let mut other = hold.clone();
        other.until = other.to;
        assert_eq!(other.ending(&[]), Some(Ending::Deadline));
        other.by = "admin".into();
        assert_eq!(other.ending(&stored), Some(Ending::User));
        other.to = None;
        assert_eq!(other.ending(&stored), None);
    }

    #[test]
    fn a_hold_without_an_end_has_no_length() {
        let all = writes(LOG, "shop");
        let holds = holds(&all[..2]);
        assert_eq!((holds.len(), holds[0].seconds()), (1, None));
        assert!(!holds[0].ended_by_us());
    }
}
