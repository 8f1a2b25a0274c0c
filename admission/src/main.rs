//! The admission program: wires the webhook's decision to HTTPS and an informer snapshot.

fn main() {}
