//! `msars-gate`
