//! Events of flows: from the kernel's ring to those who follow.
//!
//! ```text
//! kernel's ring ─▶ reader ─▶ resolve ─▶ hub ─▶ followers, on the data plane's socket
//!                               ▲
//! engine ─▶ names ──────────────┘
//! ```
//! The program tells numbers: slots, rules of a filter, generations. [`names`] says what they stood
//! for, [`resolve`] (pure) makes of both what people read, and the [`hub`] keeps the newest ones and
//! hands them to whoever follows. Nothing here can hold a packet up: the ring, the hub and each
//! follower have bounds, and who is too slow is told how many events it has missed.

pub mod hub;
pub mod names;
pub mod reader;
pub mod resolve;

pub use hub::FlowHub;
pub use names::FlowNames;
pub use reader::{FlowsActor, FlowsArguments};
