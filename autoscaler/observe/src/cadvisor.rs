//! The kubelet's `/metrics/cadvisor`, read directly: fresher than Prometheus by a scrape, and each sample with the time
//! at which the kubelet read the cgroup.

use jiff::Timestamp;

use crate::exposition::{Line, lines};

/// CPU seconds used by a container since it started, and when they were read. `None` where the container is not listed,
/// its sample has no time, or its value is no number.
pub fn container_cpu(
    text: &str,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Option<(f64, Timestamp)> {
    newest(
        text,
        "container_cpu_usage_seconds_total",
        namespace,
        pod,
        container,
    )
}

/// CFS periods in which a container ran, those in which it was throttled, and when they were read; both counters must
/// stem from the same read. `None` without a CPU limit too.
pub fn container_periods(
    text: &str,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Option<(f64, f64, Timestamp)> {
    let read = |metric| newest(text, metric, namespace, pod, container);
    let (periods, at) = read("container_cpu_cfs_periods_total")?;
    let (throttled, same) = read("container_cpu_cfs_throttled_periods_total")?;
    (at == same).then_some((periods, throttled, at))
}

/// The newest sample: a restarted container leaves its old cgroup's series behind for a while.
fn newest(
    text: &str,
    metric: &str,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Option<(f64, Timestamp)> {
    let filter = [
        ("namespace", namespace),
        ("pod", pod),
        ("container", container),
    ];
    let timed = |line: Line<'_>| {
        let at = Timestamp::from_millisecond(line.at_ms?).ok()?;
        (line.value.is_finite() && line.value >= 0.0).then_some((line.value, at))
    };
    lines(text, metric)
        .filter(|line| line.has(&filter))
        .filter(|line| matches!(line.label("cpu"), "" | "total"))
        .filter_map(timed)
        .max_by(|a, b| a.1.cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP container_cpu_usage_seconds_total Cumulative cpu time consumed in seconds.
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="",cpu="total",id="/kubepods/pod1",image="",name="",namespace="shop",pod="carts-1"} 9.9 1769000000900
container_cpu_usage_seconds_total{container="carts",cpu="total",id="/kubepods/pod1/old",image="i",name="n",namespace="shop",pod="carts-1"} 7.5 1769000000100
container_cpu_usage_seconds_total{container="carts",cpu="total",id="/kubepods/pod1/new",image="i",name="n",namespace="shop",pod="carts-1"} 2.25 1769000000500
container_cpu_usage_seconds_total{container="proxy",cpu="total",id="/kubepods/pod1/p",image="i",name="n",namespace="shop",pod="carts-1"} 1 1769000000600
container_cpu_usage_seconds_total{container="proxy",cpu="total",id="/kubepods/pod2/p",image="i",name="n",namespace="shop",pod="orders-1"} 1
container_cpu_cfs_periods_total{container="carts",id="x",namespace="shop",pod="carts-1"} 266 1769000000500
container_cpu_cfs_throttled_periods_total{container="carts",id="x",namespace="shop",pod="carts-1"} 136 1769000000500
"#;

    #[test]
    fn the_running_container_is_read_with_its_own_time() {
        let at = Timestamp::from_millisecond(1_769_000_000_500).unwrap();
        assert_eq!(
            container_cpu(TEXT, "shop", "carts-1", "carts"),
            Some((2.25, at))
        );
        assert_eq!(
            container_periods(TEXT, "shop", "carts-1", "carts"),
            Some((266.0, 136.0, at))
        );
    }

    #[test]
    fn what_is_not_listed_or_has_no_time_is_nothing() {
        assert_eq!(container_cpu(TEXT, "shop", "carts-1", "other"), None);
        assert_eq!(container_cpu(TEXT, "shop", "orders-1", "proxy"), None);
        assert_eq!(container_periods(TEXT, "shop", "carts-1", "proxy"), None);
        assert_eq!(container_cpu("<html>", "shop", "carts-1", "carts"), None);
    }
}
