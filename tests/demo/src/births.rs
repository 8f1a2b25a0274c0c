//! The size of every new pod against what was wanted for its revision at that moment, by the API server's log. Pure.
//!
//! The pod webhook reads a copy of the SloAutoscalers' `status.sizes`, and the next tick may change them: a birth is
//! right when its size was in force at any instant between some seconds before it (the copy's age) and the birth.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::entry::{Entry, entries};
use crate::stored::milli;

/// A new pod of a revision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Birth {
    /// Seconds since the start.
    pub at_s: f64,
    /// CPU limit, thousandths of a core; none when the webhook gave it no size.
    pub size: Option<u32>,
    /// What was in force for its revision, thousandths of a core; more than one while it changed.
    pub wanted: Vec<u32>,
}

impl Birth {
    /// Whether it has a size that was wanted then.
    pub fn fits(&self) -> bool {
        self.size.is_some_and(|size| self.wanted.contains(&size))
    }

    /// In words.
    pub fn told(&self) -> String {
        let size = size(self.size);
        if self.fits() {
            return size;
        }
        let wanted: Vec<String> = self.wanted.iter().map(|size| format!("{size}m")).collect();
        let wanted = if wanted.is_empty() {
            "none".to_owned()
        } else {
            wanted.join(" or ")
        };
        format!("{size} at {:.1} s while {wanted} was wanted", self.at_s)
    }
}

/// A size in words, from thousandths of a core.
pub fn size(milli: Option<u32>) -> String {
    milli.map_or("no size".to_owned(), |milli| format!("{milli}m"))
}

/// A size that was in force for new pods of a revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// The Deployment.
    pub workload: String,
    /// The revision's hash.
    pub revision: String,
    /// CPU limit, thousandths of a core.
    pub size: u32,
    /// When the write that brought it was received.
    pub from: Timestamp,
    /// When the write that took it away had been answered; none while it is in force.
    pub to: Option<Timestamp>,
}

/// Every size that was in force in a namespace, by the writes of SloAutoscalers' status, which carry the whole object.
pub fn wishes(log: &str, namespace: &str) -> Vec<Wish> {
    let mut all: Vec<Wish> = Vec::new();
    for entry in entries(log, namespace, "sloautoscalers") {
        let body = entry.sent().filter(|_| entry.place().1 == "status");
        let named = |body: &Value| {
            let name = body.pointer("/spec/targetRef/name")?.as_str()?;
            Some(name.to_owned())
        };
        let Some((body, workload)) = body.and_then(|body| Some((body, named(body)?))) else {
            continue;
        };
        let mut now = sizes(body);
        for wish in all
            .iter_mut()
            .filter(|w| w.workload == workload && w.to.is_none())
        {
            if now.get(&wish.revision) == Some(&wish.size) {
                now.remove(&wish.revision);
            } else {
                wish.to = Some(entry.at);
            }
        }
        all.extend(now.into_iter().map(|(revision, size)| Wish {
            workload: workload.clone(),
            revision,
            size,
            from: entry.received,
            to: None,
        }));
    }
    all
}

/// Revision → size of one status.
fn sizes(autoscaler: &Value) -> BTreeMap<String, u32> {
    let list = autoscaler
        .pointer("/status/sizes")
        .and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|entry| {
            let size = entry.get("sizeMilli")?.as_u64()?;
            Some((
                entry.get("revision")?.as_str()?.to_owned(),
                u32::try_from(size).ok()?,
            ))
        })
        .collect()
}

