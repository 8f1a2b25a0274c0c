//! The sizes that the LimitRanges of a namespace allow. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};
use msars_api::annotations::cpu_millis;
use msars_domain::{CpuSize, MilliCpu};

/// Smallest and largest size of the serving container that are not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// The smallest.
    pub least: MilliCpu,
    /// The largest.
    pub most: MilliCpu,
}

impl Default for Allowed {
    fn default() -> Self {
        Self {
            least: MilliCpu(1),
            most: MilliCpu(u32::MAX),
        }
    }
}

impl Allowed {
    /// The nearest size that is allowed; where none is, the largest.
    pub fn fit(self, size: MilliCpu) -> MilliCpu {
        size.max(self.least).min(self.most)
    }
}

/// What the LimitRanges of a namespace allow a container of this template beside its sidecars: limits up to the
/// maximum, requests (and limits, where there are any) from the minimum on. A bound that no size could keep counts for
/// nothing, since the template itself is refused.
pub fn allowed(
    ranges: &[Arc<LimitRange>],
    namespace: &str,
    template: CpuSize,
    sidecars: CpuSize,
) -> Allowed {
    let mut allowed = Allowed::default();
    let items = ranges
        .iter()
        .filter(|range| range.metadata.namespace.as_deref() == Some(namespace))
        .filter_map(|range| range.spec.as_ref())
        .flat_map(|spec| &spec.limits);
    for item in items {
        let (requests, limits) = match item.type_.as_str() {
            "Container" => (0, 0),
            "Pod" => (
                sidecars.request.0,
                sidecars.limit.map_or(0, |limit| limit.0),
            ),
            _ => continue,
        };
        let own = |bound: MilliCpu, beside: u32| MilliCpu(bound.0.saturating_sub(beside));
        if let Some(least) = bound(item, Side::Min) {
            let request = smallest(template, own(least, requests));
            let limit = template.limit.map(|_| own(least, limits));
            allowed.least = allowed.least.max(request).max(limit.unwrap_or(request));
        }
        if let Some(most) = bound(item, Side::Max) {
            let request = largest(template, own(most, requests));
            let limit = template.limit.map(|_| own(most, limits));
            let size = request.min(limit.unwrap_or(request));
            if size.0 > 0 {
                allowed.most = allowed.most.min(size);
            }
        }
    }
    allowed
}

#[derive(Clone, Copy)]
enum Side {
    Min,
    Max,
}

fn bound(item: &LimitRangeItem, side: Side) -> Option<MilliCpu> {
    let map = match side {
        Side::Min => item.min.as_ref()?,
        Side::Max => item.max.as_ref()?,
    };
    cpu_millis(&map.get("cpu")?.0).map(MilliCpu)
}

/// The smallest size whose request, by the template's ratio, is at least `request`.
fn smallest(template: CpuSize, request: MilliCpu) -> MilliCpu {
    scaled(template, request, u64::div_ceil)
}

/// The largest size whose request is at most `request`.
fn largest(template: CpuSize, request: MilliCpu) -> MilliCpu {
    scaled(template, request, |size, by| size / by)
}

fn scaled(template: CpuSize, request: MilliCpu, divide: fn(u64, u64) -> u64) -> MilliCpu {
    let Some(limit) = template.limit else {
        return request;
    };
    let exact = u64::from(request.0) * u64::from(limit.0);
    let size = divide(exact, u64::from(template.request.0.max(1)));
    MilliCpu(u32::try_from(size).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cpu(request: u32, limit: Option<u32>) -> CpuSize {
        CpuSize {
            request: MilliCpu(request),
            limit: limit.map(MilliCpu),
        }
    }

    fn range(item: &Value) -> Arc<LimitRange> {
        let spec = json!({"limits": [item]});
        let meta = json!({"namespace": "shop", "name": "r"});
        Arc::new(serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap())
    }

    #[test]
    fn sizes_stay_within_limit_ranges() {
        let (half, bare) = (cpu(100, Some(200)), cpu(100, None));
        let (alone, beside) = (cpu(0, None), cpu(100, Some(300)));
        let item = |kind: &str, least: &str, most: &str| json!({"type": kind, "min": {"cpu": least}, "max": {"cpu": most}});
        let table = [
            // The request is half of the size.
            (item("Container", "100m", "800m"), half, alone, (200, 800)),
            (item("Container", "100m", "800m"), half, beside, (200, 800)),
            (item("Container", "100m", "800m"), bare, beside, (100, 800)),
            (item("Pod", "100m", "800m"), half, alone, (200, 800)),
            // Limits of all containers are held against the maximum, requests and limits against the minimum.
            (item("Pod", "200m", "800m"), half, beside, (200, 500)),
            (item("Pod", "450m", "1"), half, beside, (700, 700)),
            (
                item("Pod", "200m", "800m"),
                half,
                cpu(500, None),
                (200, 600),
            ),
            (item("Pod", "200m", "800m"), bare, beside, (100, 700)),
            // No size of the container could make it right.
            (item("Pod", "0", "300m"), half, beside, (1, u32::MAX)),
            (
                json!({"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}),
                half,
                alone,
                (1, u32::MAX),
            ),
        ];
        for (item, template, sidecars, (least, most)) in table {
            let found = |namespace| allowed(&[range(&item)], namespace, template, sidecars);
            let wanted = Allowed {
                least: MilliCpu(least),
                most: MilliCpu(most),
            };
            assert_eq!(found("shop"), wanted, "{item} {template:?} {sidecars:?}");
            assert_eq!(found("other"), Allowed::default(), "{item}");
        }
    }

    #[test]
    fn the_nearest_size_is_taken_and_of_none_the_largest() {
        let allowed = |least, most| Allowed {
            least: MilliCpu(least),
            most: MilliCpu(most),
        };
        for (allowed, size, wanted) in [
            (allowed(100, 800), 25, 100),
            (allowed(100, 800), 400, 400),
            (allowed(100, 800), 1200, 800),
            (allowed(400, 200), 300, 200),
            (Allowed::default(), 0, 1),
        ] {
            assert_eq!(allowed.fit(MilliCpu(size)), MilliCpu(wanted), "{size}");
        }
    }
}
