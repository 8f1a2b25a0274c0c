//! What happened when: live on the terminal, and kept for the page.

use std::io::Write as _;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Seconds since the start.
    pub at_s: f64,
    /// Who says so: `demo`, `kubectl` or `msars`.
    pub who: String,
    /// What.
    pub what: String,
}

/// The live timeline.
#[derive(Debug)]
pub struct Timeline {
    clock: Clock,
    moments: Mutex<Vec<Moment>>,
}

impl Timeline {
    /// An empty one.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            moments: Mutex::new(Vec::new()),
        }
    }

    /// Its clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.clock.elapsed().as_secs_f64()
    }

    /// Shows a line, without keeping it.
    pub fn show(&self, text: &str) {
        // Whoever read it may be gone: the way down must not end here.
        let _ = writeln!(std::io::stdout(), "[{:7.1} s] {text}", self.seconds());
    }

    /// Shows a line and keeps it.
    pub fn say(&self, who: &str, text: &str) {
        self.show(text);
        let moment = Moment {
            at_s: self.seconds(),
            who: who.to_owned(),
            what: text.to_owned(),
        };
        if let Ok(mut moments) = self.moments.lock() {
            moments.push(moment);
        }
    }

    /// Everything kept so far.
    pub fn moments(&self) -> Vec<Moment> {
        self.moments
            .lock()
            .map(|moments| moments.clone())
            .unwrap_or_default()
    }
}
