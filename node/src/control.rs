//! The control process of a node: what runs in it and the handle through which it is used.
//!
//! [`Control`] is what the API and the command line talk to. [`process`] starts and ends a control
//! process; the tree of actors, with the restart policy of each, is in `tree`.

pub(crate) mod configuration;
pub mod data_dir;
mod dataplane;
mod entry;
mod errors;
pub mod handle;
mod modules;
mod objects;
pub mod ports;
pub mod process;
mod raft;
mod run_dir;
pub mod store;
mod task;
mod tree;
mod write;

pub use entry::{Became, Start};
pub use errors::{ApplyError, RemoveError, SnapshotError};
pub use handle::{ApplyOptions, Control, Spread};
pub use process::{Running, ServeApi, run, start};
