//! When requests are meant to leave: a Poisson process at a constant rate or along a trace. Pure.

use std::time::Duration;

use msars_domain::Rate;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};

/// Stream of the seed that draws arrivals; other draws use other streams and never shift these.
const ARRIVALS: u64 = 0;

/// Rates over time, piecewise constant.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Requests per second in each step.
    rates: Vec<f64>,
    /// Seconds per step; infinite for a constant rate.
    step_s: f64,
}

/// How a trace is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceScale {
    /// Seconds each line stands for in the trace's own time.
    pub step_s: f64,
    /// Compresses time: 60 plays an hour in a minute. Rates stay as they are.
    pub time: f64,
    /// Multiplies the rates.
    pub rate: f64,
}

impl Default for TraceScale {
    /// One line per minute, as recorded.
    fn default() -> Self {
        Self {
            step_s: 60.0,
            time: 1.0,
            rate: 1.0,
        }
    }
}

/// Why a text is no trace.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TraceError {
    /// A line that is no rate.
    #[error("line {line}: `{found}`, expected requests per second as a number, 0 or more")]
    Line {
        /// Line from 1.
        line: usize,
        /// The line.
        found: String,
    },
    /// No rate at all.
    #[error("the trace holds no rate")]
    Empty,
    /// A scale that is zero, negative or not finite.
    #[error("{what} is {found}, expected above 0")]
    Scale {
        /// Which scale.
        what: &'static str,
        /// Its value.
        found: f64,
    },
}

impl Schedule {
    /// The same rate for ever.
    pub fn constant(rate: Rate) -> Self {
        Self {
            rates: vec![rate.get()],
            step_s: f64::INFINITY,
        }
    }

    /// One rate per line in requests per second; empty lines and lines that start with `#` are skipped.
    pub fn trace(text: &str, scale: TraceScale) -> Result<Self, TraceError> {
        for (what, found) in [
            ("step", scale.step_s),
            ("time scale", scale.time),
            ("rate scale", scale.rate),
        ] {
            if !(found > 0.0 && found.is_finite()) {
                return Err(TraceError::Scale { what, found });
            }
        }
        let mut rates = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let rate = line.parse().ok().and_then(|r| Rate::new(r).ok());
            let rate = rate.ok_or_else(|| TraceError::Line {
                line: index + 1,
                found: line.to_owned(),
            })?;
            rates.push(rate.get() * scale.rate);
        }
        if rates.is_empty() {
            return Err(TraceError::Empty);
        }
        Ok(Self {
            rates,
            step_s: scale.step_s / scale.time,
        })
    }

    /// Seconds until the last step ends; infinite for a constant rate.
    pub fn length_s(&self) -> f64 {
        self.rates.len() as f64 * self.step_s
    }

    /// Expected arrivals in the first `seconds`.
    pub fn expected(&self, seconds: f64) -> f64 {
        let spent = |index: usize| (seconds - index as f64 * self.step_s).clamp(0.0, self.step_s);
        if self.step_s.is_finite() {
            let steps = self.rates.iter().enumerate();
            return steps.map(|(index, rate)| rate * spent(index)).sum();
        }
        self.rates.iter().sum::<f64>() * seconds
    }

    /// The arrivals of a seed as offsets from the start, never falling.
    pub fn arrivals(&self, seed: u64) -> Arrivals<'_> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(ARRIVALS);
        Arrivals {
            schedule: self,
            step: 0,
            at_s: 0.0,
            rng,
        }
    }
}

/// Offsets of intended requests. Exact for piecewise constant rates: a unit exponential is spent along the steps.
#[derive(Debug, Clone)]
pub struct Arrivals<'a> {
    schedule: &'a Schedule,
    step: usize,
    at_s: f64,
    rng: ChaCha8Rng,
}

