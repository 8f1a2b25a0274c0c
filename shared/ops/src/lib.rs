//! `msars-ops`
