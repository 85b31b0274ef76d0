//! L4 by XDP: TCP and UDP listeners carried by full NAT in the kernel.
//!
//! ```text
//! Desired ─▶ filter ─▶ kernel                                       (before what is served)
//! Desired ─▶ planner ─▶ slots ─▶ image ─▶ generation ─▶ kernel      (pure up to image)
//!    actor ────────────── engine ─────────── program
//!
//! Each step costs what changed, not what there is: the planner tells which frontends differ, the
//! image which records, and only these are written to the copy that is put in force next.
//! ```
//! What is carried and what is not, with the reason, goes out as an [`L4Placement`]; what is not
//! carried here is Envoy's. Kernel state is pinned and outlives the process: established
//! connections go on while it restarts, and the next process takes over maps and links.

pub mod actor;
pub mod addresses;
pub mod arena;
pub mod bpf;
pub mod engine;
pub mod explain;
pub mod filter;
pub mod flows;
pub mod generation;
pub mod grace;
pub mod image;
pub mod judge;
mod judged;
pub mod lookup;
pub mod maglev;
pub mod mapping;
pub mod neighbours;
pub mod numbers;
pub mod pace;
pub mod pins;
pub mod placement;
pub mod plan;
pub mod planner;
pub mod pools;
pub mod ports;
pub mod program;
pub mod qos;
pub mod record;
pub mod sheet;
pub mod slots;
pub mod slow_start;
mod spread;
pub mod statistics;
pub mod ticks;
pub mod traffic;
pub mod trial;
pub mod vlans;
pub mod ways;

pub use actor::{XdpActor, XdpArguments, XdpMessage};
pub use engine::{Engine, Settings};
pub use pins::{PinFolder, detach};
pub use placement::{L4Placement, NotCarried, Placement};
