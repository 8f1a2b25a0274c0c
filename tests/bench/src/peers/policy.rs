//! Who decides about replicas and sizes, and how the shop is told. Pure.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};
use msars_shop::{Options as Shop, ROLES, deployment};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, json};

/// One way to scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// The product: `msars.io/mode: auto`.
    Ours,
    /// A HorizontalPodAutoscaler per workload at this CPU utilisation, percent.
    Hpa(u32),
    /// Nothing: what the manifests say.
    Fixed,
}

/// Most replicas under a HorizontalPodAutoscaler; the product's default is the same.
const MOST: u32 = 10;

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours => f.pad("ours"),
            Self::Hpa(target) => f.pad(&format!("hpa-{target}")),
            Self::Fixed => f.pad("none"),
        }
    }
}

impl FromStr for Policy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "ours" => Ok(Self::Ours),
            "none" => Ok(Self::Fixed),
            text => {
                let target = text
                    .strip_prefix("hpa-")
                    .and_then(|target| target.parse().ok());
                match target
                    .with_context(|| format!("{text:?} is no policy: ours, hpa-60, none"))?
                {
                    target @ 1..=1000 => Ok(Self::Hpa(target)),
                    _ => bail!("{text:?}: a target is 1 to 1000 percent"),
                }
            }
        }
    }
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Policy {
    /// `msars.io/mode` of every workload.
    pub fn mode(self) -> &'static str {
        match self {
            Self::Ours => "auto",
            Self::Hpa(_) | Self::Fixed => "off",
        }
    }

    /// The autoscalers to apply; empty without any. Behaviour is Kubernetes' default.
    pub fn autoscalers(self, namespace: &str) -> Value {
        let items: Vec<Value> = match self {
            Self::Hpa(target) => ROLES
                .into_iter()
                .map(|role| {
                    json!({
                        "apiVersion": "autoscaling/v2",
                        "kind": "HorizontalPodAutoscaler",
                        // A name of its own: made anew within seconds under its old one, it would go on from the
                        // recommendations of five minutes before, which are another policy's.
                        "metadata": {"name": format!("{role}-{target}"), "namespace": namespace},
                        "spec": {
                            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": role},
                            "minReplicas": 1,
                            "maxReplicas": MOST,
                            "metrics": [{"type": "Resource", "resource": {
                                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": target},
                            }}],
                        },
                    })
                })
                .collect(),
            Self::Ours | Self::Fixed => Vec::new(),
        };
        json!({"apiVersion": "v1", "kind": "List", "items": items})
    }

    /// The order of a repeat: each policy comes first once, so that none always runs on a warm machine.
    pub fn rotated(all: &[Self], repeat: usize) -> Vec<Self> {
        let mut order = all.to_vec();
        if !order.is_empty() {
            let by = repeat % order.len();
            order.rotate_left(by);
        }
        order
    }
}

/// Names and replicas as the manifests have them.
pub fn replicas(shop: &Shop) -> Vec<(String, u64)> {
    let of = |role| {
        deployment(role, shop)["spec"]["replicas"]
            .as_u64()
            .unwrap_or(1)
    };
    ROLES
        .into_iter()
        .map(|role| (role.name().to_owned(), of(role)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Policy, replicas};
    use msars_shop::{Options as Shop, ROLES};

    #[test]
    fn names_read_back() {
        for text in ["ours", "hpa-40", "none"] {
            assert_eq!(text.parse::<Policy>().unwrap().to_string(), text);
        }
        for text in ["hpa-", "hpa-0", "vpa"] {
            assert!(text.parse::<Policy>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_workload_gets_an_autoscaler_under_hpa_alone() {
        let count = |policy: Policy| policy.autoscalers("n")["items"].as_array().unwrap().len();
        assert_eq!(count(Policy::Hpa(60)), ROLES.len());
        assert_eq!(count(Policy::Ours) + count(Policy::Fixed), 0);
        assert_eq!(Policy::Fixed.mode(), "off");
        assert!(replicas(&Shop::default()).contains(&("catalogue".to_owned(), 2)));
    }

    #[test]
    fn each_policy_is_first_once() {
        let all = [Policy::Ours, Policy::Hpa(40), Policy::Fixed];
        let first: Vec<Policy> = (0..3)
            .map(|repeat| Policy::rotated(&all, repeat)[0])
            .collect();
        assert_eq!(first, all);
    }
}
