//! `msars-api`
