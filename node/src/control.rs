//! The control process of a node: what runs in it and the handle through which it is used.
//!
//! [`Control`] is what the API and the command line talk to. [`process`] starts and ends a control
//! process; the tree of actors, with the restart policy of each, is in `tree`.

pub(crate) mod configuration;
pub mod data_dir;
mod dataplane;
pub mod handle;
mod objects;
pub mod ports;
pub mod process;
pub mod store;
mod task;
mod tree;
mod write;

pub use handle::{ApplyError, ApplyOptions, Control, RemoveError, SnapshotError};
pub use process::{Running, ServeApi, Start, run, start};
