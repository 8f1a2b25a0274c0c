//! What a run must show to be called good. Pure.

use crate::births::{Birth, size};
use crate::report::{Bar, Report, Revision};
use crate::{takeover, truth};

/// Fewest revisions released as profiled.
const PROFILED: usize = 2;
/// Fewest points of each.
const POINTS: usize = 6;
/// Fewest sizes of each.
const SIZES: usize = 2;
/// Longest median hold, seconds.
const HOLD_S: f64 = 60.0;
/// Fewest requests.
const REQUESTS: u64 = 2_000;
/// Largest share of failed requests.
const FAILED: f64 = 0.001;

/// The middle of values, the mean of the two in the middle; none of nothing.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied()?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = values.get(middle.checked_sub(1)?).copied()?;
    Some(f64::midpoint(lower, upper))
}

/// Whether a slower revision got more time, and a faster one no larger pods than those that ran at its release.
fn moved(revision: &Revision) -> (String, bool) {
    let of = |map: &std::collections::BTreeMap<String, f64>| map.get(&revision.workload).copied();
    let (Some(before), Some(after)) = (of(&revision.budgets_before), of(&revision.budgets_after))
    else {
        return (format!("{}: no budget", revision.image), false);
    };
    let slower = revision.work_true_ms > revision.work_before_ms;
    // The cheapest split may run a faster version at a smaller size, where the quota leaves it a longer tail: its time
    // says nothing, its size does. Its pods are born no smaller than those that run, which the live load then shrinks.
    let no_larger = |size: Option<u32>| {
        let known = size.zip(revision.size_running);
        known.is_some_and(|(size, running)| size <= running)
    };
    let good = if slower {
        after > before
    } else {
        no_larger(revision.size_split) && no_larger(revision.size_wanted)
    };
    let word = if slower { "slower" } else { "faster" };
    let found = format!(
        "{} ({word}): {before:.1} → {after:.1} ms; the split wants {}, its pods {}, {} ran before",
        revision.image,
        size(revision.size_split),
        size(revision.size_wanted),
        size(revision.size_running)
    );
    (found, good)
}

/// Every demand on a run.
pub fn judge(report: &Report) -> Vec<Bar> {
    let bar = |wanted: String, found: String, met: bool| Bar { wanted, found, met };
    let all = &report.revisions;
    let profiled = all.iter().filter(|r| r.released_by == "profiled").count();
    let words: Vec<&str> = all.iter().map(|r| r.released_by.as_str()).collect();
    let measured: Vec<String> = all
        .iter()
        .map(|r| format!("{} at {}", r.points, r.sizes.len()))
        .collect();
    let enough = |r: &Revision| r.points >= POINTS && r.sizes.len() >= SIZES;
    let budgets: Vec<(String, bool)> = all.iter().map(moved).collect();
    let texts: Vec<&str> = budgets.iter().map(|(text, _)| text.as_str()).collect();
    let hold = median(all.iter().filter(|r| r.held).map(|r| r.hold_s).collect());
    let born = |r: &Revision| !r.births.is_empty() && r.births.iter().all(Birth::fits);
    let sizes: Vec<String> = all
        .iter()
        .map(|r| {
            let born: Vec<String> = r.births.iter().map(Birth::told).collect();
            format!("{}: {}", r.image, several(&born))
        })
        .collect();
    let requests = report.requests;
    let lost = requests.failed + requests.dropped;
    let share = lost as f64 / (requests.sent + requests.dropped).max(1) as f64;
    let undo = report.undo.as_ref();
    vec![
        bar(
            format!("at least {PROFILED} revisions released as profiled"),
            format!("{profiled} ({})", words.join(", ")),
            profiled >= PROFILED,
        ),
        bar(
            format!("at least {POINTS} points at {SIZES} sizes each"),
            measured.join(", "),
            !all.is_empty() && all.iter().all(enough),
        ),
        truth::bar(all),
        bar(
            "a slower version gets more of the objective, a faster one no larger pods".to_owned(),
            texts.join("; "),
            !all.is_empty() && budgets.iter().all(|(_, good)| *good),
        ),
        bar(
            "new pods are born with the size that is wanted at that moment".to_owned(),
            sizes.join("; "),
            !all.is_empty() && all.iter().all(born),
        ),
        bar(
            format!("median hold at most {HOLD_S:.0} s"),
            hold.map_or("no hold".to_owned(), |hold| format!("{hold:.1} s")),
            hold.is_some_and(|hold| hold <= HOLD_S),
        ),
        bar(
            "the undo is not held".to_owned(),
            undo.map_or("no undo".to_owned(), |undo| {
                format!("held: {}, complete after {:.1} s", undo.held, undo.seconds)
            }),
            undo.is_some_and(|undo| !undo.held),
        ),
        bar(
            format!(
                "at most {:.1} % of at least {REQUESTS} requests failed",
                FAILED * 100.0
            ),
            format!(
                "{} failed and {} dropped of {} ({:.3} %)",
                requests.failed,
                requests.dropped,
                requests.sent,
                share * 100.0
            ),
            requests.sent >= REQUESTS && share <= FAILED,
        ),
        bar(
            "at least one resize in place and no container restarted".to_owned(),
            format!(
                "{} in place, {} deferred, {} containers restarted",
                report.resizes.in_place, report.resizes.deferred, report.resizes.container_restarts
            ),
            report.resizes.in_place > 0 && report.resizes.container_restarts == 0,
        ),
        followed(report),
        takeover::bar(report.adoption.as_ref()),
        bar(
            "replicas, sizes and holds agree with the API server's log".to_owned(),
            format!("{} contradictions", report.contradictions.len()),
            report.contradictions.is_empty(),
        ),
        bar(
            "nothing unexpected".to_owned(),
            format!("{} things", report.unexpected.len()),
            report.unexpected.is_empty(),
        ),
    ]
}

