//! `msars-report`
