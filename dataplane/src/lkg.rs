//! The last known good configuration on disk, for a start without any control node.
//!
//! Another follower of the desired state, beside the engines: it writes what changed since it last
//! wrote, so that a burst of revisions costs one write, and the engines never wait for the disk.
//! Beside the configuration stands what Envoy refused of it, with what stands in for that.

pub mod journal;
pub mod recorder;
pub mod refusals;
pub mod store;

pub use journal::{Damage, Replayed, replay};
pub use recorder::{RecorderActor, RecorderArguments, RecorderStatus};
pub use refusals::RefusalStore;
pub use store::{Store, StoreError};
