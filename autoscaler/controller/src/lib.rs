//! Controllers: revision, objective, workload.
