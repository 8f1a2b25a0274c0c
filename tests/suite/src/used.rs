//! Which of the rights that our manifests give a program asked for, by the API server's audit log. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::rights::{Right, Scope, Who};

/// A call of one of our programs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    who: Who,
    namespace: String,
    group: String,
    resource: String,
    name: String,
    verb: String,
    /// Whether it was let in, whatever became of it.
    allowed: bool,
}

/// The calls of our programs, and those to kubelets, which ask the API server whether they may.
pub fn calls(log: &str) -> BTreeSet<Call> {
    log.lines()
        // A line that is being written is none yet.
        .filter_map(|line| Call::read(&serde_json::from_str(line).ok()?))
        .collect()
}

impl Call {
    fn read(event: &Value) -> Option<Self> {
        let text = |path: &str| event.pointer(path).and_then(Value::as_str);
        if let Some(who) = text("/user/username").and_then(Who::user) {
            let code = event.pointer("/responseStatus/code")?.as_u64()?;
            let reference = |part: &str| text(&format!("/objectRef/{part}")).unwrap_or_default();
            return Some(Self {
                who,
                namespace: reference("namespace").into(),
                group: reference("apiGroup").into(),
                resource: whole(text("/objectRef/resource")?, reference("subresource")),
                name: reference("name").into(),
                verb: text("/verb")?.into(),
                allowed: code != 403,
            });
        }
        let who = Who::user(text("/requestObject/spec/user")?)?;
        let asked = |part: &str| {
            text(&format!("/requestObject/spec/resourceAttributes/{part}")).unwrap_or_default()
        };
        // A team's `auth can-i` names the user likewise; of kubelets only those ask.
        text("/user/username")?.strip_prefix("system:node:")?;
        Some(Self {
            who,
            namespace: asked("namespace").into(),
            group: asked("group").into(),
            resource: whole(asked("resource"), asked("subresource")),
            name: asked("name").into(),
            verb: asked("verb").into(),
            allowed: true,
        })
    }

    /// Whether it needs this right.
    fn needs(&self, right: &Right) -> bool {
        let own = self.namespace == msars_api::names::SYSTEM_NAMESPACE;
        let there = match right.scope {
            Scope::Everywhere => true,
            Scope::Own => own,
            Scope::Granted => !own,
        };
        let named = right.name.as_ref().is_none_or(|name| *name == self.name);
        there
            && named
            && (self.who, &self.group, &self.resource, &self.verb)
                == (right.who, &right.group, &right.resource, &right.verb)
    }
}

fn whole(resource: &str, subresource: &str) -> String {
    if subresource.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}/{subresource}")
    }
}

/// Rights that no call needed.
pub fn unused(rights: &BTreeSet<Right>, calls: &BTreeSet<Call>) -> Vec<Right> {
    let used = |right: &&Right| calls.iter().any(|call| call.allowed && call.needs(right));
    rights
        .iter()
        .filter(|right| !used(right))
        .cloned()
        .collect()
}

/// Calls that were refused for want of a right that nothing gives, in any namespace.
pub fn missed(rights: &BTreeSet<Right>, calls: &BTreeSet<Call>) -> Vec<Call> {
    let refused = calls.iter().filter(|call| !call.allowed);
    let meant = |call: &&Call| !rights.iter().any(|right| call.needs(right));
    refused.filter(meant).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rights::held;

    const OURS: &str = "system:serviceaccount:msars-system:msars-autoscaler";

    fn call(verb: &str, reference: &Value, code: u64) -> Value {
        json!({
            "user": {"username": OURS}, "verb": verb, "objectRef": reference,
            "responseStatus": {"code": code},
        })
    }

    fn log(events: &[Value]) -> BTreeSet<Call> {
        let lines: Vec<String> = events.iter().map(Value::to_string).collect();
        calls(&(lines.join("\n") + "\n{\"user\":"))
    }

    /// Whether the right of these words is used.
    fn uses(events: &[Value], scope: Scope, resource: &str, verb: &str) -> bool {
        let all = held();
        let ours = |right: &&Right| {
            right.who == Who::Autoscaler
                && (right.scope, &*right.resource, &*right.verb) == (scope, resource, verb)
        };
        let right: BTreeSet<Right> = all.iter().filter(ours).cloned().collect();
        assert!(!right.is_empty(), "{verb} {resource} is held");
        unused(&right, &log(events)).is_empty()
    }

    #[test]
    fn a_right_is_used_by_a_call_that_was_let_in() {
        let scale = json!({"apiGroup": "apps", "resource": "deployments", "subresource": "scale", "namespace": "shop", "name": "carts"});
        let of = |code| [call("update", &scale, code)];
        let used = |code| uses(&of(code), Scope::Granted, "deployments/scale", "update");
        assert_eq!([200, 409, 403].map(used), [true, true, false]);
        assert!(!uses(&of(200), Scope::Granted, "deployments/scale", "get"));
        assert!(!uses(&of(200), Scope::Granted, "deployments", "patch"));
    }

    #[test]
    fn a_right_in_our_own_namespace_or_to_one_object_needs_that_one() {
        let secret = |namespace: &str, name: &str| {
            [call(
                "update",
                &json!({"resource": "secrets", "namespace": namespace, "name": name}),
                200,
            )]
        };
        let used =
            |(namespace, name)| uses(&secret(namespace, name), Scope::Own, "secrets", "update");
        let ours = "msars-admission-tls";
        let table = [
            ("msars-system", ours),
            ("msars-system", "x"),
            ("shop", ours),
        ];
        assert_eq!(table.map(used), [true, false, false]);
    }

    #[test]
    fn kubelets_ask_for_what_is_read_of_them() {
        let asked = |by: &str| {
            [json!({
                "user": {"username": by}, "verb": "create", "responseStatus": {"code": 201},
                "objectRef": {"apiGroup": "authorization.k8s.io", "resource": "subjectaccessreviews"},
                "requestObject": {"spec": {"user": OURS, "resourceAttributes": {
                    "resource": "nodes", "subresource": "metrics", "verb": "get", "name": "node",
                }}},
            })]
        };
        let used = |by| uses(&asked(by), Scope::Everywhere, "nodes/metrics", "get");
        assert!(used("system:node:node"));
        assert!(!used("system:admin"), "asked about, not done");
    }

    #[test]
    fn what_is_refused_for_want_of_a_grant_is_meant_to_be() {
        let patch = |resource: &str| {
            let reference = json!({"apiGroup": "apps", "resource": resource, "namespace": "other"});
            call("patch", &reference, 403)
        };
        let missed = |resource: &str| missed(&held(), &log(&[patch(resource)])).len();
        assert_eq!((missed("deployments"), missed("statefulsets")), (0, 1));
    }
}
