//! What the XDP program and the data plane agree on.
//!
//! Two halves: the layout of the maps they share ([`layout`], [`verdict`]) and the pure decisions
//! of the packet path ([`path`], made of [`parse`], [`checksum`], [`hash`], [`rewrite`], [`state`],
//! [`claims`], [`flows`], [`tunnel`], [`icmp`], [`cookie`], [`segment`], [`filter`] and [`qos`]),
//! which are compiled for both BPF and the host, so that host tests drive the very code that the
//! kernel runs. Nothing here calls a helper, allocates, or keeps state, but the feature `host`: plain
//! memory in which tests run the path.

#![no_std]

#[cfg(any(test, feature = "host"))]
extern crate std;

pub mod checksum;
pub mod claims;
pub mod cookie;
pub mod drive;
pub mod event;
pub mod filter;
pub mod flows;
pub mod generate;
pub mod hash;
#[cfg(any(test, feature = "host"))]
pub mod host;
pub mod icmp;
pub mod layout;
pub mod machine;
pub mod parse;
pub mod path;
pub mod qos;
pub mod rewrite;
pub mod segment;
pub mod siphash;
pub mod state;
pub mod tunnel;
pub mod verdict;

#[cfg(test)]
mod tests;
