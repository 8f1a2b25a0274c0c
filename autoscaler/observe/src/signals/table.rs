//! Answers as tables by workload.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use msars_domain::{ObjectKey, Unknown};

use crate::answer::Sample;
use crate::histogram::Buckets;
use crate::promql::Keys;
use crate::signals::Problem;
use crate::{Answers, Ask};

/// Values by workload and revision (empty where the preset knows none), or why the whole answer is missing.
pub(crate) type Table<'a, T> = Result<HashMap<Key<'a>, BTreeMap<&'a str, T>>, Unknown>;

/// Namespace and name.
pub(crate) type Key<'a> = (&'a str, &'a str);

pub(crate) fn key(workload: &ObjectKey) -> Key<'_> {
    (&workload.namespace, &workload.name)
}

/// The rows of one answer: `NoSeries` if it was not asked, `Unreachable` if it failed or is partial.
pub(crate) fn rows(answers: &Answers, ask: Ask) -> Result<&[Sample], Unknown> {
    match answers.get(&ask) {
        None => Err(Unknown::NoSeries),
        Some(Ok(answer)) if !answer.partial() => Ok(&answer.samples),
        Some(_) => Err(Unknown::Unreachable),
    }
}

fn place<'a>(sample: &'a Sample, keys: &Keys<'_>) -> Option<(Key<'a>, &'a str)> {
    let label = |name: &str| sample.labels.get(name).map(String::as_str);
    let workload = (label(keys.namespace)?, label(keys.workload)?);
    let revision = keys.revision.and_then(label).unwrap_or_default();
    Some((workload, revision))
}

/// One number by workload and revision.
pub(crate) fn numbers<'a>(answers: &'a Answers, ask: Ask, keys: &Keys<'_>) -> Table<'a, f64> {
    let mut out: HashMap<Key<'_>, BTreeMap<&str, f64>> = HashMap::new();
    for sample in rows(answers, ask)? {
        if let Some((workload, revision)) = place(sample, keys) {
            out.entry(workload)
                .or_default()
                .insert(revision, sample.value);
        }
    }
    Ok(out)
}

/// Bounds as text and counts, by revision.
type Raw<'a> = BTreeMap<&'a str, Vec<(&'a str, f64)>>;

/// One histogram by workload and revision, or why its rows make none.
pub(crate) fn buckets<'a>(
    answers: &'a Answers,
    ask: Ask,
    keys: &Keys<'_>,
) -> Table<'a, Result<Buckets, Unknown>> {
    let mut raw: HashMap<Key<'_>, Raw<'_>> = HashMap::new();
    for sample in rows(answers, ask)? {
        let (Some((workload, revision)), Some(le)) = (place(sample, keys), sample.labels.get("le"))
        else {
            continue;
        };
        raw.entry(workload)
            .or_default()
            .entry(revision)
            .or_default()
            .push((le, sample.value));
    }
    let made = raw.into_iter().map(|(workload, revisions)| {
        let revisions = revisions
            .into_iter()
            .map(|(revision, pairs)| (revision, Buckets::new(pairs)))
            .collect();
        (workload, revisions)
    });
    Ok(made.collect())
}

/// `le` of every bucket, as text, by workload.
pub(crate) fn bounds<'a>(
    answers: &'a Answers,
    ask: Ask,
    keys: &Keys<'_>,
) -> HashMap<Key<'a>, BTreeSet<&'a str>> {
    let mut out: HashMap<Key<'_>, BTreeSet<&str>> = HashMap::new();
    for sample in rows(answers, ask).unwrap_or_default() {
        if let (Some((workload, _)), Some(le)) = (place(sample, keys), sample.labels.get("le")) {
            out.entry(workload).or_default().insert(le);
        }
    }
    out
}

/// What went wrong, by question.
pub(crate) fn problems(answers: &Answers) -> Vec<Problem> {
    answers
        .iter()
        .filter_map(|(ask, answer)| match answer {
            Err(error) => Some(Problem {
                ask: *ask,
                category: error.category(),
                message: error.to_string(),
                retry: error.retry(),
            }),
            Ok(answer) if answer.partial() => Some(Problem {
                ask: *ask,
                category: "PartialAnswer",
                message: answer.warnings.join("; "),
                retry: true,
            }),
            Ok(_) => None,
        })
        .collect()
}
