//! From answers to signals.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use msars_domain::{Millis, ObjectKey, Percentile, Rate, RateSample, Reading, Signals, Unknown};

use super::coverage::{Coverage, Seen, coverage, mature, seen};
use super::table::{Table, buckets, key, numbers, problems, rows};
use super::{Observed, Revision};
use crate::Answers;
use crate::histogram::{Buckets, enough};
use crate::preset::Preset;
use crate::promql::{Ask, Keys};
use crate::scope::{Pod, Scope};

/// Reads the answers to [`super::signal_queries`] for the same preset, scope and time. Pure.
pub fn assemble(preset: &Preset, scope: &Scope, now: Timestamp, answers: &Answers) -> Observed {
    let round = Round::new(preset, scope, now, answers);
    let mut pods: HashMap<(&str, &str), Vec<(&ObjectKey, &Pod)>> = HashMap::new();
    for (key, pod) in &scope.pods {
        if pod.ready_since.is_some() {
            pods.entry((&key.namespace, &pod.workload))
                .or_default()
                .push((key, pod));
        }
    }
    let mut observed = Observed {
        problems: problems(answers),
        ..Observed::default()
    };
    for (workload, percentile) in &scope.workloads {
        let own = pods
            .get(&(workload.namespace.as_str(), workload.name.as_str()))
            .map_or(&[][..], Vec::as_slice);
        let (signals, revisions) = round.workload(workload, *percentile, own);
        observed.signals.push(signals);
        observed.revisions.extend(revisions);
    }
    observed
}

pub(super) type Pods<'a> = [(&'a ObjectKey, &'a Pod)];
pub(super) type Measured<T> = Result<T, Unknown>;

/// All answers of one round, as tables.
pub(super) struct Round<'a> {
    preset: &'a Preset,
    pub(super) scope: &'a Scope,
    pub(super) now: Timestamp,
    rate: Table<'a, f64>,
    peak: Table<'a, f64>,
    errors: Table<'a, f64>,
    wait: Table<'a, f64>,
    requests: Table<'a, Result<Buckets, Unknown>>,
    self_time: Table<'a, Result<Buckets, Unknown>>,
    alive: Measured<Seen<'a>>,
    /// Newest request sample by workload, where nothing tells pods apart.
    newest: Table<'a, f64>,
    pub(super) cpu: Measured<Containers<'a>>,
    pub(super) throttled: Measured<Containers<'a>>,
    pub(super) cpu_at: Measured<Seen<'a>>,
}

/// Values of a pod's containers, by namespace and pod.
pub(super) type Containers<'a> = HashMap<(&'a str, &'a str), Vec<(&'a str, f64)>>;

impl<'a> Round<'a> {
    fn new(preset: &'a Preset, scope: &'a Scope, now: Timestamp, answers: &'a Answers) -> Self {
        let keys = Keys::of(&preset.labels);
        let by_workload = keys.clone().whole();
        let cpu = &preset.cpu;
        let containers = |ask| {
            let mut out: Containers<'a> = HashMap::new();
            for sample in rows(answers, ask)? {
                let label = |name: &str| sample.labels.get(name).map(String::as_str);
                if let (Some(namespace), Some(pod), Some(container)) = (
                    label(&cpu.namespace),
                    label(&cpu.pod),
                    label(&cpu.container),
                ) {
                    out.entry((namespace, pod))
                        .or_default()
                        .push((container, sample.value));
                }
            }
            Ok(out)
        };
        let per_pod = preset.alive_labels();
        Self {
            preset,
            scope,
            now,
            rate: numbers(answers, Ask::Rate, &keys),
            peak: numbers(answers, Ask::Peak, &by_workload),
            errors: numbers(answers, Ask::Errors, &keys),
            wait: match &preset.calls {
                Some(calls) => numbers(answers, Ask::CalleeWait, &Keys::of(&calls.labels)),
                None => Err(Unknown::NoSeries),
            },
            requests: buckets(answers, Ask::Buckets, &keys),
            self_time: buckets(answers, Ask::SelfBuckets, &keys),
            alive: match per_pod {
                Some((namespace, pod)) => {
                    rows(answers, Ask::Alive).map(|r| seen(r, namespace, pod))
                }
                None => Err(Unknown::NoSeries),
            },
            newest: match per_pod {
                Some(_) => Err(Unknown::NoSeries),
                None => numbers(answers, Ask::Alive, &by_workload),
            },
            cpu: containers(Ask::Cpu),
            throttled: containers(Ask::Throttled),
            cpu_at: rows(answers, Ask::CpuAt).map(|r| seen(r, &cpu.namespace, &cpu.pod)),
        }
    }

