//! Recent rates per workload, for forecasters. Pure.

use jiff::{SignedDuration, Timestamp};
use msars_domain::{Rate, RateSample, Reading, Signals};

/// How far back rates are kept.
const KEPT: SignedDuration = SignedDuration::from_mins(10);

/// One workload's recent rates, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History(Vec<RateSample>);

impl History {
    /// Adds what metrics say now; what is unknown or no newer than the last is no news. The first time, the peak of the
    /// recent past stands in for what this leader has not seen.
    pub fn look(&mut self, now: Timestamp, signals: &Signals) {
        self.0
            .retain(|sample| now.duration_since(sample.at) <= KEPT);
        if self.0.is_empty() {
            self.add(&signals.peak_rate);
        }
        self.add(&signals.rate);
    }

    fn add(&mut self, reading: &Reading<Rate>) {
        let Reading::Known { value, at } = reading else {
            return;
        };
        let sample = RateSample {
            at: *at,
            rate: *value,
        };
        match self.0.last_mut() {
            Some(last) if last.at > sample.at => {}
            // Two figures of one instant: the higher counts.
            Some(last) if last.at == sample.at => {
                if sample.rate > last.rate {
                    last.rate = sample.rate;
                }
            }
            _ => self.0.push(sample),
        }
    }

    /// The rates.
    pub fn samples(&self) -> Vec<RateSample> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msars_domain::{ObjectKey, Unknown};

    fn signals(rate: Option<(f64, i64)>, peak: Option<(f64, i64)>) -> Signals {
        let reading = |found: Option<(f64, i64)>| match found {
            Some((value, second)) => Reading::Known {
                value: Rate::new(value).unwrap(),
                at: Timestamp::from_second(second).unwrap(),
            },
            None => Reading::Unknown {
                why: Unknown::Unreachable,
            },
        };
        let nothing = Reading::Unknown {
            why: Unknown::NoSeries,
        };
        let none = Reading::Unknown {
            why: Unknown::NoSeries,
        };
        Signals {
            workload: ObjectKey::new("shop", "carts"),
            rate: reading(rate),
            peak_rate: reading(peak),
            rate_at_least: None,
            request_quantile: nothing.clone(),
            self_quantile: nothing.clone(),
            callee_wait: nothing,
            error_share: none.clone(),
            cpu_cores: none.clone(),
            throttled: none,
        }
    }

    #[test]
    fn rates_are_kept_once_each_and_for_ten_minutes() {
        let mut history = History::default();
        let mut look = |now, rate, peak| {
            history.look(Timestamp::from_second(now).unwrap(), &signals(rate, peak));
            let kept = history.samples();
            kept.iter()
                .map(|sample| (sample.rate.get() as i64, sample.at.as_second()))
                .collect::<Vec<_>>()
        };
        // What an earlier leader saw comes back as the peak of Prometheus' own window.
        assert_eq!(look(100, Some((5.0, 98)), Some((9.0, 98))), [(9, 98)]);
        assert_eq!(look(115, Some((5.0, 98)), Some((9.0, 98))), [(9, 98)]);
        assert_eq!(look(115, Some((6.0, 113)), None), [(9, 98), (6, 113)]);
        assert_eq!(look(130, None, None), [(9, 98), (6, 113)]);
        assert_eq!(look(700, Some((7.0, 699)), None), [(6, 113), (7, 699)]);
    }
}
