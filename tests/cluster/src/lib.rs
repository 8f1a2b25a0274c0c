//! `msars-cluster`
