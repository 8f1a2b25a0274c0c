//! Does not talk to a cluster, read a clock or decide anything: it only names and parses the
//! product's annotations (group `msars.io`).

pub mod annotations;
