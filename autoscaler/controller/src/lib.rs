//! `msars-controller`
