//! Error budgets: how entry workloads did over hours and weeks, as far back as metrics go.
//!
//! A window of weeks reads every sample of it, so that only the buckets around the target are asked for, by
//! [`EntryReading::bounds`](super::EntryReading::bounds), and only of entries: a share of requests needs no others.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use msars_domain::{ObjectKey, Reading, Unknown};

use super::{Entry, fixed};
use crate::Answers;
use crate::answer::instant;
use crate::histogram::Buckets;
use crate::preset::Preset;
use crate::promql::{Ask, Keys, in_window, one_of, select, span};
use crate::signals::{Problem, buckets, count, key, numbers, problems, reading};

/// How finely the window is searched for its oldest sample.
const STEPS: u32 = 720;
/// But not finer than this.
const FINEST: Duration = Duration::from_mins(1);

/// An entry workload with the window of its error budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Budgeted {
    /// The entry.
    pub entry: Entry,
    /// The window.
    pub window: Duration,
    /// `le` of the buckets around the target; those of several entries are asked for together.
    pub bounds: BTreeSet<String>,
}

/// How an entry workload did over the window of its error budget.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetReading {
    /// The Deployment.
    pub workload: ObjectKey,
    /// Share of requests within the target, 0 to 1, failed ones included like any other.
    pub attainment: Reading<f64>,
    /// Number of requests.
    pub requests: Reading<f64>,
    /// How much of the window metrics cover.
    pub covered: Reading<Duration>,
}

/// Readings of several error budgets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Budgets {
    /// One for each entry asked, in order.
    pub readings: Vec<BudgetReading>,
    /// Queries without a usable answer.
    pub problems: Vec<Problem>,
}

/// The two queries for any number of entries, whatever their windows.
pub fn budget_queries(preset: &Preset, asked: &[Budgeted]) -> Vec<(Ask, String)> {
    let keys = Keys::of(&preset.labels).whole();
    let fixed = fixed(preset, asked.iter().map(|one| &one.entry));
    let bounds: BTreeSet<&str> = asked
        .iter()
        .flat_map(|one| &one.bounds)
        .map(String::as_str)
        .collect();
    let near = one_of("le", Some(&bounds));
    let request = &preset.requests;
    let bucket = select(
        &format!("{}_bucket", request.metric),
        fixed.iter().chain(&request.matchers).chain([&near]),
    );
    let windows: BTreeSet<Duration> = asked.iter().map(|one| one.window).collect();
    let counted = windows.iter().map(|window| {
        let counted = format!("increase({bucket}[{}])", span(*window));
        in_window(&keys.grouped("sum", &counted, &["le"]), *window)
    });
    let (metric, own) = count(preset.counter.as_ref(), request);
    let longest = windows.last().copied().unwrap_or_default();
    let oldest = format!(
        "min_over_time(timestamp({})[{}:{}])",
        select(&metric, fixed.iter().chain(&own)),
        span(longest),
        span(FINEST.max(longest / STEPS)),
    );
    vec![
        (Ask::Budget, counted.collect::<Vec<_>>().join(" or ")),
        (Ask::BudgetSince, keys.grouped("min", &oldest, &[])),
    ]
}

/// Reads the answers to [`budget_queries`], asked at `now`. Pure.
pub fn assemble_budgets(
    preset: &Preset,
    asked: &[Budgeted],
    now: Timestamp,
    answers: &Answers,
) -> Budgets {
    let keys = Keys::of(&preset.labels).whole();
    let histograms = buckets(answers, Ask::Budget, &keys.clone().by_window());
    let oldest = numbers(answers, Ask::BudgetSince, &keys);
    let ms = preset.requests.unit.ms();
    let one = |one: &Budgeted| {
        let workload = &one.entry.workload;
        let window = one.window.as_secs().to_string();
        let found: Result<&Buckets, Unknown> = match &histograms {
            Err(why) => Err(*why),
            Ok(table) => match table
                .get(&key(workload))
                .and_then(|windows| windows.get(window.as_str()))
            {
                None => Err(Unknown::NoSeries),
                Some(histogram) => histogram.as_ref().map_err(|why| *why),
            },
        };
        let within = found.and_then(|h| {
            h.share_within(one.entry.target.get() / ms)
                .filter(|_| h.count() >= 1.0)
                .ok_or(Unknown::TooFewSamples)
        });
        let covered = oldest.as_ref().map_err(|why| *why).and_then(|table| {
            let row = table.get(&key(workload)).and_then(|r| r.values().next());
            let since = instant(*row.ok_or(Unknown::NoSeries)?).ok_or(Unknown::NotANumber)?;
            let age = now.duration_since(since).as_secs_f64().max(0.0);
            Ok(age.min(one.window.as_secs_f64()))
        });
        BudgetReading {
            workload: workload.clone(),
            attainment: reading(within, Ok(now), Ok::<f64, Unknown>),
            requests: reading(found.map(Buckets::count), Ok(now), Ok::<f64, Unknown>),
            covered: reading(covered, Ok(now), Duration::try_from_secs_f64),
        }
    };
    Budgets {
        readings: asked.iter().map(one).collect(),
        problems: problems(answers),
    }
}
