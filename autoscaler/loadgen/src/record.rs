//! Counts and histograms of a run: whole, by window, by class.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use jiff::Timestamp;
use msars_domain::Millis;
use msars_domain::load::{Class, Latency, Outcomes, Tally, Window};

use crate::clock;

/// Upper end of the latency histograms in microseconds; later ones count as this.
const MOST_US: u64 = 60_000_000;

/// How a sent request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered with a status.
    Status(u16),
    /// Not connected, or broken off.
    Connection,
    /// Given up.
    Timeout,
}

/// Counts of some requests.
struct Cell {
    sent: u64,
    ended: u64,
    dropped: u64,
    outcomes: Outcomes,
    latency: Histogram<u32>,
    lag: Histogram<u32>,
}

impl Cell {
    fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            sent: 0,
            ended: 0,
            dropped: 0,
            outcomes: Outcomes::default(),
            latency: Histogram::new_with_bounds(1, MOST_US, 3)?,
            lag: Histogram::new_with_bounds(1, MOST_US, 2)?,
        })
    }

    fn end(&mut self, outcome: Outcome, lag: Duration, latency: Duration) {
        self.ended += 1;
        self.lag.saturating_record(micros(lag));
        let outcomes = &mut self.outcomes;
        let (count, timed) = match outcome {
            Outcome::Status(0..300) => (&mut outcomes.success, true),
            Outcome::Status(300..400) => (&mut outcomes.redirect, true),
            Outcome::Status(400..500) => (&mut outcomes.client_error, true),
            Outcome::Status(_) => (&mut outcomes.server_error, false),
            Outcome::Connection => (&mut outcomes.connection, false),
            Outcome::Timeout => (&mut outcomes.timeout, true),
        };
        *count += 1;
        if timed {
            self.latency.saturating_record(micros(latency));
        }
    }

    fn tally(&self) -> Tally {
        Tally {
            sent: self.sent,
            failed: self.outcomes.failed(),
            dropped: self.dropped,
            outcomes: self.outcomes,
            latency: summary(&self.latency),
        }
    }
}

/// Counts of a run in progress.
pub(crate) struct Recorder {
    start: Timestamp,
    window_s: f64,
    total: Cell,
    classes: Vec<Cell>,
    /// Index of the first open window.
    first_open: usize,
    open: VecDeque<Cell>,
    closed: Vec<Window>,
}

impl Recorder {
    pub(crate) fn new(
        start: Timestamp,
        window: Duration,
        classes: usize,
    ) -> Result<Self, hdrhistogram::CreationError> {
        let classes = (0..classes)
            .map(|_| Cell::new())
            .collect::<Result<_, _>>()?;
        Ok(Self {
            start,
            window_s: window.as_secs_f64().max(0.001),
            total: Cell::new()?,
            classes,
            first_open: 0,
            open: VecDeque::new(),
            closed: Vec::new(),
        })
    }

    /// The window of an offset.
    pub(crate) fn window_of(&self, offset: Duration) -> usize {
        (offset.as_secs_f64() / self.window_s) as usize
    }

    /// Counts an arrival, sent or dropped.
    pub(crate) fn arrive(
        &mut self,
        window: usize,
        class: usize,
        sent: bool,
    ) -> Result<(), hdrhistogram::CreationError> {
        self.open_through(window)?;
        for cell in self.cells(window, class) {
            cell.sent += u64::from(sent);
            cell.dropped += u64::from(!sent);
        }
        Ok(())
    }

    /// Counts the end of a sent request.
    pub(crate) fn end(
        &mut self,
        (window, class): (usize, usize),
        outcome: Outcome,
        lag: Duration,
        latency: Duration,
    ) {
        for cell in self.cells(window, class) {
            cell.end(outcome, lag, latency);
        }
    }

    fn cells(&mut self, window: usize, class: usize) -> impl Iterator<Item = &mut Cell> {
        let window = window.checked_sub(self.first_open);
        let window = window.and_then(|index| self.open.get_mut(index));
        let class = self.classes.get_mut(class);
        std::iter::once(&mut self.total).chain(window).chain(class)
    }

    fn open_through(&mut self, window: usize) -> Result<(), hdrhistogram::CreationError> {
        while self.first_open + self.open.len() <= window {
            self.open.push_back(Cell::new()?);
        }
        Ok(())
    }

    /// Closes windows before `window` whose requests have all ended, in order, and returns them.
    pub(crate) fn close_before(&mut self, window: usize) -> &[Window] {
        let from = self.closed.len();
        while self.first_open < window {
            match self.open.front() {
                Some(cell) if cell.ended < cell.sent => break,
                None => break,
                Some(_) => self.close_first(f64::INFINITY),
            }
        }
        &self.closed[from..]
    }

    fn close_first(&mut self, ended_s: f64) {
        let Some(cell) = self.open.pop_front() else {
            return;
        };
        let index = self.first_open as f64;
        self.first_open += 1;
        let end_s = ((index + 1.0) * self.window_s).min(ended_s);
        self.closed.push(Window {
            start: clock::after(self.start, index * self.window_s),
            end: clock::after(self.start, end_s),
            tally: cell.tally(),
            lag_p99: quantile(&cell.lag, 0.99),
        });
    }

