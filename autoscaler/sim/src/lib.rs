//! `msars-sim`
