//! `msars-budget`