/// Every new pod of a workload's revision to which the webhook gave a size, against the wishes in force from `lag_s`
/// before it. `zero` is the start of the report's seconds; what is older is left out.
pub fn births(
    log: &str,
    (namespace, workload, revision): (&str, &str, &str),
    wishes: &[Wish],
    lag_s: f64,
    zero: Timestamp,
) -> Vec<Birth> {
    let lag = SignedDuration::from_secs_f64(lag_s);
    let born = |entry: &Entry| {
        let ours = entry.place().1.is_empty()
            && entry.text("/annotations/pods.msars.io~1revision") == Some(revision);
        if !ours || entry.at < zero {
            return None;
        }
        let oldest = entry.received.checked_sub(lag).unwrap_or(entry.received);
        let mut wanted: Vec<u32> = wishes
            .iter()
            .filter(|wish| wish.workload == workload && wish.revision == revision)
            .filter(|wish| wish.from <= entry.at && wish.to.is_none_or(|to| to >= oldest))
            .map(|wish| wish.size)
            .collect();
        wanted.dedup();
        let size = entry.text("/annotations/pods.msars.io~1size")?;
        Some(Birth {
            at_s: entry.at.duration_since(zero).as_secs_f64(),
            size: milli(size),
            wanted,
        })
    };
    entries(log, namespace, "pods")
        .iter()
        .filter_map(born)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(at: &str, resource: &str, rest: &Value) -> String {
        let mut event = json!({
            "stage": "ResponseComplete", "responseStatus": {"code": 201},
            "requestReceivedTimestamp": format!("2026-03-01T10:00:{at}.000000Z"),
            "stageTimestamp": format!("2026-03-01T10:00:{at}.010000Z"),
            "objectRef": {"resource": resource, "namespace": "shop"},
        });
        for (name, value) in rest.as_object().unwrap() {
            event[name] = value.clone();
        }
        event.to_string()
    }

    fn wish(at: &str, sizes: &[(&str, u32)]) -> String {
        let sizes: Vec<Value> = sizes
            .iter()
            .map(|(revision, size)| json!({"revision": revision, "sizeMilli": size}))
            .collect();
        let body =
            json!({"spec": {"targetRef": {"name": "catalogue"}}, "status": {"sizes": sizes}});
        let place = json!({"resource": "sloautoscalers", "subresource": "status", "namespace": "shop", "name": "any"});
        event(
            at,
            "",
            &json!({"objectRef": place, "responseStatus": {"code": 200}, "requestObject": body}),
        )
    }

    fn pod(at: &str, size: &str) -> String {
        let told = json!({"pods.msars.io/revision": "r", "pods.msars.io/size": size, "pods.msars.io/verdict": "Size"});
        event(at, "pods", &json!({"annotations": told}))
    }

    fn zero() -> Timestamp {
        "2026-03-01T10:00:00Z".parse().unwrap()
    }

    fn born(log: &[String]) -> Vec<Birth> {
        let log = log.join("\n");
        let place = ("shop", "catalogue", "r");
        births(&log, place, &wishes(&log, "shop"), 2.0, zero())
    }

    #[test]
    fn a_birth_fits_what_was_in_force_within_the_lag_before_it() {
        // 400 from second 10, 500 from second 20, nothing from second 30.
        let history = [
            wish("10", &[("r", 400), ("s", 100)]),
            wish("15", &[("r", 400), ("s", 200)]),
            wish("20", &[("r", 500), ("s", 200)]),
            wish("30", &[("s", 200)]),
        ];
        let table: [(&str, &str, &[u32], bool); 10] = [
            ("09", "400m", &[], false),
            ("10", "400m", &[400], true),
            ("16", "400m", &[400], true),
            ("16", "200m", &[400], false),
            ("19", "500m", &[400], false),
            ("21", "400m", &[400, 500], true),
            ("21", "500m", &[400, 500], true),
            ("23", "400m", &[500], false),
            ("31", "0.5", &[500], true),
            ("33", "500m", &[], false),
        ];
        for (at, size, wanted, fits) in table {
            let mut log = history.to_vec();
            log.push(pod(at, size));
            let born = born(&log);
            assert_eq!(born.len(), 1, "{at} {size}");
            assert_eq!(
                (born[0].wanted.as_slice(), born[0].fits()),
                (wanted, fits),
                "{at} {size}"
            );
        }
    }

    #[test]
    fn refused_writes_other_places_and_older_pods_are_left_out() {
        let good = [wish("10", &[("r", 400)]), pod("11", "400m")];
        assert!(born(&good)[0].fits() && (born(&good)[0].at_s - 11.01).abs() < 1e-6);
        let refused = good[0].replace(":200}", ":409}");
        assert!(!born(&[refused, good[1].clone()])[0].fits());
        let elsewhere = good[1].replace("\"shop\"", "\"other\"");
        assert!(born(&[good[0].clone(), elsewhere]).is_empty());
        let log = good.join("\n");
        let later = "2026-03-01T10:00:30Z".parse().unwrap();
        let place = ("shop", "catalogue", "r");
        assert!(births(&log, place, &wishes(&log, "shop"), 2.0, later).is_empty());
        let other = ("shop", "catalogue", "q");
        assert!(births(&log, other, &wishes(&log, "shop"), 2.0, zero()).is_empty());
        assert!(wishes("\"sloautoscalers\" \"status\" {", "shop").is_empty());
    }
}
