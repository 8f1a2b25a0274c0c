//! One accepted write in the API server's log. Pure.

use jiff::Timestamp;
use serde_json::Value;

/// An accepted write, with the whole event.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When the server received it.
    pub received: Timestamp,
    /// When it had answered.
    pub at: Timestamp,
    event: Value,
}

impl Entry {
    /// A text of the event.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.event.pointer(pointer)?.as_str()
    }

    /// Resource and subresource, the latter empty for the object itself.
    pub fn place(&self) -> (&str, &str) {
        let part = |pointer| self.text(pointer).unwrap_or_default();
        (part("/objectRef/resource"), part("/objectRef/subresource"))
    }

    /// The object's name; that of a created one may be known to the answer alone.
    pub fn name(&self) -> Option<&str> {
        self.text("/objectRef/name")
            .or_else(|| self.text("/responseObject/metadata/name"))
    }

    /// `create`, `patch`, ...
    pub fn verb(&self) -> &str {
        self.text("/verb").unwrap_or_default()
    }

    /// What was sent, where the policy keeps it.
    pub fn sent(&self) -> Option<&Value> {
        self.event.get("requestObject")
    }

    /// What was answered, where the policy keeps it.
    pub fn answered(&self) -> Option<&Value> {
        self.event.get("responseObject")
    }

    /// Whether the product itself wrote.
    pub fn ours(&self) -> bool {
        self.text("/user/username")
            .is_some_and(|user| user.starts_with("system:serviceaccount:msars-system:"))
    }
}

/// Whether a call changes nothing: the log keeps those of the product too.
pub fn reads(event: &Value) -> bool {
    let verb = event.get("verb").and_then(Value::as_str);
    verb.is_some_and(|verb| ["get", "list", "watch"].contains(&verb))
}

/// Every accepted write to a resource of a namespace, its subresources included, by the time of the answer. Lines that
/// are no audit event are left out.
pub fn entries(log: &str, namespace: &str, resource: &str) -> Vec<Entry> {
    let named = format!("\"{resource}\"");
    let read = |line: &str| {
        let event: Value = serde_json::from_str(line).ok()?;
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        let code = event.pointer("/responseStatus/code")?.as_u64()?;
        let wanted = text("/objectRef/resource") == Some(resource)
            && text("/objectRef/namespace") == Some(namespace)
            && (200..300).contains(&code)
            && !reads(&event)
            && text("/stage") == Some("ResponseComplete");
        let received = text("/requestReceivedTimestamp")?.parse().ok()?;
        let at = text("/stageTimestamp")?.parse().ok()?;
        wanted.then_some(Entry {
            received,
            at,
            event,
        })
    };
    let mut all: Vec<Entry> = log
        .lines()
        .filter(|line| line.contains(&named))
        .filter_map(read)
        .collect();
    all.sort_by_key(|entry| entry.at);
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_read_of_the_product_is_no_write() {
        let line = |verb: &str| {
            json!({
                "stage": "ResponseComplete", "verb": verb, "responseStatus": {"code": 200},
                "objectRef": {"resource": "pods", "namespace": "shop", "name": "one"},
                "requestReceivedTimestamp": "2026-01-01T00:00:00Z",
                "stageTimestamp": "2026-01-01T00:00:01Z",
            })
            .to_string()
        };
        let log = ["get", "patch", "list", "watch", "delete"]
            .map(line)
            .join("\n");
        let all = entries(&log, "shop", "pods");
        let verbs: Vec<&str> = all.iter().map(Entry::verb).collect();
        assert_eq!(verbs, ["patch", "delete"]);
    }
}
