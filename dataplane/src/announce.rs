//! Addresses that this node announces on its link, while they are its own.
//!
//! ```text
//! subscriber ─ grant ─▶ actor ─▶ plan (pure) ─▶ holder ─▶ kernel: address with a lifetime
//!            ◀ reports ─                              └─▶ frames (pure) ─▶ the link
//! ```
//! The kernel answers ARP and Neighbor Discovery: the address is put on the interface, as a host
//! address with a mark (`IFA_PROTO`) and a lifetime that ends with the lease. So no process has to run
//! for the answers to end: after `kill -9`, a hang, or a control process that is silent, the kernel
//! itself takes the address off. XDP sees packets before the kernel knows them for its own, so every
//! kind of forwarding works; what Envoy carries needs the address on the host anyway.
//!
//! **Invariant.** An address on the host that is not marked is never touched.

mod actor;
mod frames;
mod holder;
mod links;
mod plan;

use std::{collections::BTreeSet, net::IpAddr, time::Instant};

pub use actor::{AnnounceActor, AnnounceArguments, AnnounceMessage};
pub use holder::{Holder, Input, release};

/// The addresses that are this node's, as its control process said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// When they are no more, without another word.
    pub until: Instant,
}