    fn workload(
        &self,
        workload: &ObjectKey,
        percentile: Percentile,
        pods: &Pods<'_>,
    ) -> (Signals, Vec<Revision>) {
        let young = self.young(pods);
        // Where only young pods have served, their warm-up is better than nothing.
        let served = of(&self.requests, workload).ok();
        let surge_only =
            served.is_some_and(|revisions| revisions.keys().all(|r| young.contains(r)));
        let settled = |revision: &str| surge_only || !young.contains(revision);
        let all = |_: &str| true;
        let cover = self.cover(workload, pods);
        let (cpu_cores, throttled) = self.processor(pods);
        let request = histogram(&self.requests, workload, settled);
        let own = histogram(&self.self_time, workload, settled);
        let rate = sum(&self.rate, workload, all);
        let signals = Signals {
            workload: workload.clone(),
            rate: reading(rate, cover.and_then(Coverage::rate), Rate::new),
            rate_at_least: at_least(rate, cover),
            peak_rate: reading(
                sum(&self.peak, workload, all),
                cover.and_then(Coverage::all),
                Rate::new,
            ),
            callee_wait: self.waited(workload, &request, cover, settled),
            error_share: self.failed(workload, rate, cover, all),
            request_quantile: quantile(request, percentile, self.preset.requests.unit.ms(), cover),
            self_quantile: self.self_quantile(own, percentile, cover),
            cpu_cores,
            throttled,
        };
        let revisions = self
            .hashes(workload, pods)
            .into_iter()
            .map(|hash| self.revision(workload, percentile, pods, hash, &young))
            .collect();
        (signals, revisions)
    }

    fn revision(
        &self,
        workload: &ObjectKey,
        percentile: Percentile,
        pods: &Pods<'_>,
        hash: String,
        young: &BTreeSet<&str>,
    ) -> Revision {
        let is_it = |revision: &str| revision == hash;
        let own: Vec<(&ObjectKey, &Pod)> = pods
            .iter()
            .copied()
            .filter(|(_, p)| p.revision == hash)
            .collect();
        // A revision without pods left is as fresh as the workload.
        let cover = self.cover(workload, if own.is_empty() { pods } else { &own });
        let steady = if young.contains(hash.as_str()) {
            Err(Unknown::TooFewSamples)
        } else {
            cover
        };
        let request = histogram(&self.requests, workload, is_it);
        let own_time = histogram(&self.self_time, workload, is_it);
        let (cpu_cores, throttled) = self.processor(&own);
        let rate = sum(&self.rate, workload, is_it);
        Revision {
            workload: workload.clone(),
            pods: own.len(),
            rate: reading(rate, cover.and_then(Coverage::rate), Rate::new),
            callee_wait: self.waited(workload, &request, steady, is_it),
            error_share: self.failed(workload, rate, cover, is_it),
            request_quantile: quantile(request, percentile, self.preset.requests.unit.ms(), steady),
            self_quantile: self.self_quantile(own_time, percentile, steady),
            cpu_cores,
            throttled,
            revision: hash,
        }
    }

    /// Revisions all of whose pods became Ready within the rate's window: what they did was warm-up. More pods of a
    /// revision that serves count from their first request: buckets are sums over pods, and by pod they would be as many
    /// times more rows. Their slow first requests stay in the quantile for its window.
    fn young<'p>(&self, pods: &Pods<'p>) -> BTreeSet<&'p str> {
        let window = self.scope.windows.rate();
        let mut out: BTreeSet<&str> = pods.iter().map(|(_, p)| p.revision.as_str()).collect();
        for (_, pod) in pods {
            if mature(pod, self.now, window) {
                out.remove(pod.revision.as_str());
            }
        }
        out
    }

    /// Hashes with pods in the scope or requests in the answer.
    fn hashes(&self, workload: &ObjectKey, pods: &Pods<'_>) -> Vec<String> {
        let mut out: BTreeSet<&str> = pods.iter().map(|(_, p)| p.revision.as_str()).collect();
        let measured = self.rate.as_ref().ok().and_then(|t| t.get(&key(workload)));
        out.extend(measured.into_iter().flatten().map(|(hash, _)| *hash));
        out.remove("");
        out.into_iter().map(str::to_owned).collect()
    }

    fn cover(&self, workload: &ObjectKey, pods: &Pods<'_>) -> Measured<Coverage> {
        let windows = &self.scope.windows;
        let limits = [windows.prompt(), windows.stale()];
        if self.preset.alive_labels().is_none() {
            let newest = first(&self.newest, workload)?;
            return coverage([Some(newest)], self.now, limits);
        }
        let alive = self.alive.as_ref().map_err(|why| *why)?;
        let settled = |pod: &Pod| mature(pod, self.now, windows.rate());
        let any = pods.iter().any(|(_, pod)| settled(pod));
        let times = pods
            .iter()
            .filter(|(_, pod)| !any || settled(pod))
            .map(|(key, _)| {
                alive
                    .get(&(key.namespace.as_str(), key.name.as_str()))
                    .copied()
            });
        coverage(times, self.now, limits)
    }

    fn self_quantile(
        &self,
        histogram: Measured<Buckets>,
        percentile: Percentile,
        cover: Measured<Coverage>,
    ) -> Reading<Millis> {
        let ms = self.preset.self_time.as_ref().map_or(1.0, |h| h.unit.ms());
        quantile(histogram, percentile, ms, cover)
    }

    fn waited(
        &self,
        workload: &ObjectKey,
        requests: &Measured<Buckets>,
        cover: Measured<Coverage>,
        which: impl Fn(&str) -> bool,
    ) -> Reading<Millis> {
        let ms = self.preset.calls.as_ref().map_or(1.0, |c| c.wait.unit.ms());
        let waited = sum(&self.wait, workload, which);
        let value = match (waited, requests) {
            (Err(why), _) => Err(why),
            (_, Err(why)) => Err(*why),
            (Ok(_), Ok(requests)) if requests.count() < 1.0 => Err(Unknown::TooFewSamples),
            (Ok(waited), Ok(requests)) => Ok(waited * ms / requests.count()),
        };
        reading(value, cover.and_then(Coverage::share), Millis::new)
    }

    fn failed(
        &self,
        workload: &ObjectKey,
        rate: Measured<f64>,
        cover: Measured<Coverage>,
        which: impl Fn(&str) -> bool,
    ) -> Reading<f64> {
        let failed = match sum(&self.errors, workload, which) {
            // Requests are counted and none of them failed: a label value nobody has used yet has no series.
            Err(Unknown::NoSeries) if self.errors.is_ok() => Ok(0.0),
            other => other,
        };
        let value = rate.and_then(|rate| {
            let failed = failed?;
            if rate > 0.0 {
                Ok((failed / rate).min(1.0))
            } else {
                Err(Unknown::TooFewSamples)
            }
        });
        reading(value, cover.and_then(Coverage::share), Ok::<f64, Unknown>)
    }
}

