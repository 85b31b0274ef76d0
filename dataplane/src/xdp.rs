//! L4 by XDP: TCP and UDP listeners carried by full NAT in the kernel.
//!
//! ```text
//! Desired ─▶ plan ─▶ slots ─▶ table ─▶ generation ─▶ kernel      (pure up to table)
//!    actor ─────────── engine ──────────── program
//! ```
//! What is carried and what is not, with the reason, goes out as an [`L4Placement`]; what is not
//! carried here is Envoy's. Kernel state is pinned and outlives the process: established
//! connections go on while it restarts, and the next process takes over maps and links.

pub mod actor;
pub mod addresses;
pub mod engine;
pub mod generation;
pub mod judge;
pub mod maglev;
pub mod neighbours;
pub mod pins;
pub mod placement;
pub mod plan;
pub mod program;
pub mod slots;
pub mod statistics;
pub mod table;

pub use actor::{XdpActor, XdpArguments, XdpMessage};
pub use engine::{Engine, Settings};
pub use pins::{PinFolder, detach};
pub use placement::{L4Placement, NotCarried, Placement};
