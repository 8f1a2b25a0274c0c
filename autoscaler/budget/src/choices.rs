//! The finitely many useful budgets of one service.

use msars_domain::{Curve, MilliCpu, SizeCurve};

use crate::request::Service;

/// Pods, the self time they keep at the service's rate, and what they cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    /// Self-time quantile in ms.
    pub budget: f64,
    /// Requested thousandths of a core over all pods.
    pub cost: u64,
    pub size: MilliCpu,
    pub replicas: u32,
}

/// All choices that no other beats, fastest and dearest first, or the nearest thing to one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Menu {
    /// At least one.
    pub choices: Vec<Choice>,
    /// No choice carries the rate; the only one is the largest that is allowed.
    pub overloaded: bool,
}

/// The menu of a profiled service at `rate` requests/s over all its pods; none for a curve without points.
pub(crate) fn menu(service: &Service, curve: &Curve, rate: f64) -> Option<Menu> {
    let floor_replicas = service.floor.map_or(0, |floor| floor.replicas);
    let least = service.min_replicas.max(floor_replicas).max(1);
    let most = service.max_replicas.max(least);
    let largest = curve.sizes().last()?.size;
    let floor_size = (service.floor).map_or(MilliCpu(0), |floor| floor.size.min(largest));

    let mut choices = Vec::new();
    let mut widest: Option<(f64, Choice)> = None;
    for table in curve.sizes().iter().filter(|t| t.size >= floor_size) {
        let (first, last) = (table.knots.first()?, table.knots.last()?);
        let cost = |replicas| u64::from(service.weight.of(table.size).0) * u64::from(replicas);
        for replicas in least..=most {
            let share = rate / f64::from(replicas);
            if let Some(budget) = quantile(table, share) {
                choices.push(Choice {
                    budget,
                    cost: cost(replicas),
                    size: table.size,
                    replicas,
                });
            }
            if share <= first.rate.get() {
                break; // The profile shows no faster pod.
            }
        }
        let capacity = last.rate.get();
        if widest.is_none_or(|(most_so_far, _)| capacity > most_so_far) {
            let choice = Choice {
                budget: last.quantile.get(),
                cost: cost(most),
                size: table.size,
                replicas: most,
            };
            widest = Some((capacity, choice));
        }
    }
    choices.sort_by(|a, b| (a.budget.total_cmp(&b.budget)).then(a.cost.cmp(&b.cost)));
    let mut cheapest = u64::MAX;
    choices.retain(|choice| {
        let keep = choice.cost < cheapest;
        cheapest = cheapest.min(choice.cost);
        keep
    });
    if choices.is_empty() {
        let (_, choice) = widest?;
        return Some(Menu {
            choices: vec![choice],
            overloaded: true,
        });
    }
    Some(Menu {
        choices,
        overloaded: false,
    })
}

/// The inverse of [`SizeCurve::capacity`]: the quantile at `rate` requests/s per pod, linear between points, that of
/// the lowest point below it, none above the highest.
fn quantile(table: &SizeCurve, rate: f64) -> Option<f64> {
    let first = table.knots.first()?;
    if rate <= first.rate.get() {
        return Some(first.quantile.get());
    }
    let pair = (table.knots.windows(2)).find(|pair| rate <= pair[1].rate.get())?;
    let (low, high) = (pair[0], pair[1]);
    let along = (rate - low.rate.get()) / (high.rate.get() - low.rate.get());
    Some(low.quantile.get() + along * (high.quantile.get() - low.quantile.get()))
}
