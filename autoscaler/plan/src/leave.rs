//! The way out: before the size in force is forgotten, there are enough pods of the template's size.

use std::fmt;

use jiff::Timestamp;
use msars_domain::{Action, ObjectKey, Observation, Rate, Reading};

use crate::{
    Fleet, Lack, Limits, State,
    facts::{self, Facts},
    shield::{Shield, bounds},
};

/// What leaving takes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Leaving {
    /// Replicas to set first.
    pub action: Option<Action>,
    /// Why the pods will not be enough.
    pub short: Option<Short>,
}

/// Fewer pods than it takes at the template's size. Its words name the command that gives the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    /// The Deployment.
    pub workload: ObjectKey,
    /// Replicas that it will have.
    pub has: u32,
    /// Replicas that it takes.
    pub needs: u32,
    /// Why they are counted by CPU.
    pub blind: Option<Blind>,
    /// What stands in the way.
    pub why: Hindrance,
}

/// What stands in the way of enough pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hindrance {
    /// The most replicas allowed.
    Maximum(u32),
    /// The namespace's quotas, by name.
    Quota(Vec<String>),
}

/// What is not known, so that pods of the template's size are to have as much CPU as those of the size in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blind {
    /// The load.
    Load,
    /// What a pod of the template's size carries.
    Profile,
    /// The latency within which it is to carry it.
    Objective,
}

impl From<Lack> for Blind {
    fn from(lack: Lack) -> Self {
        match lack {
            Lack::Profile => Self::Profile,
            Lack::Objective => Self::Objective,
        }
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { has, needs, .. } = self;
        let ObjectKey { namespace, name } = &self.workload;
        let load = match self.blind {
            None => "its load",
            Some(Blind::Load) => "the CPU that it has, as its load is not known",
            Some(Blind::Profile) => "the CPU that it has, as it has no profile",
            Some(Blind::Objective) => "the CPU that it has, as it has no objective",
        };
        let workload = &self.workload;
        write!(
            f,
            "{workload} takes {needs} pods of its template's size for {load}; it gets {has}, as "
        )?;
        match &self.why {
            Hindrance::Maximum(most) => write!(f, "{most} are its most")?,
            Hindrance::Quota(names) => write!(f, "quota {} is reached", names.join(", "))?,
        }
        write!(
            f,
            "; kubectl -n {namespace} scale deploy/{name} --replicas={needs}"
        )
    }
}

/// Replicas to set before leaving (`mode: off`, `drain`, uninstall), so that pods born at the template's size carry
/// the last known peak, or where that is not known have the CPU of the size in force: nothing shrinks on unknown
/// readings, the way out included. Only ever more, within the maximum and the quota; the rate policies do not apply,
/// since leaving is one step.
pub fn leave(now: Timestamp, seen: &Observation, state: &State, limits: &Limits) -> Leaving {
    // At 0 replicas the user paused it, what does not act has its template's size, and a rival scales by itself.
    if seen.replicas == 0 || !seen.wishes.acts || seen.rival.is_some() {
        return Leaving::default();
    }
    let (needs, blind) = match by_load(now, seen, state, limits) {
        Ok(needs) => (needs, None),
        Err(blind) => (by_cpu(seen, state), Some(blind)),
    };
    let current = facts::current(seen, state);
    let shield = Shield {
        now,
        seen,
        headroom: seen.headroom,
        limits,
        facts: None,
        current,
        peak: None,
        need: None,
        load: None,
        asks: None,
        floor: 0,
        frozen: false,
        proven: false,
        undoes: false,
    };
    let fits = |replicas: &u32| {
        shield.fits_quota(Fleet {
            replicas: *replicas,
            size: seen.template.size().min(current.size),
        })
    };
    let (_, most) = bounds(seen);
    let more = (seen.replicas + 1..=needs.min(most)).take_while(fits);
    let has = more.last().unwrap_or(seen.replicas);
    let workload = &seen.signals.workload;
    Leaving {
        action: (has > seen.replicas).then(|| Action::Scale {
            target: workload.clone(),
            from: seen.replicas,
            to: has,
        }),
        short: (has < needs).then(|| Short {
            workload: workload.clone(),
            has,
            needs,
            blind,
            why: if has >= most {
                Hindrance::Maximum(most)
            } else {
                Hindrance::Quota(seen.quotas.clone())
            },
        }),
    }
}

/// Pods of the template's size that carry the last known peak.
fn by_load(
    now: Timestamp,
    seen: &Observation,
    state: &State,
    limits: &Limits,
) -> Result<u32, Blind> {
    let facts = Facts::new(now, seen, state, limits)?;
    let known = |reading: &Reading<Rate>| reading.value().map(|rate| rate.get());
    let measured = [known(&seen.signals.rate), known(&seen.signals.peak_rate)];
    let measured = measured.into_iter().flatten().reduce(f64::max);
    let peak = measured.or(state.load.map(|load| load.rate.get()));
    let need = peak.ok_or(Blind::Load)? * (1.0 + limits.headroom);
    let each = facts.carries(seen.template.size());
    if each <= f64::MIN_POSITIVE {
        return Err(Blind::Profile);
    }
    Ok((need / each).ceil() as u32)
}

/// Pods of the template's size with the CPU of those of the size in force, as many as were wanted last: what somebody
/// has added since, as one who leaves anew after a shortfall, counts for them.
fn by_cpu(seen: &Observation, state: &State) -> u32 {
    let wanted = state.replicas.unwrap_or(seen.replicas).min(seen.replicas);
    let all = u64::from(wanted) * u64::from(facts::current(seen, state).size.0);
    let pods = all.div_ceil(u64::from(seen.template.size().0.max(1)));
    u32::try_from(pods).unwrap_or(u32::MAX)
}
