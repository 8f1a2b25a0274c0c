//! Fits tail factors to a model of the end-to-end tail, where one exists.

use msars_domain::Millis;

use crate::allocator::Allocator;
use crate::outcome::{Shortfall, Split};
use crate::request::{SplitError, SplitRequest, TailFactor};

/// How far a step goes while only one side of a factor is known.
const STRIDE: f64 = 1.5;

/// Sides nearer than this are one: budgets change by less than a profile's error.
const NEAR: f64 = 1.02;

/// A chain's factor between one that was too loose and one that was tight enough.
#[derive(Debug, Clone, Copy)]
struct Bracket {
    factor: f64,
    loose: Option<f64>,
    tight: Option<f64>,
}

impl Bracket {
    fn learn(&mut self, kept: bool) {
        if kept {
            self.tight = Some(self.factor);
            // Chains share services: what another chain got may have turned the answer.
            self.loose = self.loose.filter(|loose| *loose < self.factor);
        } else {
            self.loose = Some(self.factor);
            self.tight = self.tight.filter(|tight| *tight > self.factor);
        }
    }

    /// The next factor to try; none when nothing is left to learn.
    fn next(&self) -> Option<f64> {
        let (least, most) = TailFactor::RANGE;
        match (self.loose, self.tight) {
            (Some(loose), Some(tight)) => (tight / loose > NEAR).then(|| (loose * tight).sqrt()),
            (Some(loose), None) => (loose < most).then(|| (loose * STRIDE).min(most)),
            (None, Some(tight)) => (tight > least).then(|| (tight / STRIDE).max(least)),
            (None, None) => None,
        }
    }
}

/// The cheapest split that `quantiles` says keeps every objective, found by at most `steps` splits.
///
/// `quantiles` answers the end-to-end quantile of each chain of a split, in the request's order, at the chain's
/// percentile. The answer is a step function of the factors, so each is bracketed and bisected rather than iterated
/// to a fixed point; the request's own factors are the first try. Where no try keeps every objective, the one that
/// comes nearest is returned as infeasible.
pub fn fit_tail(
    allocator: &mut dyn Allocator,
    request: &SplitRequest,
    steps: u32,
    quantiles: &mut dyn FnMut(&Split) -> Vec<Millis>,
) -> Result<Split, SplitError> {
    let mut request = request.clone();
    let mut brackets: Vec<Bracket> = (request.chains.iter())
        .map(|chain| Bracket {
            factor: chain.tail.get(),
            loose: None,
            tight: None,
        })
        .collect();
    let mut best: Option<(f64, Split)> = None;
    for _ in 0..steps.max(1) {
        let Some(split) = allocator.allocate(std::slice::from_ref(&request)).pop() else {
            break;
        };
        let split = split?;
        let mut worst: f64 = 0.0;
        let found = quantiles(&split);
        for ((chain, bracket), found) in request.chains.iter().zip(&mut brackets).zip(&found) {
            let ratio = found.get() / chain.objective.get();
            worst = worst.max(ratio);
            bracket.learn(ratio <= 1.0);
        }
        let better = best.as_ref().is_none_or(|(ratio, other)| {
            if worst <= 1.0 && *ratio <= 1.0 {
                split.cost < other.cost
            } else {
                worst < *ratio
            }
        });
        if better {
            best = Some((worst, split));
        }
        let mut moved = false;
        for (chain, bracket) in request.chains.iter_mut().zip(&mut brackets) {
            let settled = bracket.tight.unwrap_or(bracket.factor);
            moved |= bracket.next().is_some();
            bracket.factor = bracket.next().unwrap_or(settled);
            chain.tail = TailFactor::new(bracket.factor)?;
        }
        if !moved {
            break;
        }
    }
    let (worst, mut split) = best.ok_or(SplitError::NoChains(request.application))?;
    if worst <= 1.0 {
        // Budgets are what the model was asked about; whether they add up no longer matters.
        return Ok(split);
    }
    let found = quantiles(&split);
    let latest = (split.chains.iter().zip(&found))
        .max_by(|a, b| late(a.0.objective, *a.1).total_cmp(&late(b.0.objective, *b.1)));
    if let (Some((chain, found)), None) = (latest, &split.shortfall) {
        let bottleneck = (chain.shares.iter())
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map_or_else(String::new, |(service, _)| service.clone());
        let short = Shortfall {
            chain: chain.chain.clone(),
            bottleneck,
            reachable: Some(*found),
            target: chain.objective,
        };
        split.reason = format!(
            "chain {} is expected at {found} for an objective of {}; {} takes most of it: best effort at {}",
            short.chain, short.target, short.bottleneck, split.cost
        );
        split.shortfall = Some(short);
        split.feasible = false;
    }
    Ok(split)
}

fn late(objective: Millis, found: Millis) -> f64 {
    found.get() / objective.get()
}
