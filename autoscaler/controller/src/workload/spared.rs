//! Rates of workloads that a profile's load reaches. A shadow pod calls the living, so that their rates hold its load:
//! what they had before stands until its windows are over, and nothing is scaled by it. A callee that suffers ends the
//! profile (`revision`), and the reflex goes on. Pure.

use jiff::{SignedDuration, Timestamp};
use msars_domain::{Rate, Reading, Signals};
use msars_observe::Windows;

/// What a workload's rates were while no profile reached it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Before {
    rate: Option<Rate>,
    peak: Option<Rate>,
    /// When a profile's load was last seen to reach it.
    reached: Option<Timestamp>,
}

fn lower(reading: &mut Reading<Rate>, before: Option<Rate>) {
    if let (Reading::Known { value, .. }, Some(before)) = (reading, before)
        && *value > before
    {
        *value = before;
    }
}

impl Before {
    /// Puts the rates from before in place of those that hold a profile's load; learns them otherwise. `reached`: a
    /// profile's load reaches the workload now.
    pub fn spare(
        &mut self,
        signals: &mut Signals,
        reached: bool,
        windows: &Windows,
        now: Timestamp,
    ) {
        if reached {
            self.reached = Some(now);
        }
        let since = self.reached.map(|at| now.duration_since(at));
        let within = |window: std::time::Duration| {
            let whole = window + windows.scrape + windows.late;
            since.is_some_and(|since| {
                SignedDuration::try_from(whole).is_ok_and(|whole| since <= whole)
            })
        };
        if within(windows.rate()) {
            lower(&mut signals.rate, self.rate);
            if let (Some(least), Some(before)) = (&mut signals.rate_at_least, self.rate)
                && least.rate > before
            {
                least.rate = before;
            }
        } else {
            self.rate = signals.rate.value().copied().or(self.rate);
        }
        if within(windows.peak) {
            lower(&mut signals.peak_rate, self.peak);
        } else {
            self.peak = signals.peak_rate.value().copied().or(self.peak);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msars_domain::{ObjectKey, Unknown};

    fn signals(rate: f64, peak: f64) -> Signals {
        let known = |value| Reading::Known {
            value: Rate::new(value).unwrap(),
            at: Timestamp::UNIX_EPOCH,
        };
        let nothing = Reading::Unknown {
            why: Unknown::NoSeries,
        };
        let none = Reading::Unknown {
            why: Unknown::NoSeries,
        };
        Signals {
            workload: ObjectKey::new("shop", "carts"),
            rate: known(rate),
            peak_rate: known(peak),
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
    fn a_profiles_load_is_no_load_until_its_windows_are_over() {
        let windows = Windows::default();
        let mut before = Before::default();
        // (second, reached, rate and peak measured, rate and peak that count)
        let table = [
            (0, false, (7.0, 9.0), (7.0, 9.0)),
            (15, true, (30.0, 40.0), (7.0, 9.0)),
            (30, true, (49.0, 50.0), (7.0, 9.0)),
            // Fewer than before are believed at once.
            (45, false, (5.0, 50.0), (5.0, 9.0)),
            (60, false, (40.0, 50.0), (7.0, 9.0)),
            // The short window is over, that of the peak is not.
            (90, false, (11.0, 50.0), (11.0, 9.0)),
            (700, false, (11.0, 12.0), (11.0, 12.0)),
        ];
        for (second, reached, (rate, peak), wanted) in table {
            let mut seen = signals(rate, peak);
            let now = Timestamp::from_second(second).unwrap();
            before.spare(&mut seen, reached, &windows, now);
            let read = |reading: &Reading<Rate>| reading.value().unwrap().get();
            assert_eq!(
                (read(&seen.rate), read(&seen.peak_rate)),
                wanted,
                "{second}"
            );
        }
    }

    #[test]
    fn what_was_never_seen_without_a_profile_counts_as_it_is() {
        let mut before = Before::default();
        let mut seen = signals(30.0, 40.0);
        before.spare(&mut seen, true, &Windows::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(seen, signals(30.0, 40.0));
    }
}
