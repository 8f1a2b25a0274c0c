//! How large a pod can be: the nodes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use msars_api::annotations::cpu_millis;
use msars_domain::MilliCpu;

use super::World;

impl World {
    /// Takes this for the CPU of the largest node, whatever nodes there are.
    #[must_use]
    pub const fn with_node(mut self, node: Option<MilliCpu>) -> Self {
        self.node = node;
        self
    }

    /// CPU of the largest node: as it was said, else as nodes have it allocatable. None until they were read.
    pub fn node(&self) -> Option<MilliCpu> {
        self.node.or_else(|| largest(&self.nodes.all()))
    }

    pub(super) fn node_known(&self) -> bool {
        self.node.is_some() || self.nodes.synced()
    }
}

/// The most CPU that a node offers to pods. Cordoned ones count where no other is left: pods still run there, and no
/// size is out of bounds because of that.
fn largest(nodes: &[Arc<Node>]) -> Option<MilliCpu> {
    let offers = |node: &Arc<Node>| {
        let allocatable = node.status.as_ref()?.allocatable.as_ref()?;
        cpu_millis(&allocatable.get("cpu")?.0).map(MilliCpu)
    };
    let cordoned = |node: &Arc<Node>| {
        let spec = node.spec.as_ref();
        spec.and_then(|spec| spec.unschedulable).unwrap_or(false)
    };
    let open = nodes.iter().filter(|node| !cordoned(node));
    let most = open.filter_map(offers).max();
    most.or_else(|| nodes.iter().filter_map(offers).max())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(cpu: &str, cordoned: bool) -> Arc<Node> {
        let spec = if cordoned {
            json!({"unschedulable": true})
        } else {
            json!({})
        };
        let status = json!({"capacity": {"cpu": "96"}, "allocatable": {"cpu": cpu}});
        Arc::new(serde_json::from_value(json!({"spec": spec, "status": status})).unwrap())
    }

    #[test]
    fn the_largest_node_that_takes_pods_bounds_a_size() {
        for (nodes, wanted) in [
            (vec![], None),
            (vec![node("2", false)], Some(2000)),
            (vec![node("2", false), node("3920m", false)], Some(3920)),
            (vec![node("2", false), node("64", true)], Some(2000)),
            (vec![node("4", true), node("64", true)], Some(64_000)),
            (vec![node("many", false), node("1", false)], Some(1000)),
        ] {
            assert_eq!(largest(&nodes), wanted.map(MilliCpu), "{nodes:?}");
        }
    }
}
