//! The configuration server of Envoy: xDS over a Unix socket, delta and state of the world,
//! aggregated and a stream per type.
//!
//! `sm` is the protocol as a pure state machine, one per client; `client` joins a client's streams
//! to it, each on its wire; `driver` runs a client; `discovery` and `service` are the gRPC around it;
//! `actor` owns the socket, the compiler and the ledger of what Envoy has accepted. What the
//! resources say is not decided here (see `l7`).

mod actor;
mod answer;
mod client;
mod cluster_use;
mod compiling;
mod connection;
mod crash_loop;
mod discovery;
mod driver;
mod fetch;
mod ledger;
mod listening;
mod open;
mod registry;
mod service;
mod sm;
mod socket;
mod subscription;
mod transfer;
mod undecided;

pub use actor::{XdsActor, XdsArguments, XdsMessage};
pub use crash_loop::{CrashLimits, Crashes};
pub use ledger::{Kept, Ledger, RefusedVersion, Standing};
pub use service::Server;
pub(crate) use sm::INSTANCE_FIELD;
pub use transfer::Transferred;
