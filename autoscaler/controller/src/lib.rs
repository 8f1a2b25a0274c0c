//! The controllers: held revisions, objectives, workloads, the webhook's certificates.
//!
//! What this crate does **not** do: it decides no admission, performs no write to users' objects itself (that is
//! `msars_client::apply`), and holds no arithmetic of profiles, splits or scaling. It reads guarded copies, asks the
//! pure crates, and carries out what they say while this replica leads.
//!
//! | module | reads | writes |
//! |---|---|---|
//! | [`world`] | Deployments, ReplicaSets, pods, our three kinds, the switches | nothing |
//! | [`revision`] | held Deployments, their shadow pods | holds, shadow pods, profiles from shadow pods |
//! | [`objective`] | Prometheus, profiles | objectives, profiles learnt from live pods |
//! | [`workload`] | Prometheus, kubelets, objectives, profiles | replicas, pod sizes, autoscalers |
//! | [`certificates`] | its Secret | its Secret, the CA bundle |

pub mod autoscalers;
pub mod certificates;
pub mod engine;
pub mod kubelet;
pub mod metrics;
pub mod objective;
pub mod own;
pub mod plain;
pub mod pods;
pub mod profiles;
pub mod revision;
pub mod workload;
pub mod world;
