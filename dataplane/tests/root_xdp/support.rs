//! What the tests share: places, frames, configurations, peers.

pub(crate) mod bench;
pub(crate) mod cookies;
pub(crate) mod decapsulate;
pub(crate) mod echo;
pub(crate) mod environment;
pub(crate) mod icmp;
pub(crate) mod namespaces;
pub(crate) mod nat;
pub(crate) mod objects;
pub(crate) mod outer;
pub(crate) mod packets;
pub(crate) mod pause;
pub(crate) mod row;
pub(crate) mod segments;
