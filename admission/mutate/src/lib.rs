//! `msars-mutate`
