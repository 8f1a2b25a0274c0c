//! The autoscaler program: run, crd, explain, drain.

fn main() {}
