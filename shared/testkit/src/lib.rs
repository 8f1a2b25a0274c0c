//! `msars-testkit`
