//! End-to-end latency of entry workloads against their objectives.

mod budget;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use msars_domain::{Millis, ObjectKey, Percentile, Reading, Unknown};

use crate::answer::instant;
use crate::histogram::{Buckets, enough};
use crate::preset::{Matcher, Preset, WorkloadFrom};
use crate::promql::{Ask, Keys, conditions, one_of, select, span};
use crate::signals::{Problem, bounds, buckets, count, key, numbers, problems, reading};
use crate::{Answers, Windows};

pub use budget::{BudgetReading, Budgeted, Budgets, assemble_budgets, budget_queries};

/// An entry workload with its objective.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The Deployment that users call.
    pub workload: ObjectKey,
    /// Share of requests that must keep the target.
    pub percentile: Percentile,
    /// The latency to keep.
    pub target: Millis,
}

/// How an entry workload did over a window.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryReading {
    /// The Deployment.
    pub workload: ObjectKey,
    /// Latency at the objective's percentile; unknown but for the largest finite bound where it lies above that.
    pub quantile: Reading<Millis>,
    /// Share of requests within the target, 0 to 1, failed ones included like any other.
    pub attainment: Reading<f64>,
    /// Number of requests.
    pub requests: Reading<f64>,
    /// `le` of the buckets on both sides of the target, and of all requests: a share over another window needs no
    /// others. Empty without buckets.
    pub bounds: BTreeSet<String>,
}

impl EntryReading {
    /// How many times faster than allowed the objective's budget is used up: 1 uses it up exactly. `TooFewSamples`
    /// where a handful of slow requests would decide.
    pub fn burn_rate(&self, percentile: Percentile) -> Reading<f64> {
        match (&self.attainment, &self.requests) {
            (Reading::Known { value, at }, Reading::Known { value: count, .. }) => {
                if enough(*count, percentile) {
                    Reading::Known {
                        value: percentile.burn_rate(*value),
                        at: *at,
                    }
                } else {
                    Reading::Unknown {
                        why: Unknown::TooFewSamples,
                    }
                }
            }
            (Reading::Unknown { why }, _) | (_, Reading::Unknown { why }) => {
                Reading::Unknown { why: *why }
            }
        }
    }
}

/// Readings of several entries.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Entries {
    /// One for each entry asked, in order.
    pub readings: Vec<EntryReading>,
    /// Queries without a usable answer.
    pub problems: Vec<Problem>,
}

/// Conditions that every series of these entries meets.
fn fixed<'a>(preset: &Preset, entries: impl Iterator<Item = &'a Entry> + Clone) -> Vec<Matcher> {
    let namespaces: BTreeSet<&str> = entries
        .clone()
        .map(|e| e.workload.namespace.as_str())
        .collect();
    let names: BTreeSet<&str> = entries.map(|e| e.workload.name.as_str()).collect();
    let mut fixed = conditions(&preset.labels, Some(&namespaces));
    if let WorkloadFrom::Label(label) = &preset.labels.workload {
        fixed.push(one_of(label, Some(&names)));
    }
    fixed.extend(preset.only.iter().cloned());
    fixed
}

/// The two queries for any number of entries.
pub fn entry_queries(preset: &Preset, entries: &[Entry], window: Duration) -> Vec<(Ask, String)> {
    let keys = Keys::of(&preset.labels).whole();
    let fixed = fixed(preset, entries.iter());
    let request = &preset.requests;
    let bucket = select(
        &format!("{}_bucket", request.metric),
        fixed.iter().chain(&request.matchers),
    );
    let (metric, own) = count(preset.counter.as_ref(), request);
    let newest = format!("timestamp({})", select(&metric, fixed.iter().chain(&own)));
    vec![
        (
            Ask::Buckets,
            keys.grouped(
                "sum",
                &format!("increase({bucket}[{}])", span(window)),
                &["le"],
            ),
        ),
        (Ask::Alive, keys.grouped("max", &newest, &[])),
    ]
}

/// Reads the answers to [`entry_queries`]. Pure.
pub fn assemble_entries(
    preset: &Preset,
    entries: &[Entry],
    windows: &Windows,
    now: Timestamp,
    answers: &Answers,
) -> Entries {
    let keys = Keys::of(&preset.labels).whole();
    let histograms = buckets(answers, Ask::Buckets, &keys);
    let newest = numbers(answers, Ask::Alive, &keys);
    let all = bounds(answers, Ask::Buckets, &keys);
    let ms = preset.requests.unit.ms();
    let one = |entry: &Entry| {
        let at = newest.as_ref().map_err(|why| *why).and_then(|table| {
            let row = table
                .get(&key(&entry.workload))
                .and_then(|r| r.values().next());
            let at = instant(*row.ok_or(Unknown::NoSeries)?).ok_or(Unknown::NotANumber)?;
            let age = now.duration_since(at).as_secs_f64();
            if age > windows.stale().as_secs_f64() {
                return Err(Unknown::Stale);
            }
            Ok(at)
        });
        let found: Result<&Buckets, Unknown> = match &histograms {
            Err(why) => Err(*why),
            Ok(table) => match table
                .get(&key(&entry.workload))
                .and_then(|r| r.values().next())
            {
                None => Err(Unknown::NoSeries),
                Some(histogram) => histogram.as_ref().map_err(|why| *why),
            },
        };
        let quantile = found.and_then(|h| {
            let quantile = h
                .quantile(entry.percentile)
                .filter(|_| enough(h.count(), entry.percentile));
            let quantile = quantile.ok_or(Unknown::TooFewSamples)?;
            let value = quantile.value * ms;
            if quantile.saturated {
                let least = Millis::new(value).map_err(|_negative| Unknown::NotANumber)?;
                return Err(Unknown::Saturated { least });
            }
            Ok(value)
        });
        let within = found.and_then(|h| {
            h.share_within(entry.target.get() / ms)
                .filter(|_| h.count() >= 1.0)
                .ok_or(Unknown::TooFewSamples)
        });
        EntryReading {
            workload: entry.workload.clone(),
            quantile: reading(quantile, at, Millis::new),
            attainment: reading(within, at, Ok::<f64, Unknown>),
            requests: reading(found.map(Buckets::count), at, Ok::<f64, Unknown>),
            bounds: all
                .get(&key(&entry.workload))
                .map(|all| near(all, entry.target.get() / ms))
                .unwrap_or_default(),
        }
    };
    Entries {
        readings: entries.iter().map(one).collect(),
        problems: problems(answers),
    }
}

/// Of these bounds as text: the largest up to `target`, the smallest above it, and the infinite one. One that can't be
/// read is left out.
fn near(all: &BTreeSet<&str>, target: f64) -> BTreeSet<String> {
    let read = || {
        all.iter()
            .filter_map(|le| Some((*le, le.parse::<f64>().ok()?)))
    };
    let below = read().map(|(_, bound)| bound).filter(|b| *b <= target);
    let above = read().map(|(_, bound)| bound).filter(|b| *b > target);
    let ends = [
        below.fold(f64::NEG_INFINITY, f64::max),
        above.fold(f64::INFINITY, f64::min),
        f64::INFINITY,
    ];
    read()
        .filter(|(_, bound)| ends.iter().any(|end| bound.total_cmp(end).is_eq()))
        .map(|(le, _)| le.to_owned())
        .collect()
}

#[cfg(test)]
mod tests;
