//! Request classes of an application: its declared chains, or one discovered from call counts. Pure.

use std::collections::{BTreeMap, BTreeSet};

use msars_budget::{TailFactor, on_chains};
use msars_domain::{Call, Chain, EdgeKind, Rate};
use msars_observe::{CallGraph, merged_chain};

use super::application::Application;
use super::assemble::Class;
use super::declared::{DeclaredError, declared};

/// Share of what its chains bring from which on requests of a service count as coming from elsewhere.
const COUNTS: f64 = 0.1;

/// The reason of an objective whose declared chains are none.
pub const INVALID_CHAIN: &str = "InvalidChain";

/// Why there are no classes, or only those of an earlier look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// A declared chain is none: whoever declared it must know, whatever split stands.
    Chain(DeclaredError),
    /// What there is to see was not seen.
    Unseen(String),
}

impl Trouble {
    /// One word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Chain(_) => INVALID_CHAIN,
            Self::Unseen(_) => "NoChain",
        }
    }

    /// One sentence, and for a declared chain what to do.
    pub fn message(&self, application: &Application) -> String {
        match self {
            Self::Unseen(why) => why.clone(),
            Self::Chain(error) => format!(
                "{error}; the last split stays in force. Correct spec.chains: kubectl -n {} edit slo {}",
                application.key.namespace, application.key.name
            ),
        }
    }
}

impl From<DeclaredError> for Trouble {
    fn from(error: DeclaredError) -> Self {
        Self::Chain(error)
    }
}

/// The requests of an application.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// By class; at least one.
    pub classes: Vec<Class>,
    /// Requests per second that reach services of the classes by none of them, where those are counted.
    pub elsewhere: BTreeMap<String, Rate>,
}

/// The declared chains, each with its share of the entry's requests.
pub fn chains(application: &Application) -> Result<Vec<(Chain, f64)>, Trouble> {
    let members: BTreeSet<&str> = application
        .members
        .iter()
        .map(|key| key.name.as_str())
        .collect();
    let mut out = Vec::new();
    for spec in &application.chains {
        let chain = declared(spec, &application.entry.name, application.percentile)?;
        let mut services = chain.visits().into_iter().map(|(name, _)| name);
        if let Some(service) = services.find(|name| !members.contains(name)) {
            return Err(Trouble::Chain(DeclaredError::Unknown {
                chain: spec.name.clone(),
                service: service.to_owned(),
                application: application.name.clone(),
            }));
        }
        out.push((chain, spec.share));
    }
    Ok(out)
}

/// Whether its chains are known without a count of calls: they are declared, or nothing of it could be called.
pub fn needs_no_calls(application: &Application) -> bool {
    !application.chains.is_empty() || application.members == [application.entry.clone()]
}

/// The classes at the entry's rate, and what comes by none; why there are none otherwise. Without a graph, an application
/// that declares no chains is its entry alone.
pub fn traffic(
    application: &Application,
    rate: Option<Rate>,
    graph: Option<&CallGraph>,
) -> Result<Traffic, Trouble> {
    let classes = classes(application, rate, graph)?;
    let elsewhere = graph.map_or_else(BTreeMap::new, |graph| elsewhere(&classes, &graph.rates));
    Ok(Traffic { classes, elsewhere })
}

/// What services get beyond their classes' calls: the requests of another objective's entry, or of callers outside the
/// application. Chains are ratios of rates, each a few percent off; what is no more than that is none.
fn elsewhere(classes: &[Class], rates: &BTreeMap<String, Rate>) -> BTreeMap<String, Rate> {
    let loads = on_chains(classes.iter().map(|class| (&class.chain, class.rate)));
    let of = |(name, load): (&str, f64)| {
        let beyond = rates.get(name)?.get() - load;
        let counts = beyond > load * COUNTS && beyond > 0.0;
        Some((name.to_owned(), Rate::new(beyond).ok()?)).filter(|_| counts)
    };
    loads.into_iter().filter_map(of).collect()
}

