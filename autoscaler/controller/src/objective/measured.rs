//! What was measured of an objective, and when that is worth a write. Pure.

use jiff::Timestamp;
use msars_api::crd::{ErrorBudget, Observed, ServiceLevelObjectiveStatus};
use msars_domain::Percentile;

use super::application::Application;

/// What was measured and says nothing new is written at most so often.
const MEASURED_EVERY_S: f64 = 300.0;

/// What was measured of an objective, and of which one.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The objective.
    pub application: &'a Application,
    /// The last measured window.
    pub entry: Option<Observed>,
    /// The error budget.
    pub budget: Option<ErrorBudget>,
    /// When.
    pub now: Timestamp,
}

impl Seen<'_> {
    /// Whether a status does not say it yet, and it means something else or the stored is old.
    pub(super) fn news(&self, status: &ServiceLevelObjectiveStatus) -> bool {
        let percentile = self.application.percentile;
        let entry = self.entry.as_ref().is_some_and(|entry| {
            status.observed.as_ref().is_none_or(|stored| {
                stored.at != entry.at
                    && (old(&stored.at, self.now)
                        || kept(stored, percentile) != kept(entry, percentile))
            })
        });
        let budget = self.budget.as_ref().is_some_and(|budget| {
            status.error_budget.as_ref().is_none_or(|stored| {
                let spent = |budget: &ErrorBudget| budget.left < 0.0;
                stored.at != budget.at
                    && (old(&stored.at, self.now) || spent(stored) != spent(budget))
            })
        });
        entry || budget
    }

    /// Writes it into a status; what was not measured stays.
    pub(super) fn write(&self, status: &mut ServiceLevelObjectiveStatus) {
        if self.entry.is_some() {
            status.observed.clone_from(&self.entry);
        }
        if self.budget.is_some() {
            status.error_budget.clone_from(&self.budget);
        }
    }
}

fn old(at: &str, now: Timestamp) -> bool {
    at.parse::<Timestamp>().map_or(true, |at| {
        now.duration_since(at).as_secs_f64() >= MEASURED_EVERY_S
    })
}

/// What a measured window means: whether the objective is broken, and whether its budget burns fast.
fn kept(observed: &Observed, percentile: Percentile) -> Option<(bool, bool)> {
    let attainment = observed.attainment?;
    let broken = percentile.burn_rate(attainment) > 1.0;
    Some((broken, percentile.burns_fast(attainment)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::application;
    use super::*;

    #[test]
    fn what_was_measured_is_news_when_it_means_something_else_or_the_stored_is_old() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let application = application("front-end", &["front-end"]);
        let seen = |attainment, left, seconds| Seen {
            application: &application,
            entry: Some(Observed {
                quantile_ms: None,
                attainment: Some(attainment),
                requests: 100.0,
                at: at(seconds).to_string(),
            }),
            budget: Some(ErrorBudget {
                target: 0.99,
                attainment,
                requests: 1e6,
                left,
                hours: 720.0,
                at: at(seconds).to_string(),
            }),
            now: at(seconds),
        };
        let mut status = ServiceLevelObjectiveStatus::default();
        assert!(seen(0.995, 0.5, 0).news(&status));
        seen(0.995, 0.5, 0).write(&mut status);
        for (seen, wanted) in [
            (seen(0.996, 0.4, 60), false),
            (seen(0.98, 0.5, 60), true),
            (seen(0.80, 0.5, 60), true),
            (seen(0.995, -0.1, 60), true),
            (seen(0.996, 0.5, 301), true),
        ] {
            assert_eq!(seen.news(&status), wanted, "{seen:?}");
        }
        // Nothing was measured since, however long ago that is.
        let mut gap = seen(0.995, 0.5, 0);
        gap.now = at(3600);
        assert!(!gap.news(&status));
    }
}
