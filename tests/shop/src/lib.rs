//! `msars-shop`
