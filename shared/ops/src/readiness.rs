//! Named conditions that must all hold before a program is ready.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// A name and whether it holds.
type Condition = (&'static str, Arc<AtomicBool>);

/// All conditions of one program. Ready when every one holds; with none, ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<Vec<Condition>>>,
}

/// The writer of one condition. Dropping it leaves the last value.
#[derive(Clone, Debug)]
pub struct ReadyHandle(Arc<AtomicBool>);

impl ReadyHandle {
    /// Says whether the condition holds now.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }
}

impl Readiness {
    /// Adds a condition, which does not hold yet.
    pub fn condition(&self, name: &'static str) -> ReadyHandle {
        let flag = Arc::new(AtomicBool::new(false));
        self.conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name, Arc::clone(&flag)));
        ReadyHandle(flag)
    }

    /// Names of the conditions that do not hold, in the order they were added.
    pub fn missing(&self) -> Vec<&'static str> {
        self.conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|(_, flag)| !flag.load(Ordering::Acquire))
            .map(|(name, _)| *name)
            .collect()
    }
}
