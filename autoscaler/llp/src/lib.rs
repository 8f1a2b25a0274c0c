//! `msars-llp`
