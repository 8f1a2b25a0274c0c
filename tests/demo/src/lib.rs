//! `msars-demo`