impl Iterator for Arrivals<'_> {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let mut left: f64 = Exp1.sample(&mut self.rng);
        loop {
            let rate = *self.schedule.rates.get(self.step)?;
            let end_s = (self.step + 1) as f64 * self.schedule.step_s;
            if rate > 0.0 {
                let gap_s = left / rate;
                if self.at_s + gap_s < end_s {
                    self.at_s += gap_s;
                    return Duration::try_from_secs_f64(self.at_s).ok();
                }
                left -= (end_s - self.at_s) * rate;
            }
            self.at_s = end_s;
            self.step += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(rate: f64) -> Schedule {
        Schedule::constant(Rate::new(rate).unwrap())
    }

    /// Arrivals per second over `seconds` seconds.
    fn per_second(schedule: &Schedule, seed: u64, seconds: usize) -> Vec<f64> {
        let mut counts = vec![0.0; seconds];
        for offset in schedule.arrivals(seed) {
            let Some(count) = counts.get_mut(offset.as_secs() as usize) else {
                break;
            };
            *count += 1.0;
        }
        counts
    }

    #[test]
    fn counts_of_a_constant_rate_have_the_mean_and_variance_of_a_poisson_process() {
        let n = 4000;
        for (seed, rate) in [(1, 0.5), (2, 13.0), (3, 300.0)] {
            let counts = per_second(&constant(rate), seed, n);
            let mean = counts.iter().sum::<f64>() / n as f64;
            let squares: f64 = counts.iter().map(|c| (c - mean).powi(2)).sum();
            let variance = squares / (n - 1) as f64;
            // Four standard deviations of each estimate.
            let mean_sd = (rate / n as f64).sqrt();
            let variance_sd = ((2.0 * rate * rate + rate) / n as f64).sqrt();
            assert!((mean - rate).abs() < 4.0 * mean_sd, "{rate}: mean {mean}");
            assert!(
                (variance - rate).abs() < 4.0 * variance_sd,
                "{rate}: variance {variance}"
            );
            // Counts of neighbouring seconds are independent.
            let pairs = counts.windows(2).map(|w| (w[0] - mean) * (w[1] - mean));
            let correlation = pairs.sum::<f64>() / squares;
            assert!(correlation.abs() < 4.0 / (n as f64).sqrt(), "{correlation}");
        }
    }

    #[test]
    fn a_trace_gives_each_step_its_rate() {
        let scale = TraceScale {
            step_s: 6000.0,
            time: 60.0,
            rate: 0.5,
        };
        let schedule = Schedule::trace("# r/s\n100\n0\n\n 400.5 \n1", scale).unwrap();
        assert!((schedule.length_s() - 400.0).abs() < 1e-9);
        let counts = per_second(&schedule, 7, 400);
        for (step, rate) in [(0, 50.0), (1, 0.0), (2, 200.25), (3, 0.5)] {
            let sum: f64 = counts[step * 100..(step + 1) * 100].iter().sum();
            let wanted: f64 = rate * 100.0;
            assert!(
                (sum - wanted).abs() <= 4.0 * wanted.sqrt(),
                "step {step}: {sum}"
            );
        }
        assert!((schedule.expected(250.0) - 15_012.5).abs() < 1e-6);
        let last = schedule.arrivals(7).last().unwrap();
        assert!(last.as_secs_f64() < 400.0, "the trace ends");
    }

    #[test]
    fn a_seed_gives_the_same_arrivals_and_another_seed_others() {
        let take = |seed| constant(20.0).arrivals(seed).take(50).collect::<Vec<_>>();
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
        assert!(take(1).is_sorted());
    }

    #[test]
    fn no_rate_no_arrival_and_no_endless_search() {
        assert_eq!(constant(0.0).arrivals(1).next(), None);
        assert_eq!(constant(1e-300).arrivals(1).next(), None);
        assert!((constant(3.0).expected(2.0) - 6.0).abs() < 1e-9);
    }

    #[test]
    fn broken_traces_name_the_line() {
        let read = |text| Schedule::trace(text, TraceScale::default());
        assert_eq!(
            read("1\n-2").unwrap_err().to_string(),
            "line 2: `-2`, expected requests per second as a number, 0 or more"
        );
        assert!(
            read("1\n\nfast")
                .unwrap_err()
                .to_string()
                .starts_with("line 3")
        );
        assert_eq!(read("# nothing\n"), Err(TraceError::Empty));
        let still = TraceScale {
            time: 0.0,
            ..TraceScale::default()
        };
        assert!(matches!(
            Schedule::trace("1", still),
            Err(TraceError::Scale {
                what: "time scale",
                ..
            })
        ));
    }
}
