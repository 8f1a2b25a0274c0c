//! `msars-loadgen`
