//! Envoy as a process: found, checked, configured to ask `xds`, started, watched, replaced without a
//! gap, drained, left to the next data plane.
//!
//! What Envoy does with traffic is not decided here (see `l7`), nor how it is told (see `xds`).

mod actor;
mod admin;
mod arguments;
mod binary;
mod bootstrap;
mod leading;
mod life;
mod orphan;
mod overload;
mod restart;
mod running;
mod series;
mod shared_memory;
mod state;
mod stats;
mod status;
mod traffic;
mod watch;

pub use actor::{EnvoyActor, EnvoyMessage};
pub use admin::{Admin, AdminError};
pub use arguments::{EnvoyArguments, admin_socket};
pub use binary::{Binary, BinaryError, SUPPORTED, find};
pub use bootstrap::Bootstrap;
pub use leading::Leading;
pub use life::{Keeping, Life};
pub use restart::{Restart, RestartError};
pub use status::{EnvoyState, EnvoyStatus, LastRestart};