/// Whether replicas rose in the surge and fell after it.
fn followed(report: &Report) -> Bar {
    let scales = |rising: bool, since: f64| {
        let all = report.scaled.iter();
        let of = all.filter(|s| s.at_s >= since && (s.to > s.from) == rising);
        let words: Vec<String> = of
            .map(|s| format!("{} {} → {} at {:.0} s", s.workload, s.from, s.to, s.at_s))
            .collect();
        words
    };
    let (out, back) = report.surge.map_or_else(Default::default, |surge| {
        (scales(true, surge.from_s), scales(false, surge.falls_s))
    });
    Bar {
        wanted: "at least one scale out in the surge and one scale in after it".to_owned(),
        found: format!("out: {}; in: {}", several(&out), several(&back)),
        met: !out.is_empty() && !back.is_empty(),
    }
}

/// Equal neighbours are counted; nothing is `none`.
pub(crate) fn several(words: &[String]) -> String {
    let groups: Vec<String> = words
        .chunk_by(|a, b| a == b)
        .filter_map(|same| {
            let first = same.first()?;
            Some(match same.len() {
                1 => first.clone(),
                count => format!("{count} × {first}"),
            })
        })
        .collect();
    if groups.is_empty() {
        return "none".to_owned();
    }
    groups.join(", ")
}

