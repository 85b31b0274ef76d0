//! The laboratory: hosts made of network namespaces, real servers and load, and a driver for
//! clusters of the `marchproxy` binary. Used by `cargo xtask` and by the fault tests.
//!
//! It knows the program by its command line and its API only, and imports no crate of it.

pub mod api;
pub mod certificate;
pub mod cluster;
pub mod documents;
pub mod http1;
pub mod instance;
pub mod latency;
pub mod load;
pub mod member;
pub mod network;
mod pass;
pub mod pebble;
mod pinned;
pub mod place;
pub mod plan;
pub mod presented;
pub mod process;
pub mod programs;
pub mod serve;
mod signals;
pub mod status;
pub mod tool;
mod verifier;
pub mod waiting;

pub use certificate::Certificate;
pub use cluster::Cluster;
pub use instance::Instance;
pub use member::Member;
pub use network::Network;
pub use place::Place;
pub use plan::Plan;
pub use process::{Launch, Output, Process};
pub use programs::{Loopback, Programs};
