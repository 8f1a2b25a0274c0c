//! A program's own `/metrics` text: counters and histograms, their growth, quantiles of it. Pure.

use std::collections::BTreeMap;

/// Counts by upper bound; cumulative, as exported.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// Upper bound in the metric's unit, and observations at or below it.
    pub buckets: Vec<(f64, f64)>,
    /// Sum of observations.
    pub sum: f64,
    /// Observations.
    pub count: f64,
}

/// `name{labels} value` lines of one metric name: labels, value.
pub fn samples<'a>(text: &'a str, name: &str) -> Vec<(&'a str, f64)> {
    text.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.split_once('}')?,
                None if rest.starts_with(' ') => ("", rest),
                None => return None,
            };
            Some((labels, value.split_whitespace().next()?.parse().ok()?))
        })
        .collect()
}

/// The value of a label among `a="b",c="d"`.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .into_iter()
        .find_map(|(key, value)| (key == name).then(|| value.trim_matches('"')))
}

/// Growth of a counter per value of one of its labels.
pub fn growth(before: &str, after: &str, name: &str, by: &str) -> BTreeMap<String, f64> {
    let mut grown = BTreeMap::new();
    for (text, sign) in [(before, -1.0), (after, 1.0)] {
        for (labels, value) in samples(text, name) {
            let key = label(labels, by).unwrap_or_default().to_owned();
            *grown.entry(key).or_insert(0.0) += sign * value;
        }
    }
    grown
}

impl Histogram {
    /// The histogram of this name, all label sets together.
    pub fn read(text: &str, name: &str) -> Self {
        let total = |suffix: &str| -> f64 {
            let found = samples(text, &format!("{name}_{suffix}"));
            found.into_iter().map(|(_, value)| value).sum()
        };
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (labels, value) in samples(text, &format!("{name}_bucket")) {
            let Some(bound) = label(labels, "le").and_then(|le| match le {
                "+Inf" => Some(f64::INFINITY),
                le => le.parse().ok(),
            }) else {
                continue;
            };
            match buckets
                .iter_mut()
                .find(|(known, _)| known.total_cmp(&bound).is_eq())
            {
                Some((_, count)) => *count += value,
                None => buckets.push((bound, value)),
            }
        }
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        Self {
            buckets,
            sum: total("sum"),
            count: total("count"),
        }
    }

    /// What was observed since `before`, of the same program.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let earlier = |bound: f64| {
            let known = before
                .buckets
                .iter()
                .find(|(known, _)| known.total_cmp(&bound).is_eq());
            known.map_or(0.0, |(_, count)| *count)
        };
        Self {
            buckets: self
                .buckets
                .iter()
                .map(|(bound, count)| (*bound, count - earlier(*bound)))
                .collect(),
            sum: self.sum - before.sum,
            count: self.count - before.count,
        }
    }

    /// Both programs' observations; the bounds must be the same.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        if self.buckets.is_empty() {
            return other.clone();
        }
        for ((_, count), (_, more)) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
        self.sum += other.sum;
        self.count += other.count;
        self
    }

    /// The bucket that holds the quantile: observations are above the first and at most the second. None without any.
    pub fn quantile(&self, q: f64) -> Option<(f64, f64)> {
        let rank = q * self.count;
        let mut low = 0.0;
        for (bound, count) in &self.buckets {
            if self.count > 0.0 && *count >= rank {
                return Some((low, *bound));
            }
            low = *bound;
        }
        None
    }

    /// Mean; none without observations.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::{Histogram, growth};

    const BEFORE: &str = "# TYPE d counter\nd_total{outcome=\"Patched\"} 4\nt_sum 0.5\nt_count 2\n\
        t_bucket{le=\"0.1\"} 1\nt_bucket{le=\"1.0\"} 2\nt_bucket{le=\"+Inf\"} 2\n";
    const AFTER: &str = "d_total{outcome=\"Patched\"} 10\nd_total{outcome=\"Late\"} 1\nt_sum 2.5\nt_count 12\n\
        t_bucket{le=\"0.1\"} 10\nt_bucket{le=\"1.0\"} 12\nt_bucket{le=\"+Inf\"} 12\n";

    #[test]
    fn what_grew() {
        let grown = growth(BEFORE, AFTER, "d_total", "outcome");
        assert_eq!((grown["Patched"], grown["Late"]), (6.0, 1.0));
        let delta = Histogram::read(AFTER, "t").since(&Histogram::read(BEFORE, "t"));
        assert_eq!((delta.count, delta.sum), (10.0, 2.0));
        assert_eq!(delta.quantile(0.5), Some((0.0, 0.1)));
        assert_eq!(delta.quantile(0.99), Some((0.1, 1.0)));
        assert_eq!(Histogram::default().quantile(0.5), None);
        let both = Histogram::default().and(&delta).and(&delta);
        assert_eq!((both.count, both.mean()), (20.0, Some(0.2)));
    }
}
