//! `msars-suite`