fn histogram(
    table: &Table<'_, Result<Buckets, Unknown>>,
    workload: &ObjectKey,
    which: impl Fn(&str) -> bool,
) -> Measured<Buckets> {
    let mut total: Option<Buckets> = None;
    for (_, histogram) in of(table, workload)?.iter().filter(|(r, _)| which(r)) {
        let histogram = histogram.as_ref().map_err(|why| *why)?;
        total = Some(total.map_or_else(|| histogram.clone(), |t| t.plus(histogram)));
    }
    total.ok_or(Unknown::NoSeries)
}

fn quantile(
    histogram: Measured<Buckets>,
    percentile: Percentile,
    ms: f64,
    cover: Measured<Coverage>,
) -> Reading<Millis> {
    let value = histogram.and_then(|h| {
        if !enough(h.count(), percentile) {
            return Err(Unknown::TooFewSamples);
        }
        let quantile = h.quantile(percentile).ok_or(Unknown::TooFewSamples)?;
        let value = quantile.value * ms;
        if quantile.saturated {
            let least = Millis::new(value).map_err(|_| Unknown::NotANumber)?;
            return Err(Unknown::Saturated { least });
        }
        Ok(value)
    });
    reading(value, cover.and_then(Coverage::share), Millis::new)
}

fn of<'t, T>(
    table: &'t Table<'t, T>,
    workload: &'t ObjectKey,
) -> Measured<&'t BTreeMap<&'t str, T>> {
    let table = table.as_ref().map_err(|why| *why)?;
    table.get(&key(workload)).ok_or(Unknown::NoSeries)
}

fn first(table: &Table<'_, f64>, workload: &ObjectKey) -> Measured<f64> {
    of(table, workload)?
        .values()
        .next()
        .copied()
        .ok_or(Unknown::NoSeries)
}

fn sum(
    table: &Table<'_, f64>,
    workload: &ObjectKey,
    which: impl Fn(&str) -> bool,
) -> Measured<f64> {
    let mut total = None;
    for (_, value) in of(table, workload)?.iter().filter(|(r, _)| which(r)) {
        if !value.is_finite() || *value < 0.0 {
            return Err(Unknown::NotANumber);
        }
        total = Some(total.unwrap_or(0.0) + value);
    }
    total.ok_or(Unknown::NoSeries)
}

/// The sum over the pods that were measured, where it is none over all.
fn at_least(rate: Measured<f64>, cover: Measured<Coverage>) -> Option<RateSample> {
    let at = cover.ok()?.part()?;
    let rate = Rate::new(rate.ok()?).ok()?;
    Some(RateSample { at, rate })
}

/// A reading out of a value and the time at which it was true. What is wrong with the time explains more than an
/// absent value: rows of stale series are absent too.
pub(crate) fn reading<T, E>(
    value: Measured<f64>,
    at: Measured<Timestamp>,
    unit: impl Fn(f64) -> Result<T, E>,
) -> Reading<T> {
    let checked = at.and_then(|at| {
        let value = value?;
        if !value.is_finite() || value < 0.0 {
            return Err(Unknown::NotANumber);
        }
        let value = unit(value).map_err(|_| Unknown::NotANumber)?;
        Ok((value, at))
    });
    match checked {
        Ok((value, at)) => Reading::Known { value, at },
        Err(why) => Reading::Unknown { why },
    }
}
