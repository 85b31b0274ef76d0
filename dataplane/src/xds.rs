//! The configuration server of Envoy: delta ADS over a Unix socket.
//!
//! `sm` is the protocol as a pure state machine, one per stream; `service` drives it with tonic;
//! `actor` owns the socket, the compiler and the ledger of what Envoy has accepted. What the
//! resources say is not decided here (see `l7`).

mod actor;
mod answer;
mod cluster_use;
mod compiling;
mod crash_loop;
mod ledger;
mod listening;
mod service;
mod sm;
mod socket;
mod subscription;
mod transfer;
mod undecided;

pub use actor::{XdsActor, XdsArguments, XdsMessage};
pub use crash_loop::{CrashLimits, Crashes};
pub use ledger::{Kept, Ledger, RefusedVersion, Standing};
pub(crate) use sm::INSTANCE_FIELD;
pub use transfer::Transferred;
