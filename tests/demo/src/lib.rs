//! The story as a scenario on a real cluster, and its report.
//!
//! What this crate does **not** do: it decides nothing that the product should decide, talks to the cluster by kubectl
//! alone, and calls nothing good by itself: [`bars`] compares figures, [`audit`] recomputes them from the API server's
//! own log.
//!
//! Order of reading: `story` (every number of the scenario) → `scenario` (the steps) → `change`, `undo`, `surge`,
//! `adoption` → `collect` → `reconcile`, `agree` → `report` → `page`. Pure, with tests on fixtures: `agree`, `audit`,
//! `bars`, `births`, `bound`, `entry`, `figures`, `fleet`, `logs`, `page`, `reconcile`, `report`, `scaling`, `stored`,
//! `story`, `takeover`.
//! A further step is a function over [`stage::Stage`] that `scenario::play` calls; what it found is a field of
//! [`report::Report`].

pub mod adoption;
pub mod agree;
pub mod audit;
pub mod bars;
pub mod births;
pub mod bound;
pub mod change;
pub mod clock;
pub mod collect;
pub mod entry;
pub mod figures;
pub mod fleet;
pub mod images;
pub mod install;
pub mod interrupt;
pub mod load;
pub mod logs;
pub mod page;
pub mod reconcile;
pub mod report;
pub mod scaling;
pub mod scenario;
pub mod stage;
pub mod stored;
pub mod story;
pub mod surge;
pub mod takeover;
pub mod timeline;
pub mod truth;
pub mod undo;