    /// Closes everything: sending ended after `ended_s` seconds and all requests have ended. Returns how many
    /// windows had been closed before.
    pub(crate) fn finish(&mut self, ended_s: f64) -> Result<usize, hdrhistogram::CreationError> {
        let before = self.closed.len();
        let windows = (ended_s / self.window_s - 1e-6).ceil().max(1.0);
        self.open_through(windows as usize - 1)?;
        while !self.open.is_empty() {
            self.close_first(ended_s);
        }
        Ok(before)
    }

    pub(crate) fn windows(&self) -> &[Window] {
        &self.closed
    }

    pub(crate) fn total(&self) -> Tally {
        self.total.tally()
    }

    /// Median, 99th percentile and largest send lag.
    pub(crate) fn lag(&self) -> [Millis; 3] {
        [0.5, 0.99, 1.0].map(|q| quantile(&self.total.lag, q).unwrap_or(Millis::ZERO))
    }

    pub(crate) fn classes(&self, names: &[String]) -> Vec<Class> {
        let named = names.iter().zip(&self.classes);
        named
            .map(|(request, cell)| Class {
                request: request.clone(),
                tally: cell.tally(),
            })
            .collect()
    }

    /// The run's latencies as other HDR tools read them.
    pub(crate) fn histogram(&self) -> Result<String, String> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.total.latency, &mut bytes)
            .map_err(|error| error.to_string())?;
        Ok(STANDARD.encode(bytes))
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn millis(us: f64) -> Millis {
    Millis::new(us / 1000.0).unwrap_or(Millis::ZERO)
}

fn quantile(histogram: &Histogram<u32>, share: f64) -> Option<Millis> {
    (!histogram.is_empty()).then(|| millis(histogram.value_at_quantile(share) as f64))
}

fn summary(histogram: &Histogram<u32>) -> Option<Latency> {
    Some(Latency {
        count: histogram.len(),
        mean: millis(histogram.mean()),
        p50: quantile(histogram, 0.5)?,
        p90: quantile(histogram, 0.9)?,
        p95: quantile(histogram, 0.95)?,
        p99: quantile(histogram, 0.99)?,
        max: millis(histogram.max() as f64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn recorder() -> Recorder {
        Recorder::new(Timestamp::UNIX_EPOCH, 1000 * MS, 2).unwrap()
    }

    #[test]
    fn a_window_closes_when_its_requests_have_ended_and_never_before_an_earlier_one() {
        let mut recorder = recorder();
        recorder.arrive(0, 0, true).unwrap();
        recorder.arrive(2, 1, true).unwrap();
        recorder.end((2, 1), Outcome::Status(200), MS, 5 * MS);
        assert!(recorder.close_before(3).is_empty());
        recorder.end((0, 0), Outcome::Timeout, MS, 3000 * MS);
        assert_eq!(recorder.close_before(2).len(), 2);
        assert_eq!(recorder.finish(2.5).unwrap(), 2);
        let windows = recorder.windows();
        assert_eq!(windows.len(), 3);
        assert!(windows.windows(2).all(|w| w[0].end == w[1].start));
        assert_eq!(windows[2].end.as_millisecond(), 2500);
        assert_eq!(windows[1].tally.latency, None);
        assert_eq!(windows[0].tally.failed, 1);
    }

    #[test]
    fn failures_are_counted_by_kind_and_only_timeouts_have_a_latency() {
        let mut recorder = recorder();
        for (status, outcome) in [
            (true, Outcome::Status(204)),
            (true, Outcome::Status(302)),
            (true, Outcome::Status(404)),
            (false, Outcome::Status(503)),
            (false, Outcome::Connection),
            (true, Outcome::Timeout),
        ] {
            recorder.arrive(0, 0, true).unwrap();
            let before = recorder.total().latency.map_or(0, |l| l.count);
            recorder.end((0, 0), outcome, MS, 7 * MS);
            let after = recorder.total().latency.map_or(0, |l| l.count);
            assert_eq!(after - before, u64::from(status), "{outcome:?}");
        }
        recorder.arrive(0, 1, false).unwrap();
        let total = recorder.total();
        assert_eq!((total.sent, total.failed, total.dropped), (6, 3, 1));
        let one_each = Outcomes {
            success: 1,
            redirect: 1,
            client_error: 1,
            server_error: 1,
            connection: 1,
            timeout: 1,
        };
        assert_eq!(total.outcomes, one_each);
        let classes = recorder.classes(&["a".into(), "b".into()]);
        assert_eq!((classes[0].tally.sent, classes[1].tally.dropped), (6, 1));
    }

    #[test]
    fn a_whole_number_of_windows_leaves_no_sliver() {
        let mut recorder = Recorder::new(Timestamp::UNIX_EPOCH, 100 * MS, 1).unwrap();
        recorder.finish(0.3).unwrap();
        assert_eq!(recorder.windows().len(), 3);
    }
}
