//! Request classes of an application: its declared chains, or one discovered from call counts. Pure.

use msars_budget::TailFactor;
use msars_domain::{Call, Chain, EdgeKind, Rate};
use msars_observe::{CallGraph, merged_chain};

use super::application::Application;
use super::assemble::{Class, declared};

/// Whether its chains are known without a count of calls: they are declared, or nothing of it could be called.
pub fn needs_no_calls(application: &Application) -> bool {
    !application.chains.is_empty() || application.members == [application.entry.clone()]
}

/// The classes at the entry's rate; why there are none otherwise. Without a graph, an application that declares no
/// chains is its entry alone.
pub fn classes(
    application: &Application,
    rate: Option<Rate>,
    graph: Option<&CallGraph>,
) -> Result<Vec<Class>, String> {
    let entry = &application.entry.name;
    let rate = rate.ok_or_else(|| format!("no requests enter by {entry}"))?;
    if application.chains.is_empty() {
        let chain = match graph {
            Some(graph) => merged_chain(graph, entry, application.percentile)
                .map_err(|error| error.to_string())?,
            None => alone(application),
        };
        return Ok(vec![class(application, chain, rate)]);
    }
    application
        .chains
        .iter()
        .map(|spec| {
            let chain =
                declared(spec, entry, application.percentile).map_err(|error| error.to_string())?;
            let share = Rate::new(rate.get() * spec.share.clamp(0.0, 1.0))
                .map_err(|error| error.to_string())?;
            Ok(class(application, chain, share))
        })
        .collect()
}

fn alone(application: &Application) -> Chain {
    let entry = &application.entry.name;
    Chain {
        name: entry.clone(),
        root: Call {
            service: entry.clone(),
            visits: 1.0,
            max_visits: 1,
            kind: EdgeKind::Sequential,
            children: Vec::new(),
        },
        percentile: application.percentile,
    }
}

fn class(application: &Application, chain: Chain, rate: Rate) -> Class {
    Class {
        chain,
        rate,
        objective: application.objective,
        tail: TailFactor::ONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msars_api::crd::ChainSpec;
    use msars_domain::{Millis, ObjectKey, Percentile};
    use serde_json::json;

    fn application(members: &[&str], chains: Vec<ChainSpec>) -> Application {
        Application {
            key: ObjectKey::new("shop", "podinfo"),
            name: "podinfo".into(),
            entry: ObjectKey::new("shop", "podinfo"),
            percentile: Percentile::new(0.99).unwrap(),
            objective: Millis::new(200.0).unwrap(),
            chains,
            members: members
                .iter()
                .map(|name| ObjectKey::new("shop", *name))
                .collect(),
            stored: None,
        }
    }

    fn chain() -> ChainSpec {
        let calls = json!([{"caller": "podinfo", "callee": "cache", "visits": 2.0}]);
        let chain = json!({"name": "all", "share": 0.5, "calls": calls});
        serde_json::from_value(chain).unwrap()
    }

    #[test]
    fn one_workload_alone_and_declared_chains_need_no_calls() {
        for (members, chains, wanted) in [
            (&["podinfo"][..], vec![], true),
            (&["podinfo", "cache"], vec![], false),
            (&["podinfo", "cache"], vec![chain()], true),
            (&["cache"], vec![], false),
            (&[], vec![], false),
        ] {
            let application = application(members, chains);
            assert_eq!(needs_no_calls(&application), wanted, "{members:?}");
        }
    }

    #[test]
    fn without_a_graph_the_entry_is_a_chain_of_its_own() {
        let rate = Rate::new(40.0).unwrap();
        let made = classes(&application(&["podinfo"], vec![]), Some(rate), None).unwrap();
        let [class] = &made[..] else {
            panic!("{made:?}");
        };
        assert_eq!(class.chain.root.service, "podinfo");
        assert!(class.chain.root.children.is_empty());
        assert!((class.rate.get() - 40.0).abs() < 1e-9);
        let declared = application(&["podinfo", "cache"], vec![chain()]);
        let made = classes(&declared, Some(rate), None).unwrap();
        assert!((made[0].rate.get() - 20.0).abs() < 1e-9);
        assert_eq!(made[0].chain.root.children.len(), 1);
        let none = classes(&declared, None, None).unwrap_err();
        assert!(none.contains("no requests enter by podinfo"), "{none}");
    }
}
