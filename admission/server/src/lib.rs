//! `msars-server`
