//! What the namespace of a workload lets a new pod have. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use msars_domain::{MilliCpu, Observation, PodState};
use msars_plan::gives_way;

use super::ranges::{self, Allowed};
use super::{Workload, template};
use crate::workload::room;

impl Workload {
    /// Reads what LimitRanges allow and quotas leave.
    pub(crate) fn allow(&mut self, limits: &[Arc<LimitRange>], quotas: &[Arc<ResourceQuota>]) {
        let namespace = &self.key.namespace;
        let qos = template::qos(self.template());
        self.left = room::headroom(quotas, namespace, self.template(), qos);
        self.allowed = self.ranged(limits);
    }

    /// The sizes that LimitRanges allow.
    pub(crate) fn ranged(&self, limits: &[Arc<LimitRange>]) -> Allowed {
        let Some((_, cpu)) = &self.serving else {
            return self.allowed;
        };
        ranges::allowed(limits, &self.key.namespace, *cpu, self.sidecars)
    }

    /// The size of a new pod where `wanted` is: within the LimitRanges, and no larger than the template's where quotas
    /// have no room for one more pod of `wanted`. A pod that they refuse stops a rollout.
    pub fn born(&self, wanted: MilliCpu) -> MilliCpu {
        let wanted = self.allowed.fit(wanted);
        let Some((_, template)) = &self.serving else {
            return wanted;
        };
        let pod = template.scaled_to(wanted);
        let limit = |cpu: Option<MilliCpu>| cpu.map_or(0, |cpu| cpu.0);
        let room = |left: Option<MilliCpu>, own: u32, beside: u32| {
            left.is_none_or(|left| own.saturating_add(beside) <= left.0)
        };
        let (left, beside) = (self.left, self.sidecars);
        let fits = room(left.requests, pod.request.0, beside.request.0)
            && room(left.limits, limit(pod.limit), limit(beside.limit));
        if fits {
            wanted
        } else {
            wanted.min(self.allowed.fit(template.size()))
        }
    }

    /// That size, but no larger than the template's while a larger pod of a rollout finds no node, or none of a workload
    /// that has no other: the next of its size would wait beside it. A small pod beside larger ones that serve would bound
    /// them all (`comes_down` in `msars_plan`).
    pub fn placed(&self, size: MilliCpu, seen: &Observation) -> MilliCpu {
        let Some((_, template)) = &self.serving else {
            return size;
        };
        let waits = |pod: &PodState| pod.unschedulable && pod.asked.size() > template.size();
        if gives_way(seen) && seen.pods.iter().any(waits) {
            size.min(self.allowed.fit(template.size()))
        } else {
            size
        }
    }
}
