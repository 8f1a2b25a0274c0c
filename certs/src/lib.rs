//! `msars-certs`
