//! Prometheus to observations.
