//! The controllers: held revisions, objectives, workloads, the webhook's certificates.
//!
//! What this crate does **not** do: it decides no admission, performs no write to users' objects itself (that is
//! `msars_client::apply`), and neither fits a profile, nor solves a split, nor plans a change of scale. It reads guarded
//! copies, derives from them what those rest on (tail factors, live work, room of callees, spent error budgets: the pure
//! parts of [`objective`]), asks the pure crates, and carries out what they say while this replica leads.
//!
//! | module | reads | writes |
//! |---|---|---|
//! | [`world`] | Deployments, ReplicaSets, pods, our three kinds, the switches, nodes, quotas, LimitRanges | nothing |
//! | [`revision`] | held Deployments, their shadow pods | holds, shadow pods, profiles from shadow pods |
//! | [`objective`] | Prometheus, profiles | objectives, profiles learnt from live pods |
//! | [`workload`] | Prometheus, kubelets, objectives, profiles | replicas, pod sizes, autoscalers |
//! | [`certificates`] | its Secret | its Secret, the CA bundle |

pub mod autoscalers;
pub mod certificates;
pub mod engine;
pub mod kubelet;
pub mod lead;
pub mod metrics;
pub mod objective;
pub mod own;
pub mod plain;
pub mod pods;
pub mod profiles;
pub mod revision;
mod work;
pub mod workload;
pub mod world;
