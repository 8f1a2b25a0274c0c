//! What a look changes, and what it leaves while a profile's copy is driven.

use msars_budget::TailFactor;
use msars_domain::{Call, Chain, EdgeKind, Percentile, Rate};
use msars_observe::Windows;

use super::super::assemble::Class;
use super::super::classes::{Traffic, Trouble};
use super::super::drift::Live;
use super::super::memory::{Look, Memory};
use super::*;

fn class(rate: f64, visits: f64) -> Class {
    let call = |service: &str, visits, children| Call {
        service: service.into(),
        visits,
        max_visits: 1,
        kind: EdgeKind::Sequential,
        children,
    };
    let db = call("db", visits, vec![]);
    Class {
        chain: Chain {
            name: "front".into(),
            root: call("front", 1.0, vec![db]),
            percentile: Percentile::new(0.99).unwrap(),
        },
        rate: Rate::new(rate).unwrap(),
        objective: ms(400.0),
        tail: TailFactor::ONE,
    }
}

/// A front that takes 20 ms, a database that takes `db` ms and, end to end, half of both.
fn look(rate: f64, db: f64) -> Look {
    let live = Live {
        revision: "v1".into(),
        profiled: "v1".into(),
        work_ms: db,
        profile_ms: 10.0,
    };
    Look {
        traffic: Ok(Traffic {
            classes: vec![class(rate, db / 10.0)],
            elsewhere: BTreeMap::from([("db".to_owned(), Rate::new(db).unwrap())]),
        }),
        times: BTreeMap::from([("front".to_owned(), ms(20.0)), ("db".to_owned(), ms(db))]),
        live: BTreeMap::from([("db".to_owned(), live)]),
        quantile_ms: Some((20.0 + db) * 0.5),
        at: Timestamp::UNIX_EPOCH,
    }
}

/// Rate, what comes from elsewhere, visits, tail factor, the database's time and its work.
fn taken(memory: &Memory) -> String {
    let [class] = &memory.classes[..] else {
        panic!("{memory:?}");
    };
    format!(
        "{}/s and {}/s from elsewhere {} calls factor {} {} of {} ms work",
        class.rate.get(),
        memory.elsewhere["db"].get(),
        class.chain.root.children[0].visits,
        class.tail.get(),
        memory.observed["db"],
        memory.live["db"].work_ms,
    )
}

#[test]
fn a_copys_load_moves_nothing_but_the_users_rate() {
    let front = application("front", &["front", "db"]);
    let mut memory = Memory::default();
    memory.take(look(40.0, 10.0), &front, false);
    let before = "40/s and 10/s from elsewhere 1 calls factor 0.5 10.0 ms of 10 ms work";
    assert_eq!(taken(&memory), before);
    let strained = || Look {
        quantile_ms: Some(200.0),
        ..look(60.0, 90.0)
    };
    memory.take(strained(), &front, true);
    assert_eq!(taken(&memory), before.replace("40/s", "60/s"));
    // What is declared is no measurement, and what comes by none of it is counted anew.
    let now = "60/s and 90/s from elsewhere 9 calls factor 0.5 10.0 ms of 10 ms work";
    let mut declared = front.clone();
    let chain = json!({"name": "front", "share": 1.0, "calls": []});
    declared.chains = vec![serde_json::from_value(chain).unwrap()];
    memory.take(strained(), &declared, true);
    assert_eq!(taken(&memory), now);
    // A gap changes no one's calls.
    let gap = Look {
        traffic: Err(Trouble::Unseen("no requests".into())),
        ..look(1.0, 10.0)
    };
    memory.take(gap, &front, true);
    assert_eq!(taken(&memory), now);
    assert_eq!(memory.trouble, Some(Trouble::Unseen("no requests".into())));
    memory.take(look(30.0, 60.0), &front, false);
    assert_eq!(
        taken(&memory),
        "30/s and 60/s from elsewhere 6 calls factor 0.5 60.0 ms of 60 ms work"
    );
    assert_eq!(memory.trouble, None);
}

