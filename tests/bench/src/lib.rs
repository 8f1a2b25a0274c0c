//! `msars-bench`
