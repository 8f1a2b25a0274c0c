//! Calls that are so rare that a window may show none of them. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use msars_domain::Call;

use super::assemble::Class;

/// Seconds of the window by which calls are counted.
const WINDOW_S: f64 = 120.0;
/// Of fewer expected calls in a window it may be chance that there were none.
const FEW: f64 = 10.0;
/// A rare call stays so many seconds after it was last seen: a split that comes and goes with it costs more.
const KEPT_S: f64 = 1800.0;

/// When each call was last seen, by caller and callee.
type Calls = BTreeMap<(String, String), Timestamp>;

/// Notes which calls a class shows now, and adds those of `before` that only happen not to be seen.
pub(super) fn keep(calls: &mut Calls, class: &mut Class, before: Option<&Call>, now: Timestamp) {
    note(calls, &class.chain.root, now);
    calls.retain(|_, at| now.duration_since(*at).as_secs_f64() <= KEPT_S);
    let rate = class.rate.get();
    if let Some(before) = before {
        graft(calls, &mut class.chain.root, before, rate);
    }
}

fn note(calls: &mut Calls, call: &Call, now: Timestamp) {
    for child in &call.children {
        calls.insert((call.service.clone(), child.service.clone()), now);
        note(calls, child, now);
    }
}

/// `rate` requests per second reach this call.
fn graft(calls: &Calls, call: &mut Call, before: &Call, rate: f64) {
    for old in &before.children {
        let comes = rate * old.visits;
        let same = |child: &&mut Call| child.service == old.service;
        if let Some(child) = call.children.iter_mut().find(same) {
            graft(calls, child, old, comes);
        } else if comes * WINDOW_S < FEW
            && calls.contains_key(&(call.service.clone(), old.service.clone()))
        {
            call.children.push(old.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use msars_budget::TailFactor;
    use msars_domain::{Chain, EdgeKind, Millis, Percentile, Rate};

    use super::*;

    fn call(service: &str, visits: f64, children: Vec<Call>) -> Call {
        Call {
            service: service.into(),
            visits,
            max_visits: 1,
            kind: EdgeKind::Sequential,
            children,
        }
    }

    /// The catalogue's callees at 20 requests per second.
    fn class(callees: Vec<Call>) -> Class {
        let catalogue = call("catalogue", 1.0, callees);
        Class {
            chain: Chain {
                name: "front".into(),
                root: call("front", 1.0, vec![catalogue]),
                percentile: Percentile::new(0.99).unwrap(),
            },
            rate: Rate::new(20.0).unwrap(),
            objective: Millis::new(400.0).unwrap(),
            tail: TailFactor::ONE,
        }
    }

    #[test]
    fn a_rare_call_stays_for_a_while_and_a_usual_one_goes_at_once() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (often, rarely) = (
            || call("db", 1.0, vec![]),
            || call("reindex", 0.0004, vec![]),
        );
        let mut calls = Calls::new();
        let mut first = class(vec![often(), rarely()]);
        keep(&mut calls, &mut first, None, at(0));
        let mut last = first;
        // (second, what is seen; what counts)
        let table: [(i64, Vec<Call>, &[&str]); 4] = [
            (150, vec![often()], &["db", "reindex"]),
            (1800, vec![often()], &["db", "reindex"]),
            (1801, vec![often()], &["db"]),
            (1850, vec![rarely()], &["reindex"]),
        ];
        for (second, seen, wanted) in table {
            let mut next = class(seen);
            keep(&mut calls, &mut next, Some(&last.chain.root), at(second));
            let children = &next.chain.root.children[0].children;
            let found: Vec<&str> = children
                .iter()
                .map(|child| child.service.as_str())
                .collect();
            assert_eq!(found, wanted, "{second}");
            last = next;
        }
    }
}