/// Demands that are not met, as lines.
pub fn missed(bars: &[Bar]) -> Vec<String> {
    bars.iter()
        .filter(|bar| !bar.met)
        .map(|bar| format!("wanted: {}; found: {}", bar.wanted, bar.found))
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{judge, median, missed};
    use crate::births::Birth;
    use crate::report::{Adoption, Report, Requests, Revision, Surge, Undo};
    use crate::scaling::{Resizes, Scaled, Scales};

    fn birth(size: u32) -> Birth {
        Birth {
            at_s: 100.0,
            size: Some(size),
            wanted: vec![400, 450],
        }
    }

    fn scaled(at_s: f64, from: u32, to: u32) -> Scaled {
        Scaled {
            at_s,
            workload: "catalogue".into(),
            from,
            to,
        }
    }

    pub(crate) fn good() -> Report {
        let revision =
            |image: &str, (before, true_ms): (f64, f64), (old, new): (f64, f64)| Revision {
                workload: "catalogue".into(),
                image: image.into(),
                revision: "0123456789abcdef0123".into(),
                held: true,
                hold_s: 55.0,
                hold_s_audit: Some(55.2),
                released_by: "profiled".into(),
                points: 6,
                sizes: vec![200, 400],
                budgets_before: [("catalogue".to_owned(), old), ("user".to_owned(), 10.0)].into(),
                budgets_after: [("catalogue".to_owned(), new), ("user".to_owned(), 9.0)].into(),
                work_before_ms: before,
                work_true_ms: true_ms,
                work_found_ms: Some(true_ms * 1.02),
                size_split: Some(300),
                size_wanted: Some(400),
                size_running: Some(400),
                sizes_born: vec![Some(400), Some(450)],
                births: vec![birth(400), birth(450)],
                ..Revision::default()
            };
        Report {
            revisions: vec![
                revision("shop/catalogue:v2", (2.7, 8.1), (60.0, 90.0)),
                revision("shop/catalogue:v3", (8.1, 1.35), (90.0, 45.0)),
            ],
            undo: Some(Undo {
                held: false,
                seconds: 8.0,
                from_s: 200.0,
            }),
            surge: Some(Surge {
                rate_low: 14.0,
                rate_high: 42.0,
                from_s: 240.0,
                falls_s: 325.0,
                over_s: 340.0,
                replicas: (2, 4, 2),
            }),
            adoption: Some(Adoption {
                workload: "user".into(),
                recommended_replicas: Some(2),
                recommended_written: Some(0),
                adopted_s: Some(14.0),
                stored_before_delete: true,
                returned_s: Some(9.0),
                returned_identical: true,
                ..Adoption::default()
            }),
            resizes: Resizes {
                in_place: 3,
                deferred: 0,
                container_restarts: 0,
            },
            scales: Scales { out: 1, into: 1 },
            scaled: vec![scaled(260.0, 2, 4), scaled(470.0, 4, 2)],
            requests: Requests {
                sent: 5_000,
                failed: 3,
                dropped: 0,
            },
            ..Report::default()
        }
    }

    #[test]
    fn a_good_run_meets_all() {
        assert_eq!(missed(&judge(&good())), Vec::<String>::new());
    }

    #[test]
    fn each_fault_misses_its_own_bar() {
        type Spoil = fn(&mut Report);
        let table: [(&str, Spoil); 25] = [
            ("profiled", |r| {
                r.revisions[0].released_by = "deadline".into();
            }),
            ("points", |r| r.revisions[1].points = 5),
            ("points", |r| r.revisions[1].sizes = vec![200]),
            ("unknown", |r| r.revisions[0].work_found_ms = None),
            ("+11.0 %", |r| {
                r.revisions[0].work_found_ms = Some(8.1 * 1.11);
            }),
            ("slower", |r| {
                _ = r.revisions[0]
                    .budgets_after
                    .insert("catalogue".into(), 60.0);
            }),
            ("slower", |r| r.revisions[1].budgets_after.clear()),
            ("slower", |r| r.revisions[1].size_wanted = Some(450)),
            ("slower", |r| r.revisions[1].size_split = Some(450)),
            ("slower", |r| r.revisions[1].size_split = None),
            ("slower", |r| r.revisions[1].size_running = None),
            ("200m at 100.0 s while 400m or 450m", |r| {
                r.revisions[0].births.push(birth(200));
            }),
            ("born", |r| r.revisions[0].births.clear()),
            ("born", |r| r.revisions[1].births.push(Birth::default())),
            ("median", |r| r.revisions[0].hold_s = 66.0),
            ("undo", |r| r.undo = None),
            ("failed", |r| r.requests.dropped = 3),
            ("resize", |r| r.resizes.in_place = 0),
            ("resize", |r| r.resizes.container_restarts = 1),
            ("out: none", |r| r.scaled[0].at_s = 200.0),
            ("in: none", |r| r.scaled[1].at_s = 300.0),
            ("in: none", |r| r.scaled[1].to = 5),
            ("out: none; in: none", |r| r.surge = None),
            ("agree", |r| r.contradictions.push("x".into())),
            ("unexpected", |r| r.unexpected.push("x".into())),
        ];
        for (word, spoil) in table {
            let mut report = good();
            spoil(&mut report);
            let missed = missed(&judge(&report));
            assert!(
                missed.len() == 1 && missed[0].contains(word),
                "{word}: {missed:?}"
            );
        }
        assert_eq!(missed(&judge(&Report::default())).len(), 11);
    }

    #[test]
    fn each_fault_of_a_takeover_misses_its_bar() {
        type Spoil = fn(&mut Adoption);
        let table: [(&str, Spoil); 7] = [
            ("0 writes", |a| a.recommended_replicas = None),
            ("1 writes", |a| a.recommended_written = Some(1)),
            ("unknown writes", |a| a.recommended_written = None),
            ("gone never", |a| a.adopted_s = None),
            ("stored before: no", |a| a.stored_before_delete = false),
            ("back never", |a| a.returned_s = None),
            ("as it was: no", |a| a.returned_identical = false),
        ];
        for (words, spoil) in table {
            let mut report = good();
            report.adoption.iter_mut().for_each(spoil);
            let missed = missed(&judge(&report));
            assert!(
                missed.len() == 1 && missed[0].contains(words),
                "{words}: {missed:?}"
            );
        }
        let mut report = good();
        report.adoption = None;
        assert!(missed(&judge(&report))[0].contains("no takeover"));
    }

    #[test]
    fn the_median_of_two_is_their_mean() {
        assert_eq!(median(vec![3.0, 1.0]), Some(2.0));
        assert_eq!(median(vec![9.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(Vec::new()), None);
    }
}
