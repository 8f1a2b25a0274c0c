//! The way out: before the size in force is forgotten, there are enough pods of the template's size.

use jiff::Timestamp;
use msars_domain::{Action, Observation};

use crate::{Fleet, Limits, State, facts::Facts, shield::Shield};

/// Replicas to set before leaving (`mode: off`, `drain`, uninstall), so that pods born at the template's size carry
/// the last known peak. Only ever more, within the maximum and the quota; nothing when profile or load are unknown.
/// The rate policies do not apply: leaving is one step.
pub fn leave(now: Timestamp, seen: &Observation, state: &State, limits: &Limits) -> Vec<Action> {
    let Ok(facts) = Facts::new(now, seen, state, limits) else {
        return Vec::new();
    };
    let known = |r: &msars_domain::Reading<msars_domain::Rate>| r.value().map(|r| r.get());
    let signals = &seen.signals;
    let measured = [known(&signals.rate), known(&signals.peak_rate)];
    let remembered = state.load.map(|l| l.rate.get());
    let Some(peak) = measured
        .into_iter()
        .flatten()
        .reduce(f64::max)
        .or(remembered)
    else {
        return Vec::new();
    };
    let each = facts.carries(seen.template.size()).max(f64::MIN_POSITIVE);
    let need = peak * (1.0 + limits.headroom);
    let (_, most) = facts.bounds();
    let wanted = (need / each).ceil().min(f64::from(most)) as u32;
    let shield = Shield {
        now,
        seen,
        limits,
        facts: Some(&facts),
        current: facts.current,
        peak: Some(peak),
        need: Some(need),
        floor: 0,
        frozen: false,
        proven: false,
    };
    let fits = |replicas: &u32| {
        shield.fits_quota(Fleet {
            replicas: *replicas,
            size: seen.template.size().min(facts.current.size),
        })
    };
    let replicas = (seen.replicas + 1..=wanted).take_while(fits).last();
    match replicas.filter(|_| seen.replicas > 0 && seen.wishes.acts && seen.rival.is_none()) {
        Some(to) => vec![Action::Scale {
            target: signals.workload.clone(),
            from: seen.replicas,
            to,
        }],
        None => Vec::new(),
    }
}
