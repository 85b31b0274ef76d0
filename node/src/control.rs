//! The control process of a node: what runs in it and the handle through which it is used.
//!
//! [`Control`] is what the API and the command line talk to. The tree of actors behind it is built
//! in [`process`], with the restart policy of each in one table.

pub mod handle;
pub mod process;

pub use handle::{ApplyError, ApplyOptions, Control, RemoveError, SnapshotError};
pub use process::{Running, ServeApi, Start, run, start};
