//! The story as a scenario with its report.
