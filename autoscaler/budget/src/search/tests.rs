use std::collections::BTreeMap;

use msars_domain::{
    Call, Chain, Curve, EdgeKind, Knot, MilliCpu, Millis, Percentile, Rate, SizeCurve,
};
use proptest::prelude::*;

use super::*;
use crate::problem::dot;
use crate::request::{ChainRequest, Latency, Service, SplitRequest, Weight};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn service(base: f64, knee: f64, ratio: f64) -> Service {
    let knots = [(0.2, 1.0), (1.0, 1.5), (2.0, 6.0)].map(|(rate, factor)| Knot {
        rate: Rate::new(knee * rate).unwrap(),
        quantile: Millis::new(base * factor).unwrap(),
    });
    let table = SizeCurve {
        size: MilliCpu(100),
        knots: knots.to_vec(),
    };
    let percentile = Percentile::new(0.99).unwrap();
    Service {
        latency: Latency::Profiled {
            curve: Curve::new(vec![table]).unwrap(),
            percentile,
        },
        min_replicas: 1,
        max_replicas: 7,
        weight: Weight {
            ratio,
            sidecars: MilliCpu(0),
        },
        floor: None,
        elsewhere: None,
    }
}

/// Three chains, each a caller and callees that it calls in sequence or at the same time.
fn problem() -> impl Strategy<Value = Problem> {
    let chain = (
        prop::sample::subsequence((0..5).collect::<Vec<usize>>(), 2..=4),
        prop::collection::vec(any::<bool>(), 4),
        0.7..4.0_f64,
    );
    (
        prop::collection::vec(chain, 3),
        prop::collection::vec((2.0..40.0_f64, 8.0..40.0_f64, 0.3..1.0_f64), 5),
    )
        .prop_map(|(chains, draws)| {
            let chains = (chains.into_iter().enumerate())
                .map(|(index, (members, parallel, looseness))| {
                    let call = |place: usize| Call {
                        service: NAMES[members[place]].into(),
                        visits: 1.0,
                        max_visits: 1,
                        kind: if parallel[place] {
                            EdgeKind::Parallel
                        } else {
                            EdgeKind::Sequential
                        },
                        children: Vec::new(),
                    };
                    let mut root = call(0);
                    root.children = (1..members.len()).map(call).collect();
                    let sum: f64 = members.iter().map(|&member| draws[member].0).sum();
                    let chain = Chain {
                        name: index.to_string(),
                        root,
                        percentile: Percentile::new(0.99).unwrap(),
                    };
                    let objective = Millis::new(sum * looseness).unwrap();
                    ChainRequest::new(chain, Rate::new(12.0).unwrap(), objective)
                })
                .collect();
            let services: BTreeMap<String, Service> = (NAMES.iter().zip(&draws))
                .map(|(name, (base, knee, ratio))| {
                    ((*name).to_owned(), service(*base, *knee, *ratio))
                })
                .collect();
            let request = SplitRequest {
                application: "test".into(),
                chains,
                services,
            };
            Problem::new(&request).unwrap()
        })
}

/// The cheapest of all choices that keep every path, with some services already chosen.
fn cheapest(problem: &Problem, chosen: &BTreeMap<usize, usize>) -> Option<u64> {
    fn walk(
        problem: &Problem,
        chosen: &BTreeMap<usize, usize>,
        picks: &mut Vec<usize>,
        best: &mut Option<u64>,
    ) {
        let item = picks.len();
        if item == problem.items.len() {
            let budgets = problem.budgets(picks);
            let cost = problem.cost(picks);
            let kept = (problem.rows.iter())
                .all(|row| dot(&row.visits, &budgets) <= row.limit * (1.0 + ROUNDING));
            if kept && best.is_none_or(|best| cost < best) {
                *best = Some(cost);
            }
            return;
        }
        for pick in 0..problem.items[item].choices.len() {
            if chosen.get(&item).is_none_or(|fixed| *fixed == pick) {
                picks.push(pick);
                walk(problem, chosen, picks, best);
                picks.pop();
            }
        }
    }
    let mut best = None;
    walk(problem, chosen, &mut Vec::new(), &mut best);
    best
}

const EFFORT: Effort = Effort {
    steps: 1_000_000,
    pairs: 100_000_000,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// From the worst start, so that the enumeration itself must find the best.
    #[test]
    fn the_enumeration_finds_the_cheapest_whatever_its_start_and_prices(
        problem in problem(), priced in any::<bool>()
    ) {
        let (good, mut prices) = start(&problem);
        if !priced {
            prices.fill(0.0);
        }
        let best = cheapest(&problem, &BTreeMap::new());
        let begin = State::fastest(&problem);
        let found = enumerate(&problem, Program::new(&problem), EFFORT, begin, &prices);
        prop_assert_eq!(Some(found.cost), best);
        prop_assert_eq!(Some(found.lower), best);
        prop_assert!(good.cost >= found.cost);
    }

    /// Both bounds stay below what the services not yet chosen cost at best.
    #[test]
    fn bounds_never_exceed_what_is_left_to_pay(
        problem in problem(), seeds in prop::collection::vec(0..100_usize, 5)
    ) {
        let (_, prices) = start(&problem);
        let (order, outer) = order(&problem);
        let bounds = Bounds::new(&problem, &order, outer, &prices);
        let search = Search {
            problem: &problem,
            program: Program::new(&problem),
            bounds: bounds.clone(),
            order: order.clone(),
            outer,
            effort: EFFORT,
            cost: u64::MAX,
            picks: Vec::new(),
            trial: Vec::new(),
            complete: true,
        };
        let mut used = vec![0.0; bounds.len()];
        let mut slack = State::fastest(&problem).slack();
        let mut chosen = BTreeMap::new();
        let mut cost = 0;
        for depth in 0..=outer {
            let least = bounds.rest(depth, &used);
            match cheapest(&problem, &chosen) {
                Some(best) => {
                    prop_assert!(cost + least <= best, "{cost} and {least} over {best}");
                    let alone = search.alone(depth, &slack);
                    prop_assert!(cost + alone <= best, "{cost} and {alone} over {best}");
                }
                None => return Ok(()),
            }
            if depth < outer {
                let item = order[depth];
                let choices = &problem.items[item].choices;
                let pick = seeds[depth] % choices.len();
                bounds.spend(&mut used, item, choices[pick].budget);
                for (left, row) in slack.iter_mut().zip(&problem.rows) {
                    *left -= row.visits[item] * (choices[pick].budget - choices[0].budget);
                }
                chosen.insert(item, pick);
                cost += choices[pick].cost;
            }
        }
    }
}
