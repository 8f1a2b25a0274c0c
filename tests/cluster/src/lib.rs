//! A real single-node Kubernetes on this machine: the bed that the other tests lie in.
//!
//! What this crate does **not** do: it knows nothing of the product, reaches no network outside its own namespace,
//! and leaves nothing behind after `down`.
//!
//! Order of reading: `tools` (build once) → `pki` → `network` → `configs` → `up` → `down`.

mod configs;
mod down;
mod image;
mod network;
mod paths;
mod pki;
mod process;
mod tools;
mod up;

pub use down::down;
pub use image::{File, Image};
pub use network::NAMESPACE;
pub use paths::Paths;
pub use tools::{Tools, prepare};
pub use up::{inside, kubectl, up};
