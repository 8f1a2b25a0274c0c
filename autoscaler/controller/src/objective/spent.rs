//! Error budgets over the objectives' windows.

use jiff::Timestamp;
use msars_api::crd::ErrorBudget;
use msars_domain::ObjectKey;
use msars_observe::{BudgetReading, Budgeted, EntryReading};

use super::Objectives;
use super::application::Application;
use super::assemble::round;
use super::look::entry;

/// Seconds between two questions about one error budget: it is spent over days, and asking reads all of them.
const EVERY_S: f64 = 300.0;
/// Objectives asked about at once: Prometheus reads some 170,000 samples of a month per bucket and pod. Those that
/// waited longest come first; of thousands of objectives each has its turn within the hour.
const AT_ONCE: usize = 50;

/// What one question found, by objective.
pub(super) type Found = Vec<(ObjectKey, ErrorBudget)>;

/// What is left of an error budget. None where too little was measured. Pure.
fn left(application: &Application, reading: &BudgetReading, now: Timestamp) -> Option<ErrorBudget> {
    let attainment = *reading.attainment.value()?;
    let spent = application.target.burn_rate(attainment);
    Some(ErrorBudget {
        target: round(application.target.get(), 6),
        attainment: round(attainment, 6),
        requests: reading.requests.value()?.round(),
        left: round(1.0 - spent, 3),
        hours: round(reading.covered.value()?.as_secs_f64() / 3600.0, 1),
        at: now.to_string(),
    })
}

impl Objectives {
    /// Takes in the last answer about error budgets, and asks about those whose turn it is, beside the rounds: a month
    /// of samples takes Prometheus longer than a held revision's split may wait.
    pub(super) fn budgets(&mut self, applications: &[Application], entries: &[EntryReading]) {
        while let Some(ended) = self.asking.try_join_next() {
            match ended {
                Ok(found) => {
                    for (key, budget) in found {
                        if let Some(memory) = self.memory.get_mut(&key) {
                            memory.budget = Some(budget);
                        }
                    }
                }
                Err(error) => tracing::error!(%error, "asking for error budgets failed"),
            }
        }
        if !self.asking.is_empty() {
            return;
        }
        let now = (self.now)();
        let asked = |application: &Application| {
            let memory = self.memory.get(&application.key);
            memory.and_then(|memory| memory.budgeted)
        };
        // An entry without buckets has nothing to be counted by.
        let seen = applications.iter().zip(entries);
        let mut wanted: Vec<(&Application, Budgeted)> = seen
            .filter(|(application, reading)| {
                let old = |at: Timestamp| now.duration_since(at).as_secs_f64() >= EVERY_S;
                !reading.bounds.is_empty() && asked(application).is_none_or(old)
            })
            .map(|(application, reading)| {
                let budgeted = Budgeted {
                    entry: entry(application),
                    window: application.window,
                    bounds: reading.bounds.clone(),
                };
                (application, budgeted)
            })
            .collect();
        wanted.sort_by_key(|(application, _)| asked(application));
        wanted.truncate(AT_ONCE);
        if wanted.is_empty() {
            return;
        }
        for (application, _) in &wanted {
            let memory = self.memory.entry(application.key.clone()).or_default();
            memory.budgeted = Some(now);
        }
        let (observer, clock) = (self.observer.clone(), self.now);
        let (applications, budgeted): (Vec<Application>, Vec<Budgeted>) = wanted
            .into_iter()
            .map(|(application, budgeted)| (application.clone(), budgeted))
            .unzip();
        self.asking.spawn(async move {
            let read = observer.budgets(&budgeted, now).await;
            for problem in &read.problems {
                tracing::warn!(ask = ?problem.ask, category = problem.category, message = problem.message, "an error budget is not known");
            }
            let found = applications.iter().zip(&read.readings);
            found
                .filter_map(|(application, reading)| {
                    let budget = left(application, reading, clock())?;
                    Some((application.key.clone(), budget))
                })
                .collect()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use msars_domain::{Percentile, Reading, Unknown};

    use super::super::tests::application;
    use super::*;

    #[test]
    fn a_budget_is_that_of_the_attainment_asked_for() {
        let known = |value| Reading::Known {
            value,
            at: Timestamp::UNIX_EPOCH,
        };
        for (target, attainment, wanted) in [
            (0.99, 1.0, 1.0),
            (0.99, 0.995, 0.5),
            (0.99, 0.99, 0.0),
            (0.99, 0.97, -2.0),
            (0.95, 0.97, 0.4),
        ] {
            let mut application = application("front-end", &["front-end"]);
            application.target = Percentile::new(target).unwrap();
            let mut reading = BudgetReading {
                workload: ObjectKey::new("shop", "front-end"),
                attainment: known(attainment),
                requests: known(1000.4),
                covered: Reading::Known {
                    value: Duration::from_mins(90),
                    at: Timestamp::UNIX_EPOCH,
                },
            };
            let budget = left(&application, &reading, Timestamp::UNIX_EPOCH).unwrap();
            assert!((budget.left - wanted).abs() < 1e-9, "{budget:?}");
            assert!((budget.hours - 1.5).abs() < 1e-9 && (budget.requests - 1000.0).abs() < 1e-9);
            reading.attainment = Reading::Unknown {
                why: Unknown::TooFewSamples,
            };
            assert_eq!(left(&application, &reading, Timestamp::UNIX_EPOCH), None);
        }
    }
}
