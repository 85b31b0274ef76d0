//! What the XDP program and the data plane agree on.
//!
//! Two halves: the layout of the maps they share ([`layout`], [`verdict`]) and the pure decisions
//! of the packet path ([`path`], made of [`parse`], [`checksum`], [`hash`], [`rewrite`], [`state`],
//! [`claims`], [`flows`], [`tunnel`], [`icmp`], [`filter`] and [`qos`]), which are compiled for both BPF and the host, so
//! that host tests drive the very code that the kernel runs. Nothing here calls a helper, allocates,
//! or keeps state.

#![no_std]

#[cfg(test)]
extern crate std;

pub mod checksum;
pub mod claims;
pub mod drive;
pub mod filter;
pub mod flows;
pub mod generate;
pub mod hash;
pub mod icmp;
pub mod layout;
pub mod machine;
pub mod parse;
pub mod path;
pub mod qos;
pub mod rewrite;
pub mod state;
pub mod tunnel;
pub mod verdict;

#[cfg(test)]
mod tests;
