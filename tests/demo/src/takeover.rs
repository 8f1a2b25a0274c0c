//! What the API server's log says of a takeover: writes before it, and the order of store and delete. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::entry::{Entry, entries};
use crate::fleet::Fleet;
use crate::report::{Adoption, Bar};

/// Adds what the log says. Writes count from the status that only recommends, the first since the autoscaler was made,
/// until the autoscaler is deleted; none are known where one of the two is missing.
pub fn read(told: &mut Adoption, log: &str, namespace: &str, fleet: &Fleet) {
    let of_it = |entry: &&Entry| entry.name().is_none_or(|name| name == told.workload);
    let all = entries(log, namespace, "horizontalpodautoscalers");
    let made = all
        .iter()
        .filter(of_it)
        .find(|entry| entry.verb() == "create" && !entry.ours());
    let deleted = all
        .iter()
        .filter(of_it)
        .find(|entry| entry.verb() == "delete" && entry.ours());
    let (Some(made), Some(deleted)) = (made, deleted) else {
        return;
    };
    let says = statuses(log, namespace, &told.workload);
    let recommends = says
        .iter()
        .find(|entry| entry.at > made.at && reason(entry) == Some("Recommending"));
    let stores = |entry: &&Entry| {
        let spec = entry
            .sent()
            .and_then(|sent| sent.pointer("/status/adopted/spec"));
        spec == Some(&told.spec)
    };
    let stored = says.iter().find(stores);
    told.stored_before_delete = stored.is_some_and(|stored| stored.at <= deleted.received);
    told.recommended_written = recommends.map(|from| {
        let within = |at: Timestamp| at > from.at && at < deleted.received;
        written(log, namespace, &told.workload, fleet)
            .into_iter()
            .filter(|at| within(*at))
            .count()
    });
}

/// What a takeover must show.
pub fn bar(told: Option<&Adoption>) -> Bar {
    let seconds = |value: Option<f64>| {
        value.map_or("never".to_owned(), |value| format!("after {value:.1} s"))
    };
    let yes = |value: bool| if value { "yes" } else { "no" };
    Bar {
        wanted: "beside an HPA nothing is written; it is taken over once it is stored, and comes back as it was".to_owned(),
        found: told.map_or("no takeover".to_owned(), |told| {
            format!(
                "{} writes beside it; gone {}, stored before: {}; back {}, as it was: {}",
                told.recommended_written
                    .map_or("unknown".to_owned(), |count| count.to_string()),
                seconds(told.adopted_s),
                yes(told.stored_before_delete),
                seconds(told.returned_s),
                yes(told.returned_identical)
            )
        }),
        met: told.is_some_and(|told| {
            told.recommended_replicas.is_some()
                && told.recommended_written == Some(0)
                && told.adopted_s.is_some()
                && told.stored_before_delete
                && told.returned_s.is_some()
                && told.returned_identical
        }),
    }
}

/// The product's writes of the status of a workload's SloAutoscaler.
fn statuses(log: &str, namespace: &str, workload: &str) -> Vec<Entry> {
    let mut all = entries(log, namespace, "sloautoscalers");
    all.retain(|entry| {
        let target = entry
            .sent()
            .and_then(|sent| sent.pointer("/spec/targetRef/name")?.as_str());
        entry.ours() && entry.place().1 == "status" && target == Some(workload)
    });
    all
}

/// The reason of the summary in a status that was sent.
fn reason(entry: &Entry) -> Option<&str> {
    let list = entry.sent()?.pointer("/status/conditions")?.as_array()?;
    let ready = list
        .iter()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"))?;
    ready.get("reason")?.as_str()
}

