//! The doctor: looks at a host and says, a line each, what helps and what hinders its data plane.
//!
//! ```text
//! gather (reads the host) ─▶ Facts ─▶ judge (pure) ─▶ Vec<Finding>
//! ```
//! It needs no cluster and no running data plane. Where one runs, its settings, its last accepted
//! configuration and what it says of itself are facts like others.
//!
//! Invariants: nothing of the host is changed. The one thing that is sent are the empty datagrams
//! by which a data plane, too, makes the kernel look for its next hops. What cannot be read becomes
//! a finding that says so, never a silence.

pub mod facts;
pub mod finding;
pub mod gather;
pub mod judge;

pub use finding::{Check, Finding, Level};
pub use gather::{Wishes, gather};
pub use judge::judge;
