//! A real single-node Kubernetes on this machine: the bed that the other tests lie in.
//!
//! What this crate does **not** do: it knows nothing of the product, reaches no network outside its own namespace,
//! and leaves nothing behind after `down`.
//!
//! Order of reading: `cluster` (what others call) → `tools` (build once) → `pki` → `network` → `configs` → `up` →
//! `down`; `process` knows what runs, `image` and `linked` make images of programs.

mod cluster;
mod configs;
mod containerd;
mod down;
mod image;
mod linked;
mod metrics_server;
mod network;
mod paths;
mod pki;
mod process;
mod prometheus;
mod tools;
mod up;

pub use cluster::Cluster;
pub use image::{File, Image, archive};
pub use network::{NAMESPACE, NODE_ADDRESS};
pub use paths::Paths;
pub use pki::NODE;
pub use process::Process;
pub use prometheus::ScrapeInterval;
pub use up::Options;
