//! The tail factor κ of an application, from what was observed at once. Pure.

use std::collections::BTreeMap;

use msars_budget::{TailFactor, path_latency};
use msars_domain::{Chain, Millis};

use super::application::Application;
use super::assemble::Class;

/// κ: the entry's observed quantile over what the chain's own times add up to, those of services with too few requests
/// included as they are assumed. One where several classes share the entry, whose quantile is of all of them together.
pub(super) fn tail_factor(
    classes: &[Class],
    quantile_ms: Option<f64>,
    observed: &BTreeMap<String, Millis>,
) -> TailFactor {
    let [class] = classes else {
        return TailFactor::ONE;
    };
    let quantile = quantile_ms.and_then(|ms| Millis::new(ms).ok());
    let predicted = path_latency(&class.chain, |name| observed.get(name).copied());
    match (quantile, predicted) {
        (Some(quantile), Some(predicted)) => TailFactor::observed(quantile, predicted),
        _ => TailFactor::ONE,
    }
}

/// The factor that a stored split of one chain rests on.
pub(super) fn stored(application: &Application, chain: &str) -> Option<TailFactor> {
    let status = application.stored.status.as_ref()?;
    let [only] = &status.chains[..] else {
        return None;
    };
    let same = only.name == chain;
    TailFactor::new(only.tail_factor).ok().filter(|_| same)
}

/// Services with too few requests for a quantile count with the median of those measured in the same chain: they take
/// time, and no more is known.
pub(super) fn fill_unmeasured(chain: &Chain, observed: &mut BTreeMap<String, Millis>) {
    let names: Vec<String> = chain
        .visits()
        .into_iter()
        .map(|(name, _)| name.to_owned())
        .collect();
    let mut measured: Vec<f64> = names
        .iter()
        .filter_map(|name| observed.get(name).map(|ms| ms.get()))
        .collect();
    measured.sort_by(f64::total_cmp);
    let Some(median) = measured
        .get(measured.len() / 2)
        .and_then(|ms| Millis::new(*ms).ok())
    else {
        return;
    };
    for name in names {
        observed.entry(name).or_insert(median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msars_domain::{Call, EdgeKind, Percentile, Rate};

    fn call(service: &str, children: Vec<Call>) -> Call {
        Call {
            service: service.into(),
            visits: 1.0,
            max_visits: 1,
            kind: EdgeKind::Sequential,
            children,
        }
    }

    #[test]
    fn a_service_with_few_requests_does_not_hide_the_tail_factor() {
        let ms = |value| Millis::new(value).unwrap();
        let chain = Chain {
            name: "all".into(),
            root: call("a", vec![call("b", vec![]), call("rare", vec![])]),
            percentile: Percentile::new(0.99).unwrap(),
        };
        let class = Class {
            chain,
            rate: Rate::new(10.0).unwrap(),
            objective: ms(400.0),
            tail: TailFactor::ONE,
        };
        let mut observed = BTreeMap::from([("a".to_owned(), ms(20.0)), ("b".to_owned(), ms(60.0))]);
        fill_unmeasured(&class.chain, &mut observed);
        assert_eq!(observed.get("rare"), Some(&ms(60.0)));
        let classes = [class];
        let tail = tail_factor(&classes, Some(70.0), &observed);
        assert!((tail.get() - 0.5).abs() < 1e-9, "{tail:?}");
        assert_eq!(tail_factor(&classes, None, &observed), TailFactor::ONE);
        let two = [classes[0].clone(), classes[0].clone()];
        assert_eq!(tail_factor(&two, Some(70.0), &observed), TailFactor::ONE);
    }
}