#[test]
fn what_one_look_does_not_show_stays() {
    let front = application("front", &["front", "db"]);
    let mut memory = Memory::default();
    memory.take(look(40.0, 10.0), &front, false);
    // Too few requests at night for a quantile, and no CPU read.
    let night = Look {
        quantile_ms: None,
        live: BTreeMap::new(),
        ..look(2.0, 10.0)
    };
    memory.take(night, &front, false);
    assert_eq!(
        taken(&memory),
        "2/s and 10/s from elsewhere 1 calls factor 0.5 10.0 ms of 10 ms work"
    );
}

#[test]
fn while_nothing_is_measured_times_stay_what_they_were() {
    let front = application("front", &["front", "db"]);
    let night = || Look {
        times: BTreeMap::new(),
        quantile_ms: None,
        ..look(2.0, 10.0)
    };
    let gap = || Look {
        traffic: Err(Trouble::Unseen("no requests".into())),
        times: BTreeMap::from([("front".to_owned(), ms(30.0))]),
        ..night()
    };
    let mut memory = Memory::default();
    memory.take(look(40.0, 10.0), &front, false);
    memory.take(night(), &front, false);
    let known = |memory: &Memory| (memory.observed["front"], memory.observed["db"]);
    assert_eq!(known(&memory), (ms(20.0), ms(10.0)));
    // One that is measured tells of the others, whether or not calls are seen.
    memory.take(gap(), &front, false);
    assert_eq!(known(&memory), (ms(30.0), ms(30.0)));
}

#[test]
fn a_new_leader_counts_with_the_tail_factor_that_is_stored_until_it_is_told_another() {
    let mut front = application("front", &["front", "db"]);
    let chain = json!({"name": "front", "method": "dp", "reason": "", "tailFactor": 0.5, "feasible": true, "tookMs": 1.0,
        "at": "", "services": []});
    let mut slo = (*front.stored).clone();
    slo.status = serde_json::from_value(json!({"chains": [chain]})).unwrap();
    front.stored = Arc::new(slo);
    let night = || Look {
        quantile_ms: None,
        ..look(2.0, 10.0)
    };
    let mut memory = Memory::default();
    memory.take(night(), &front, false);
    assert_eq!(memory.classes[0].tail, TailFactor::new(0.5).unwrap());
    memory.take(look(40.0, 40.0), &front, false);
    let told = memory.classes[0].tail;
    memory.take(night(), &front, false);
    assert_eq!(memory.classes[0].tail, told);
    // Of another chain it says nothing.
    let mut other = (*front.stored).clone();
    other.status.as_mut().unwrap().chains[0].name = "other".into();
    front.stored = Arc::new(other);
    let mut memory = Memory::default();
    memory.take(night(), &front, false);
    assert_eq!(memory.classes[0].tail, TailFactor::ONE);
}

#[test]
fn a_leader_that_remembers_nothing_takes_what_it_sees() {
    let front = application("front", &["front", "db"]);
    let mut memory = Memory::default();
    memory.take(look(40.0, 90.0), &front, true);
    assert_eq!(
        taken(&memory),
        "40/s and 90/s from elsewhere 9 calls factor 0.5 90.0 ms of 90 ms work"
    );
}

#[test]
fn windows_hold_a_copys_load_until_the_longest_is_over() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut memory = Memory::default();
    let windows = Windows::default();
    assert!(!memory.loaded(&windows, at(0)));
    memory.profiled = Some(at(100));
    // 120 s, a scrape and its delay.
    for (second, wanted) in [(100, true), (237, true), (238, false)] {
        assert_eq!(memory.loaded(&windows, at(second)), wanted, "{second}");
    }
}

#[test]
fn what_is_asked_follows_the_objective_while_nothing_is_seen() {
    let mut front = application("front", &["front", "db"]);
    let mut memory = Memory::default();
    memory.take(look(40.0, 10.0), &front, false);
    front.objective = ms(200.0);
    front.percentile = Percentile::new(0.95).unwrap();
    memory.ask(&front);
    let class = &memory.classes[0];
    assert_eq!(class.objective, ms(200.0));
    assert_eq!(class.chain.percentile, front.percentile);
}
