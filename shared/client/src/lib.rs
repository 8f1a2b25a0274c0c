//! `msars-client`