/// When the product wrote to a workload or one of its pods.
fn written(log: &str, namespace: &str, workload: &str, fleet: &Fleet) -> Vec<Timestamp> {
    let pods: BTreeSet<&str> = fleet
        .pods
        .iter()
        .filter(|pod| pod.workload == workload)
        .map(|pod| pod.name.as_str())
        .collect();
    let mut all = entries(log, namespace, "deployments");
    all.retain(|entry| entry.name() == Some(workload));
    let own = entries(log, namespace, "pods");
    let own = own
        .into_iter()
        .filter(|entry| entry.name().is_some_and(|name| pods.contains(name)));
    all.extend(own);
    let ours = all.iter().filter(|entry| entry.ours());
    ours.map(|entry| entry.at).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet;
    use crate::fleet::tests::event;

    const US: &str = "system:serviceaccount:msars-system:msars-autoscaler";
    const HPA: (&str, &str, &str) = ("horizontalpodautoscalers", "", "user");

    fn spec() -> Value {
        json!({"minReplicas": 2, "maxReplicas": 4})
    }

    fn status(second: u32, reason: &str, adopted: &Value) -> String {
        let body = json!({
            "spec": {"targetRef": {"name": "user"}},
            "status": {"conditions": [{"type": "Ready", "reason": reason}], "adopted": adopted},
        });
        event(
            second,
            "update",
            ("sloautoscalers", "status", "user"),
            US,
            &body,
        )
    }

    fn scale(second: u32, user: &str) -> String {
        let body = json!({"spec": {"replicas": 2}});
        event(
            second,
            "update",
            ("deployments", "scale", "user"),
            user,
            &body,
        )
    }

    fn pod(name: &str, set: &str) -> String {
        let pod = json!({
            "metadata": {"name": name, "labels": {"pod-template-hash": "77"}, "ownerReferences": [{"name": set}]},
            "spec": {"containers": [{"name": "app", "resources": {"requests": {"cpu": "60m"}}}]},
        });
        let mut event: Value =
            serde_json::from_str(&event(1, "create", ("pods", "", name), "x", &Value::Null))
                .unwrap();
        event["responseObject"] = pod;
        event.to_string()
    }

    fn resize(second: u32, name: &str) -> String {
        event(second, "patch", ("pods", "resize", name), US, &json!({}))
    }

    /// Made at 10, recommended beside from 12, stored at 30, deleted at 31.
    fn story() -> Vec<String> {
        vec![
            pod("user-77-a", "user-77"),
            pod("user-db-77-a", "user-db-77"),
            status(5, "Recommending", &Value::Null),
            scale(8, US),
            event(10, "create", HPA, "admin", &Value::Null),
            scale(11, US),
            status(12, "Recommending", &Value::Null),
            scale(
                20,
                "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
            ),
            resize(21, "user-db-77-a"),
            status(30, "Recommending", &json!({"spec": spec()})),
            event(31, "delete", HPA, US, &Value::Null),
            scale(40, US),
        ]
    }

    fn told(log: &[String]) -> (Option<usize>, bool) {
        let log = log.join("\n");
        let mut told = Adoption {
            workload: "user".into(),
            spec: spec(),
            ..Adoption::default()
        };
        read(&mut told, &log, "shop", &fleet::read(&log, "shop"));
        (told.recommended_written, told.stored_before_delete)
    }

    #[test]
    fn nothing_of_ours_is_written_while_the_other_one_scales() {
        assert_eq!(told(&story()), (Some(0), true));
        for write in [scale(25, US), resize(30, "user-77-a")] {
            let mut log = story();
            log.push(write);
            assert_eq!(told(&log), (Some(1), true));
        }
    }

    #[test]
    fn what_is_missing_late_or_not_whole_is_no_good_takeover() {
        let without = |index: usize| {
            let mut log = story();
            log.remove(index);
            log
        };
        assert_eq!(told(&without(4)), (None, false), "never made");
        assert_eq!(told(&without(10)), (None, false), "never deleted");
        assert_eq!(told(&without(9)), (Some(0), false), "never stored");
        let mut late = without(9);
        late.push(status(32, "Recommending", &json!({"spec": spec()})));
        assert_eq!(told(&late), (Some(0), false), "stored after");
        let mut less = without(9);
        less.push(status(
            30,
            "Recommending",
            &json!({"spec": {"minReplicas": 2}}),
        ));
        assert_eq!(told(&less), (Some(0), false), "not whole");
        let mut silent = without(6);
        silent[8] = status(30, "Scaling", &json!({"spec": spec()}));
        assert_eq!(told(&silent), (None, true), "never recommended");
    }
}
