//! How long a request waits for callees, as a histogram of calls tells it.

use rand::{Rng, RngExt};

/// Shares at which the time of a call is kept: close together where a callee's throttling shows.
const SHARES: [f64; 13] = [
    0.0, 0.1, 0.25, 0.5, 0.75, 0.85, 0.9, 0.94, 0.97, 0.985, 0.995, 0.999, 1.0,
];

/// The waits of one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Waits {
    /// Calls per request, ≥ 0; one after the other.
    per_request: f64,
    /// Time of a call in ms at each of the shares, ascending.
    call_ms: [f64; SHARES.len()],
}

impl Waits {
    /// `call_ms` gives the time of a call in ms at a share of calls, 0 to 1. `None` where a time or the calls per
    /// request are not known.
    pub fn new(per_request: f64, mut call_ms: impl FnMut(f64) -> Option<f64>) -> Option<Self> {
        let mut kept = [0.0; SHARES.len()];
        let mut least = 0.0_f64;
        for (kept, share) in kept.iter_mut().zip(SHARES) {
            let time = call_ms(share).filter(|time| time.is_finite())?;
            least = least.max(time);
            *kept = least;
        }
        let known = per_request.is_finite() && per_request >= 0.0;
        known.then_some(Self {
            per_request,
            call_ms: kept,
        })
    }

    fn call(&self, share: f64) -> f64 {
        let last = SHARES.len() - 1;
        let high = SHARES
            .partition_point(|known| *known < share)
            .clamp(1, last);
        let low = high - 1;
        let part = (share - SHARES[low]) / (SHARES[high] - SHARES[low]);
        self.call_ms[low] + part * (self.call_ms[high] - self.call_ms[low])
    }

    /// The wait of one request in ms: whole calls, and one more with the chance of the rest. Draws are independent,
    /// though a slow callee is slow for all at the same time: with eight workers that made no difference.
    pub(crate) fn draw(&self, rng: &mut impl Rng) -> f64 {
        let more = rng.random::<f64>() < self.per_request.fract();
        let calls = self.per_request as usize + usize::from(more);
        (0..calls).map(|_| self.call(rng.random())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msars_sim::stream;

    #[test]
    fn waits_have_the_mean_of_their_calls() {
        let waits = Waits::new(1.4, |share| Some(10.0 * share)).unwrap();
        let mut rng = stream(1, 1);
        let mean = (0..20_000).map(|_| waits.draw(&mut rng)).sum::<f64>() / 20_000.0;
        assert!((mean - 7.0).abs() < 0.15, "{mean}");
    }

    #[test]
    fn what_is_not_known_is_no_wait() {
        assert_eq!(Waits::new(1.0, |_| None), None);
        assert_eq!(Waits::new(f64::NAN, |_| Some(1.0)), None);
        let falling = Waits::new(1.0, |share| Some(1.0 - share)).unwrap();
        assert!((falling.call(1.0) - 1.0).abs() < 1e-12);
    }
}
