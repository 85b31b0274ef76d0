//! Envoy as a child process: found, checked, configured to ask `xds`, started, watched, drained.
//!
//! What Envoy does with traffic is not decided here (see `l7`), nor how it is told (see `xds`).

mod actor;
mod admin;
mod binary;
mod bootstrap;
mod orphan;
mod stats;

pub use actor::{EnvoyActor, EnvoyArguments, EnvoyMessage, admin_socket};
pub use admin::{Admin, AdminError};
pub use binary::{Binary, BinaryError, SUPPORTED, find};
pub use bootstrap::Bootstrap;
