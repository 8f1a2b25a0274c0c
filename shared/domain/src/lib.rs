//! `msars-domain`