fn classes(
    application: &Application,
    rate: Option<Rate>,
    graph: Option<&CallGraph>,
) -> Result<Vec<Class>, Trouble> {
    let entry = &application.entry.name;
    let declared = chains(application)?;
    let unseen = |error: &dyn std::fmt::Display| Trouble::Unseen(error.to_string());
    let rate = rate.ok_or_else(|| unseen(&format!("no requests enter by {entry}")))?;
    if declared.is_empty() {
        let chain = match graph {
            Some(graph) => merged_chain(graph, entry, application.percentile)
                .map_err(|error| unseen(&error))?,
            None => alone(application),
        };
        return Ok(vec![class(application, chain, rate)]);
    }
    declared
        .into_iter()
        .map(|(chain, share)| {
            let rate = Rate::new(rate.get() * share.clamp(0.0, 1.0));
            let rate = rate.map_err(|error| unseen(&error))?;
            Ok(class(application, chain, rate))
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
    use super::super::tests::application as application_of;
    use super::*;
    use msars_api::crd::ChainSpec;
    use msars_observe::Edge;
    use serde_json::json;

    fn application(members: &[&str], chains: Vec<ChainSpec>) -> Application {
        Application {
            chains,
            ..application_of("podinfo", members)
        }
    }

    fn calls(calls: &serde_json::Value) -> ChainSpec {
        serde_json::from_value(json!({"name": "all", "share": 0.5, "calls": calls})).unwrap()
    }

    fn chain() -> ChainSpec {
        calls(&json!([{"caller": "podinfo", "callee": "cache", "visits": 2.0}]))
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
        let why = Trouble::Unseen("no requests enter by podinfo".into());
        assert_eq!(none, why);
    }

    /// The web and the mobile front end call carts, each once; 30 and 50 requests per second enter, and `more` reach
    /// carts by neither.
    fn two_entries(more: f64) -> CallGraph {
        let rate = |rate| Rate::new(rate).unwrap();
        let edge = |caller: &str| Edge {
            caller: caller.into(),
            callee: "carts".into(),
            visits: 1.0,
            mean_wait: None,
        };
        CallGraph {
            evaluated: jiff::Timestamp::UNIX_EPOCH,
            rates: BTreeMap::from([
                ("web".to_owned(), rate(30.0)),
                ("mobile".to_owned(), rate(50.0)),
                ("carts".to_owned(), rate(80.0 + more)),
            ]),
            edges: vec![edge("mobile"), edge("web")],
            outside: vec![],
            uncounted: BTreeSet::new(),
        }
    }

    #[test]
    fn requests_of_another_objective_count_where_both_pass() {
        let members = ["web", "mobile", "carts"];
        let found = |entry: &str, chains: Vec<ChainSpec>, more: f64| {
            let graph = two_entries(more);
            let application = Application {
                chains,
                ..application_of(entry, &members)
            };
            let rate = graph.rates.get(entry).copied();
            let traffic = traffic(&application, rate, Some(&graph)).unwrap();
            let of = |(name, rate): (&String, &Rate)| format!("{name} {:.0}", rate.get());
            traffic.elsewhere.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(found("web", vec![], 0.0), ["carts 50"]);
        assert_eq!(found("mobile", vec![], 0.0), ["carts 30"]);
        assert_eq!(found("mobile", vec![], 40.0), ["carts 70"]);
        // Half of the web's requests are declared, and none of what they call.
        let half =
            serde_json::from_value(json!({"name": "all", "share": 0.5, "calls": []})).unwrap();
        assert_eq!(found("web", vec![half], 0.0), ["web 15"]);
    }

    #[test]
    fn an_error_of_measurement_comes_from_nowhere() {
        let mut graph = two_entries(0.0);
        graph.rates.remove("mobile");
        graph.edges.remove(0);
        // (requests per second of carts, of which the web brings 30; from elsewhere)
        for (rate, wanted) in [(27.0, None), (30.0, None), (32.9, None), (33.1, Some(3.1))] {
            graph.rates.insert("carts".into(), Rate::new(rate).unwrap());
            let application = application_of("web", &["web", "carts"]);
            let entry = graph.rates.get("web").copied();
            let traffic = traffic(&application, entry, Some(&graph)).unwrap();
            let found = traffic.elsewhere.get("carts").map(|rate| rate.get());
            match (found, wanted) {
                (Some(found), Some(wanted)) => assert!((found - wanted).abs() < 1e-9, "{rate}"),
                (found, wanted) => assert_eq!(found, wanted, "{rate}"),
            }
        }
    }

    #[test]
    fn a_declared_chain_that_is_none_is_told_whether_or_not_requests_enter() {
        let edge = |caller, callee, visits: f64| json!({"caller": caller, "callee": callee, "visits": visits});
        let members = ["podinfo", "cache"];
        for (edges, wanted) in [
            (
                json!([edge("podinfo", "cache", 1.0), edge("cache", "podinfo", 1.0)]),
                "chain all calls in a circle",
            ),
            (
                json!([edge("podinfo", "cache", 0.0)]),
                "chain all: visits of cache must be above zero",
            ),
            (
                json!([edge("podinfo", "ghost", 1.0)]),
                "chain all: ghost is no workload of application podinfo",
            ),
        ] {
            let application = application(&members, vec![calls(&edges)]);
            for rate in [None, Rate::new(40.0).ok()] {
                let trouble = classes(&application, rate, None).unwrap_err();
                assert_eq!(trouble.reason(), "InvalidChain");
                let message = trouble.message(&application);
                assert!(message.starts_with(wanted), "{message}");
                assert!(
                    message.ends_with("kubectl -n shop edit slo podinfo"),
                    "{message}"
                );
            }
        }
    }
}
