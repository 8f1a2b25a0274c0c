//! What the quotas of namespaces leave, spent as writes are decided: a workload does not plan with what another one is
//! given at the same tick.

use std::collections::BTreeMap;

use msars_domain::{Action, Bytes, CpuSize, Headroom, MilliCpu, ObjectKey, Observation, PodState};

use crate::facts::vertical;

/// What writes take of quotas: milli-cores, bytes and pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Taken {
    requests: u64,
    limits: u64,
    pods: u64,
    request_memory: u64,
    limit_memory: u64,
}

impl Taken {
    /// By the growth of a pod's serving container.
    pub fn growth(from: CpuSize, to: CpuSize) -> Self {
        let limit = |cpu: CpuSize| cpu.limit.map_or(0, |limit| limit.0);
        Self {
            requests: u64::from(to.request.0.saturating_sub(from.request.0)),
            limits: u64::from(limit(to).saturating_sub(limit(from))),
            ..Self::default()
        }
    }

    /// By new pods of a fleet of this size; each may be born at the template's size, where the webhook is not asked.
    pub fn births(seen: &Observation, size: MilliCpu, pods: u32) -> Self {
        let born = if vertical(seen) {
            seen.template.scaled_to(size.max(seen.template.size()))
        } else {
            seen.template
        };
        let (cost, pods) = (seen.cost, u64::from(pods));
        let limit = cost.limits.with(born.limit.unwrap_or_default());
        Self {
            requests: pods * u64::from(cost.requests.with(born.request).0),
            limits: pods * u64::from(limit.0),
            pods,
            request_memory: pods * cost.request_memory.0,
            limit_memory: pods * cost.limit_memory.0,
        }
    }

    /// By everything that was decided for one workload.
    fn actions(seen: &Observation, size: MilliCpu, actions: &[Action]) -> Self {
        let one = |action: &Action| match action {
            Action::Scale { from, to, .. } => Self::births(seen, size, to.saturating_sub(*from)),
            Action::Resize {
                uid,
                request,
                limit,
                ..
            } => {
                let pod = seen.pods.iter().find(|pod| &pod.uid == uid);
                pod.map_or(Self::default(), |pod| resized(pod, *request, *limit))
            }
            _ => Self::default(),
        };
        actions.iter().map(one).fold(Self::default(), Self::and)
    }

    pub fn and(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    fn each(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            requests: join(self.requests, other.requests),
            limits: join(self.limits, other.limits),
            pods: join(self.pods, other.pods),
            request_memory: join(self.request_memory, other.request_memory),
            limit_memory: join(self.limit_memory, other.limit_memory),
        }
    }

    pub fn fits(self, left: Headroom) -> bool {
        let room = |left: Option<u64>, more: u64| left.is_none_or(|left| more <= left);
        let cpu = |left: Option<MilliCpu>| left.map(|cpu| u64::from(cpu.0));
        let memory = |left: Option<Bytes>| left.map(|memory| memory.0);
        room(cpu(left.requests), self.requests)
            && room(cpu(left.limits), self.limits)
            && room(left.pods.map(u64::from), self.pods)
            && room(memory(left.request_memory), self.request_memory)
            && room(memory(left.limit_memory), self.limit_memory)
    }

    /// What is left when it is taken, nothing below 0.
    pub fn out_of(self, left: Headroom) -> Headroom {
        let less = |left: u32, more: u64| (u64::from(left).saturating_sub(more)) as u32;
        let cpu = |left: Option<MilliCpu>, more| left.map(|cpu| MilliCpu(less(cpu.0, more)));
        let memory = |left: Option<Bytes>, more| left.map(|m| Bytes(m.0.saturating_sub(more)));
        Headroom {
            requests: cpu(left.requests, self.requests),
            limits: cpu(left.limits, self.limits),
            pods: left.pods.map(|pods| less(pods, self.pods)),
            request_memory: memory(left.request_memory, self.request_memory),
            limit_memory: memory(left.limit_memory, self.limit_memory),
        }
    }
}

fn resized(pod: &PodState, request: Option<MilliCpu>, limit: Option<MilliCpu>) -> Taken {
    let to = CpuSize {
        request: request.unwrap_or(pod.asked.request),
        limit: limit.or(pod.asked.limit),
    };
    Taken::growth(pod.asked, to)
}

/// Takes a pod's growth out of the headroom; false when it has no room.
pub(crate) fn spend(left: &mut Headroom, from: CpuSize, to: CpuSize) -> bool {
    let more = Taken::growth(from, to);
    let fits = more.fits(*left);
    if fits {
        *left = more.out_of(*left);
    }
    fits
}

/// What was given to the workloads before, by namespace and quota.
#[derive(Debug, Default)]
pub(crate) struct Given(BTreeMap<(String, String), Taken>);

impl Given {
    /// What they leave of a headroom that these quotas bound; of several the one that gave most counts.
    pub fn leaves(&self, workload: &ObjectKey, quotas: &[String], headroom: Headroom) -> Headroom {
        if self.0.is_empty() {
            return headroom;
        }
        let given = keys(workload, quotas).filter_map(|key| self.0.get(&key));
        let most = |a: Taken, b: &Taken| a.each(*b, u64::max);
        given.fold(Taken::default(), most).out_of(headroom)
    }

    /// Adds what was decided for a workload; nothing where no quota binds.
    pub fn give(&mut self, seen: &Observation, size: MilliCpu, actions: &[Action]) {
        if actions.is_empty() || seen.headroom == Headroom::default() {
            return;
        }
        let taken = Taken::actions(seen, size, actions);
        self.take(&seen.signals.workload, &seen.quotas, taken);
    }

    /// Adds what is taken of these quotas.
    pub fn take(&mut self, workload: &ObjectKey, quotas: &[String], taken: Taken) {
        for key in keys(workload, quotas) {
            let given = self.0.entry(key).or_default();
            *given = given.and(taken);
        }
    }
}

/// Quotas whose names are not known are one.
fn keys(workload: &ObjectKey, quotas: &[String]) -> impl Iterator<Item = (String, String)> {
    let unnamed = quotas.is_empty().then(String::new);
    let names = quotas.iter().cloned().chain(unnamed);
    names.map(|name| (workload.namespace.clone(), name))
}
