//! What the product wrote, as the API server noted it down.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bed::Bed;

/// The controller's user.
pub const OURS: &str = "system:serviceaccount:msars-system:msars-autoscaler";
/// What belongs to users.
const THEIRS: [&str; 4] = ["deployments", "deployments/scale", "pods", "pods/resize"];

/// A place in the log.
#[derive(Debug, Clone, Copy)]
pub struct Mark(u64);

/// One call that changes something, answered.
#[derive(Debug, Clone)]
pub struct Write {
    /// Who asked.
    pub by: String,
    /// `create`, `update`, `patch`, `delete`, ...
    pub verb: String,
    /// The resource, with its subresource after a slash.
    pub resource: String,
    /// The object.
    pub name: String,
    /// The answer's status.
    pub code: u64,
    /// What was sent, where the log keeps it.
    pub body: Value,
}

impl Write {
    fn read(event: &Value, namespace: &str) -> Option<Self> {
        let text = |path: &str| event.pointer(path).and_then(Value::as_str);
        let verb = text("/verb")?;
        if ["get", "list", "watch"].contains(&verb)
            || text("/stage") != Some("ResponseComplete")
            || text("/objectRef/namespace") != Some(namespace)
        {
            return None;
        }
        let kind = text("/objectRef/resource")?;
        let resource = match text("/objectRef/subresource") {
            Some(part) => format!("{kind}/{part}"),
            None => kind.to_owned(),
        };
        Some(Self {
            by: text("/user/username")?.to_owned(),
            verb: verb.to_owned(),
            resource,
            name: text("/objectRef/name").unwrap_or_default().to_owned(),
            code: event.pointer("/responseStatus/code")?.as_u64()?,
            body: event.get("requestObject").cloned().unwrap_or_default(),
        })
    }

    /// Whether the server accepted it.
    pub fn accepted(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// The replicas that a write of `scale` asked for.
    pub fn replicas(&self) -> Option<u64> {
        self.body.pointer("/spec/replicas")?.as_u64()
    }

    /// In a few words.
    pub fn words(&self) -> String {
        let to = self
            .replicas()
            .map_or(String::new(), |to| format!(" to {to}"));
        format!("{} {}{to}: {}", self.resource, self.name, self.code)
    }
}

impl Bed {
    /// Where the log ends now.
    pub fn mark_audit(&self) -> Result<Mark> {
        Ok(Mark(std::fs::metadata(self.cluster.audit_log())?.len()))
    }

    /// Every call in a namespace since a mark that changed something or was refused.
    pub fn writes(&self, since: Mark, namespace: &str) -> Result<Vec<Write>> {
        let mut file = File::open(self.cluster.audit_log()).context("the audit log")?;
        file.seek(SeekFrom::Start(since.0))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text
            .lines()
            // A line that is being written is read the next time.
            .filter_map(|line| Write::read(&serde_json::from_str(line).ok()?, namespace))
            .collect())
    }

    /// The controller's calls among them to a workload of a user or its pods.
    pub fn ours(&self, since: Mark, namespace: &str, workload: &str) -> Result<Vec<Write>> {
        let pods = format!("{workload}-");
        let mut all = self.writes(since, namespace)?;
        all.retain(|write| {
            write.by == OURS
                && THEIRS.contains(&write.resource.as_str())
                && (write.name == workload || write.name.starts_with(&pods))
        });
        Ok(all)
    }
}
