//! Room for what a profile's copy sends on.

use msars_domain::{MilliCpu, Rate};

use super::super::board::Board;
use super::super::room::{Quotas, Served};
use super::*;

/// One pod of this limit.
pub(crate) fn lone(limit: u32) -> Quotas {
    Quotas {
        total: MilliCpu(limit),
        pods: 1,
    }
}

pub(crate) fn rate(value: f64) -> Rate {
    Rate::new(value).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The catalogue calls its database twice per request; that serves 20/s of a millisecond each.
pub(crate) fn hosted_board() -> Board {
    let board = Board::default();
    board.with(|posted| {
        let callees = BTreeMap::from([(key("db"), 2.0)]);
        posted.callees.insert(key("catalogue"), callees);
        let served = Served {
            rate: 20.0,
            work: 1e-3,
        };
        posted.serve([(key("db"), Some(served))].into_iter());
    });
    board
}

/// The same, whose database the orders call once per request as well.
fn two_callers() -> Board {
    let board = hosted_board();
    board.with(|posted| {
        let callees = BTreeMap::from([(key("db"), 1.0)]);
        posted.callees.insert(key("orders"), callees);
    });
    board
}

#[tokio::test]
async fn callees_are_asked_to_grow_for_a_new_profile_once_and_have_room_when_they_did() {
    let board = hosted_board();
    let asked = || {
        let wait = std::time::Duration::from_millis(1);
        tokio::time::timeout(wait, board.asked.notified())
    };
    assert_eq!(board.guests(&key("db"), 20.0), None);
    let profiling = BTreeMap::from([(key("catalogue"), Some(rate(20.0)))]);
    board.set_profiling(profiling.clone(), at(0));
    assert!(asked().await.is_ok());
    board.set_profiling(profiling, at(1));
    assert!(asked().await.is_err(), "only once");
    // Pods that carry the load and the guests at their limits' end are full to 0.7 with 40/s more.
    let guests = board.guests(&key("db"), 20.0).unwrap().get();
    assert!((guests - (60.0 / 0.7 - 20.0)).abs() < 1e-9, "{guests}");
    assert_eq!(board.guests(&key("front-end"), 20.0), None);
    assert_eq!(board.most(&key("catalogue")), None, "no limits are known");
    for (limit, wanted) in [(40, 2.192), (86, 20.1)] {
        board.set_limits(|found| (*found == key("db")).then(|| lone(limit)));
        let (most, by) = board.most(&key("catalogue")).unwrap();
        assert!((most.get() - wanted).abs() < 1e-3, "{most:?}");
        assert_eq!(by, key("db"));
    }
    board.set_profiling(BTreeMap::new(), at(2));
    assert_eq!(board.guests(&key("db"), 20.0), None);
    assert!(asked().await.is_err());
}

#[test]
fn two_profiles_bring_what_both_bring() {
    let board = two_callers();
    let profiling = [
        ("catalogue", Some(20.0)),
        ("orders", Some(30.0)),
        ("db", None),
    ];
    let profiling = profiling.map(|(name, most)| (key(name), most.map(rate)));
    board.set_profiling(BTreeMap::from(profiling), at(0));
    let guests = board.guests(&key("db"), 20.0).unwrap().get();
    assert!((guests - (90.0 / 0.7 - 20.0)).abs() < 1e-9, "{guests}");
}

#[test]
fn two_copies_share_the_room_of_a_callee_by_what_they_wish_of_it() {
    let board = two_callers();
    let most = |name: &str| board.most(&key(name)).unwrap().0.get();
    let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-9, "{found}");
    let profile = |wishes: &[(&str, f64)]| {
        let wishes = wishes.iter();
        let profiling = wishes.map(|(name, wished)| (key(name), Some(rate(*wished))));
        board.set_profiling(profiling.collect(), at(0));
        // Room for 50/s.
        board.set_limits(|found| (*found == key("db")).then(|| lone(100)));
    };
    profile(&[("catalogue", 20.0)]);
    near(most("catalogue"), 25.0);
    profile(&[("catalogue", 20.0), ("orders", 10.0)]);
    // Four fifths of what both bring are the catalogue's.
    near(most("catalogue"), 20.0);
    near(most("orders"), 10.0);
    near(most("catalogue") * 2.0 + most("orders"), 50.0);
}
