//! CPU of pods, out of cAdvisor's counters.

use std::collections::BTreeMap;

use msars_domain::{Reading, Unknown};

use super::assemble::{Containers, Pods, Round, reading};
use super::coverage::{Coverage, coverage, mature};
use crate::scope::Pod;

impl Round<'_> {
    /// Cores and throttled share of the pods that were Ready through the whole CPU window: younger ones show their
    /// start, and have hardly served.
    pub(super) fn processor(&self, pods: &Pods<'_>) -> (Reading<f64>, Reading<f64>) {
        let windows = &self.scope.windows;
        let grown: Vec<((&str, &str), &Pod)> = pods
            .iter()
            .filter(|(_, pod)| mature(pod, self.now, windows.cpu()))
            .map(|(key, pod)| ((key.namespace.as_str(), key.name.as_str()), *pod))
            .collect();
        let cover = match &self.cpu_at {
            Err(why) => Err(*why),
            Ok(_) if pods.is_empty() => Err(Unknown::NoSeries),
            Ok(_) if grown.is_empty() => Err(Unknown::TooFewSamples),
            Ok(at) => {
                let times = grown.iter().map(|(key, _)| at.get(key).copied());
                coverage(times, self.now, [windows.stale_cpu(); 2])
            }
        };
        let used: BTreeMap<(&str, &str), f64> = match &self.cpu {
            Err(_) => BTreeMap::new(),
            Ok(table) => grown
                .iter()
                .filter_map(|(key, pod)| {
                    let values = containers(table, *key, pod);
                    let one = |v: &f64| if *v >= 0.0 { *v } else { f64::NAN };
                    (!values.is_empty()).then(|| (*key, values.iter().map(one).sum()))
                })
                .collect(),
        };
        let cores = match &self.cpu {
            Err(why) => Err(*why),
            Ok(_) if used.is_empty() => Err(Unknown::NoSeries),
            Ok(_) if used.len() < grown.len() => Err(Unknown::Stale),
            Ok(_) if used.values().any(|v| v.is_nan()) => Err(Unknown::NotANumber),
            Ok(_) => Ok(used.values().sum()),
        };
        let share = self
            .throttled
            .as_ref()
            .map_err(|why| *why)
            .and_then(|table| {
                let shares =
                    grown
                        .iter()
                        .filter(|(key, _)| used.contains_key(key))
                        .map(|(key, pod)| {
                            // No periods counted: either no quota, or (0/0) none in which it ran. Neither throttles.
                            containers(table, *key, pod)
                                .into_iter()
                                .filter(|v| !v.is_nan())
                                .fold(0.0, f64::max)
                        });
                let shares: Vec<f64> = shares.collect();
                if shares.is_empty() {
                    return Err(Unknown::NoSeries);
                }
                Ok(shares.iter().sum::<f64>() / shares.len() as f64)
            });
        (
            reading(cores, cover.and_then(Coverage::all), Ok::<f64, Unknown>),
            reading(share, cover.and_then(Coverage::share), |v| {
                Ok::<f64, Unknown>(v.min(1.0))
            }),
        )
    }
}

/// The values of a pod's containers that count.
fn containers(table: &Containers<'_>, key: (&str, &str), pod: &Pod) -> Vec<f64> {
    let only = pod.container.as_deref();
    let all = table.get(&key).map_or(&[][..], Vec::as_slice);
    all.iter()
        .filter(|(name, _)| only.is_none_or(|only| only == *name))
        .map(|(_, value)| *value)
        .collect()
}
