//! `msars-observe`
