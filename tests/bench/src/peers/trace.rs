//! The load that every policy gets. Pure.

use std::fmt::Write as _;

use anyhow::{Result, bail};

/// Minutes of the built-in trace.
const MINUTES: usize = 30;
/// Requests per second at night, at noon, and the factor of the surge.
const NIGHT: f64 = 15.0;
const NOON: f64 = 45.0;
const SURGE: f64 = 2.0;
/// Minutes of the surge.
const SURGED: std::ops::Range<usize> = 20..23;

/// Rates, one per minute of the trace's own time.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    rates: Vec<f64>,
}

impl Trace {
    /// One day in half an hour, with a surge from one minute to the next in its evening.
    pub fn built_in() -> Self {
        let rate = |minute: usize| {
            let phase = std::f64::consts::TAU * minute as f64 / MINUTES as f64;
            let day = NIGHT + (NOON - NIGHT) * (1.0 - phase.cos()) / 2.0;
            if SURGED.contains(&minute) {
                day * SURGE
            } else {
                day
            }
        };
        Self {
            rates: (0..MINUTES).map(rate).collect(),
        }
    }

    /// One rate a line, read by `step` seconds a line and averaged per minute; empty lines and comments are skipped.
    pub fn read(text: &str, step_s: f64, scale: f64) -> Result<Self> {
        let mut lines = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.parse::<f64>() {
                Ok(rate) if rate >= 0.0 && rate.is_finite() => lines.push(rate * scale),
                _ => bail!("{line:?} is no rate: requests per second, one a line"),
            }
        }
        let per_minute = (60.0 / step_s).round().max(1.0) as usize;
        let mean = |some: &[f64]| some.iter().sum::<f64>() / some.len() as f64;
        let rates: Vec<f64> = lines.chunks(per_minute).map(mean).take(MINUTES).collect();
        if rates.is_empty() {
            bail!("the trace holds no rate");
        }
        Ok(Self { rates })
    }

    /// The rate of the first minute, for warming up.
    pub fn first(&self) -> f64 {
        self.rates[0]
    }

    /// Mean rate.
    pub fn mean(&self) -> f64 {
        self.rates.iter().sum::<f64>() / self.rates.len() as f64
    }

    /// As the load driver reads it.
    pub fn text(&self) -> String {
        self.rates.iter().fold(String::new(), |mut text, rate| {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{rate:.3}");
            text
        })
    }

    /// Seconds of real time that a minute of the trace takes when all of it takes `seconds`.
    pub fn step_s(&self, seconds: f64) -> f64 {
        seconds / self.rates.len() as f64
    }

    /// Real seconds and rate, for a figure.
    pub fn points(&self, seconds: f64) -> Vec<(f64, f64)> {
        let step = self.step_s(seconds);
        let ends = self.rates.iter().enumerate();
        ends.flat_map(|(n, rate)| [(n as f64 * step, *rate), ((n + 1) as f64 * step, *rate)])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Trace;

    #[test]
    fn a_day_with_a_surge() {
        let trace = Trace::built_in();
        let rates: Vec<f64> = trace
            .text()
            .lines()
            .map(|line| line.parse().unwrap())
            .collect();
        assert_eq!(rates.len(), 30);
        assert!((trace.first() - 15.0).abs() < 1e-9 && rates[20] > 1.5 * rates[19]);
        assert!((trace.step_s(480.0) - 16.0).abs() < 1e-9);
        assert!(trace.mean() > 30.0 && trace.mean() < 40.0);
    }

    #[test]
    fn a_file_is_averaged_per_minute() {
        let trace = Trace::read("# rates\n1\n3\n\n5\n7\n", 30.0, 2.0).unwrap();
        assert_eq!(trace.text(), "4.000\n12.000\n");
        assert!(Trace::read("", 1.0, 1.0).is_err());
        assert!(Trace::read("-1", 1.0, 1.0).is_err());
    }
}
