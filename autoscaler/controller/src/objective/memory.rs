//! What is remembered of an application between two rounds. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use msars_api::crd::{ErrorBudget, Observed};
use msars_budget::Split;
use msars_domain::{Millis, Rate};
use msars_observe::Windows;

use super::application::Application;
use super::assemble::Class;
use super::classes::{Traffic, Trouble};
use super::drift::Live;
use super::rare;
use super::solve::Basis;
use super::tail::{fill_unmeasured, stored, tail_factor};

/// What is remembered of an application: what was measured, until it is measured again, and the split while this replica
/// leads.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub classes: Vec<Class>,
    /// When calls that were counted were last seen, by caller and callee.
    pub calls: BTreeMap<(String, String), Timestamp>,
    /// Requests per second that reach services by no class.
    pub elsewhere: BTreeMap<String, Rate>,
    /// Self times that a split counts with, those that are assumed included.
    pub observed: BTreeMap<String, Millis>,
    /// Live CPU per request of what runs.
    pub live: BTreeMap<String, Live>,
    /// CPU seconds per request, as seen last.
    pub work: BTreeMap<String, f64>,
    pub entry: Option<Observed>,
    pub budget: Option<ErrorBudget>,
    /// When the error budget was last asked for.
    pub budgeted: Option<Timestamp>,
    /// Why the classes are those of an earlier look, or none.
    pub trouble: Option<Trouble>,
    /// When a profile's copy last ran beside the application.
    pub profiled: Option<Timestamp>,
    /// What the last split rested on.
    pub basis: Option<Basis>,
    /// The split that is written.
    pub standing: Option<Standing>,
}

/// A split that is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Standing {
    /// For what runs.
    pub split: Split,
    /// Whether the decisive one keeps the objective: the one for what will run, if any.
    pub feasible: bool,
    /// Its sentence.
    pub reason: String,
}

/// What one look showed of an application.
#[derive(Debug)]
pub(super) struct Look {
    pub traffic: Result<Traffic, Trouble>,
    /// Self times at the objective's percentile.
    pub times: BTreeMap<String, Millis>,
    pub live: BTreeMap<String, Live>,
    /// The entry's latency at the objective's percentile.
    pub quantile_ms: Option<f64>,
    /// When.
    pub at: Timestamp,
}

impl Memory {
    /// Another replica may write the split from now on: what is known of it here counts no more.
    pub(super) fn give_up(&mut self) {
        (self.basis, self.standing) = (None, None);
    }

    /// Whether windows hold the load of a profile's copy: one runs, or ran within the longest of them.
    pub(super) fn loaded(&self, windows: &Windows, now: Timestamp) -> bool {
        let whole: Duration = windows.tail() + windows.scrape + windows.late;
        self.profiled.is_some_and(|at| {
            SignedDuration::try_from(whole).is_ok_and(|whole| now.duration_since(at) <= whole)
        })
    }

    /// Takes a look in. While windows are `loaded`, only the entry's rate and what is declared are taken: calls, times,
    /// work and what comes from elsewhere stay what they were before, and the tail factor with them, since a copy's
    /// requests are others than the users'. Where nothing is remembered, what is seen counts.
    pub(super) fn take(&mut self, seen: Look, application: &Application, loaded: bool) {
        let stays = loaded && !self.classes.is_empty();
        let mut before = BTreeMap::new();
        if !stays {
            before = std::mem::replace(&mut self.observed, seen.times);
            // What one look does not show stays; that of another revision does not count.
            self.live.extend(seen.live);
        }
        let Traffic {
            mut classes,
            elsewhere,
        } = match seen.traffic {
            Ok(traffic) => traffic,
            // The last chain stays: a gap in the metrics changes no one's calls.
            Err(trouble) => {
                self.trouble = Some(trouble);
                fill(&self.classes, &mut self.observed, before);
                return;
            }
        };
        // Beside other chains than the last it is another one: with a copy's load in it too much counts, where with the
        // last one's too little would.
        if !stays || self.redeclared(&classes, application) {
            self.elsewhere = elsewhere;
        }
        if application.chains.is_empty() {
            for class in &mut classes {
                let mut all = self.classes.iter();
                let last = all.find(|last| last.chain.name == class.chain.name);
                if let Some(last) = last.filter(|_| stays) {
                    class.chain.clone_from(&last.chain);
                } else {
                    let before = last.map(|last| &last.chain.root);
                    rare::keep(&mut self.calls, class, before, seen.at);
                }
            }
        }
        fill(&classes, &mut self.observed, before);
        let last = match (&self.classes[..], &classes[..]) {
            ([last], [_]) => Some(last.tail),
            // What the leader before measured.
            ([], [class]) => stored(application, &class.chain.name),
            _ => None,
        };
        // Too few requests, or a latency past the histogram's bounds, tell nothing new of the tail.
        let untold = seen.quantile_ms.is_none();
        let tail = last
            .filter(|_| stays || untold)
            .unwrap_or_else(|| tail_factor(&classes, seen.quantile_ms, &self.observed));
        for class in &mut classes {
            class.tail = tail;
        }
        self.classes = classes;
        self.trouble = None;
    }

    /// Whether these are other chains than the last, by what is declared.
    fn redeclared(&self, classes: &[Class], application: &Application) -> bool {
        let declared = !application.chains.is_empty();
        let same = |(last, now): (&Class, &Class)| {
            last.chain.name == now.chain.name && !(declared && last.chain.root != now.chain.root)
        };
        self.classes.len() != classes.len() || !self.classes.iter().zip(classes).all(same)
    }

    /// What is asked of the classes follows the objective, also while they are those of an earlier look.
    pub(super) fn ask(&mut self, application: &Application) {
        for class in &mut self.classes {
            class.objective = application.objective;
            class.chain.percentile = application.percentile;
        }
    }
}

/// Assumes what is not measured: by those that are, and where none is, what was known before.
fn fill(
    classes: &[Class],
    observed: &mut BTreeMap<String, Millis>,
    before: BTreeMap<String, Millis>,
) {
    for class in classes {
        fill_unmeasured(&class.chain, observed);
    }
    for (name, time) in before {
        observed.entry(name).or_insert(time);
    }
}
