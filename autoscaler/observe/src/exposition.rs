//! Prometheus' text format, read straight from one target (the text format 0.0.4; of OpenMetrics what they share,
//! except that its timestamps are seconds).

use std::borrow::Cow;

use msars_domain::Unknown;

use crate::Buckets;

/// One line of an exposition.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    /// Metric name, suffix included.
    pub metric: &'a str,
    /// Labels in their order, unescaped.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
    /// The value: may be NaN or infinite.
    pub value: f64,
    /// The sample's own time in ms since the epoch, if it has one.
    pub at_ms: Option<i64>,
}

impl Line<'_> {
    /// A label's value; absent and empty are the same.
    pub fn label(&self, name: &str) -> &str {
        self.labels
            .iter()
            .find(|(key, _)| *key == name)
            .map_or("", |(_, value)| value)
    }

    /// Whether every label of the filter has its value.
    pub fn has(&self, filter: &[(&str, &str)]) -> bool {
        filter
            .iter()
            .all(|(name, value)| self.label(name) == *value)
    }
}

/// The lines of one metric; lines that can't be read are left out.
pub fn lines<'a>(text: &'a str, metric: &'a str) -> impl Iterator<Item = Line<'a>> {
    text.lines()
        .filter(move |line| line.starts_with(metric))
        .filter_map(read)
        .filter(move |line| line.metric == metric)
}

/// The sum of one metric over all series that meet the filter; `None` without one.
pub fn sum(text: &str, metric: &str, filter: &[(&str, &str)]) -> Option<f64> {
    lines(text, metric)
        .filter(|line| line.has(filter))
        .map(|line| line.value)
        .reduce(|a, b| a + b)
}

/// The histogram of this name (without suffix), summed over all series that meet the filter, in the metric's own unit.
/// Errors as [`Buckets::new`]. Two snapshots give a window by [`Buckets::since`].
pub fn histogram(text: &str, metric: &str, filter: &[(&str, &str)]) -> Result<Buckets, Unknown> {
    let name = format!("{metric}_bucket");
    let found: Vec<Line<'_>> = lines(text, &name).filter(|line| line.has(filter)).collect();
    Buckets::new(found.iter().map(|line| (line.label("le"), line.value)))
}

fn read(line: &str) -> Option<Line<'_>> {
    let end = line.find(['{', ' ', '\t'])?;
    let (metric, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    // OpenMetrics puts an exemplar behind a `#`.
    let rest = rest.split_once(" # ").map_or(rest, |(before, _)| before);
    let mut words = rest.split_whitespace();
    let value = words.next()?.parse().ok()?;
    let at_ms = match words.next() {
        None => None,
        Some(word) => Some(word.parse().ok()?),
    };
    Some(Line {
        metric,
        labels,
        value,
        at_ms,
    })
}

type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut out = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((out, after));
        }
        let (name, value) = rest.split_once('=')?;
        let value = value.trim_start().strip_prefix('"')?;
        let mut escaped = false;
        let close = value.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        out.push((name.trim(), unescaped(&value[..close])));
        rest = &value[close + 1..];
    }
}

fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some(other)) => out.push(other),
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use msars_domain::Percentile;

    const TEXT: &str = r#"# HELP shop_self_seconds Time without waits.
# TYPE shop_self_seconds histogram
shop_self_seconds_bucket{service="carts",route="get",le="0.01"} 40
shop_self_seconds_bucket{service="carts",route="get",le="0.02"} 90
shop_self_seconds_bucket{service="carts",route="get",le="+Inf"} 100
shop_self_seconds_bucket{service="carts",route="add",le="0.01"} 10
shop_self_seconds_bucket{service="carts",route="add",le="0.02"} 10
shop_self_seconds_bucket{service="carts",route="add",le="+Inf"} 10 # {trace_id="a b"} 0.5
shop_self_seconds_sum{service="carts",route="get"} 1.5
shop_self_seconds_count{service="carts",route="get"} 100
shop_self_seconds_count_other{service="carts"} 7
process_cpu_seconds_total 12.25
odd{path="C:\\dir\n\"x\", }"} NaN 1769000000123
torn{path="C
also torn
"#;

    #[test]
    fn a_metric_is_summed_over_what_meets_the_filter() {
        assert_eq!(sum(TEXT, "process_cpu_seconds_total", &[]), Some(12.25));
        assert_eq!(sum(TEXT, "shop_self_seconds_count", &[]), Some(100.0));
        let add = [("route", "add"), ("le", "0.02")];
        assert_eq!(sum(TEXT, "shop_self_seconds_bucket", &add), Some(10.0));
        assert_eq!(
            sum(TEXT, "shop_self_seconds_bucket", &[("route", "x")]),
            None
        );
        assert_eq!(sum(TEXT, "shop_self", &[]), None);
        assert_eq!(sum(TEXT, "torn", &[]), None);
        assert_eq!(sum("", "x", &[]), None);
    }

    #[test]
    fn a_histogram_adds_its_series_up() {
        let h = histogram(TEXT, "shop_self_seconds", &[("service", "carts")]).unwrap();
        assert!((h.count() - 110.0).abs() < 1e-9);
        let median = h.quantile(Percentile::new(0.5).unwrap()).unwrap();
        assert!(
            (median.value - (0.01 + 0.01 * 5.0 / 50.0)).abs() < 1e-12,
            "{median:?}"
        );
        assert_eq!(
            histogram(TEXT, "shop_call_seconds", &[]),
            Err(Unknown::NoSeries)
        );
    }

    #[test]
    fn escapes_and_times_are_read() {
        let odd = lines(TEXT, "odd").next().unwrap();
        assert_eq!(odd.label("path"), "C:\\dir\n\"x\", }");
        assert!(odd.value.is_nan());
        assert_eq!(odd.at_ms, Some(1_769_000_000_123));
        assert_eq!(odd.label("absent"), "");
    }
}
