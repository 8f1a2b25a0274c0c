//! What one request will do: the table with its chances drawn.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, LogNormal};

use crate::behaviour::{Call, Route, Step};

/// One step with its visits drawn.
#[derive(Debug, Clone, PartialEq)]
pub enum DrawnStep {
    /// Starts all of these, waits for the last.
    Wait(Vec<Call>),
    /// Starts this and goes on.
    Async(Call),
}

/// One request's fate.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// CPU time, milliseconds.
    pub work_ms: f64,
    /// Steps after it.
    pub steps: Vec<DrawnStep>,
}

fn times(visits: f64, rng: &mut impl Rng) -> usize {
    let more = rng.random_bool(visits.fract().clamp(0.0, 1.0));
    visits as usize + usize::from(more)
}

/// Draws a request of that class: lognormal work with the class's mean, and for each call
/// whole visits plus one more with the chance of the rest.
pub fn draw(route: &Route, rng: &mut impl Rng) -> Drawn {
    let sigma = route.sigma;
    // E[exp(N(mu, sigma))] = exp(mu + sigma^2 / 2).
    let mu = route.work_ms.ln() - sigma * sigma / 2.0;
    let work_ms = LogNormal::new(mu, sigma).map_or(route.work_ms, |law| law.sample(rng));
    let mut steps = Vec::with_capacity(route.steps.len());
    for step in &route.steps {
        match step {
            Step::Sequential(call) => {
                for _ in 0..times(call.visits, rng) {
                    steps.push(DrawnStep::Wait(vec![call.clone()]));
                }
            }
            Step::Parallel(calls) => {
                let drawn: Vec<Call> = calls
                    .iter()
                    .flat_map(|call| std::iter::repeat_n(call.clone(), times(call.visits, rng)))
                    .collect();
                if !drawn.is_empty() {
                    steps.push(DrawnStep::Wait(drawn));
                }
            }
            Step::Async(call) => {
                for _ in 0..times(call.visits, rng) {
                    steps.push(DrawnStep::Async(call.clone()));
                }
            }
        }
    }
    Drawn { work_ms, steps }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::{DrawnStep, draw};
    use crate::behaviour::behaviour;
    use crate::role::{Role, Version};

    #[test]
    fn the_mean_and_the_spread_of_many_draws_are_the_tables() {
        for version in [Version::V1, Version::V4] {
            let catalogue = behaviour(Role::Catalogue, version);
            let route = catalogue.route("GET /catalogue").unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(7);
            let works: Vec<f64> = (0..40_000).map(|_| draw(route, &mut rng).work_ms).collect();
            let n = works.len() as f64;
            let mean = works.iter().sum::<f64>() / n;
            assert!((mean / route.work_ms - 1.0).abs() < 0.03, "{mean}");
            let log_mean = works.iter().map(|w| w.ln()).sum::<f64>() / n;
            let variance = works
                .iter()
                .map(|w| (w.ln() - log_mean).powi(2))
                .sum::<f64>()
                / n;
            assert!((variance.sqrt() / route.sigma - 1.0).abs() < 0.03);
        }
    }

    #[test]
    fn a_visit_ratio_is_a_mean_and_not_a_rounding() {
        let front = behaviour(Role::FrontEnd, Version::V1);
        let home = front.route("GET /").unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut sessions = 0.0;
        for _ in 0..20_000 {
            for step in draw(home, &mut rng).steps {
                if let DrawnStep::Wait(calls) = step {
                    sessions += calls.iter().filter(|c| c.callee == Role::SessionDb).count() as f64;
                }
            }
        }
        assert!((sessions / 20_000.0 - 0.3).abs() < 0.02, "{sessions}");
    }

    #[test]
    fn parallel_calls_stay_together_and_async_ones_are_not_waited_for() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let orders = behaviour(Role::Orders, Version::V1);
        let drawn = draw(orders.route("POST /orders").unwrap(), &mut rng);
        assert!(matches!(&drawn.steps[0], DrawnStep::Wait(calls) if calls.len() == 4));
        let shipping = behaviour(Role::Shipping, Version::V1);
        let drawn = draw(&shipping.routes[0], &mut rng);
        assert!(matches!(drawn.steps.as_slice(), [DrawnStep::Async(_)]));
    }
}
