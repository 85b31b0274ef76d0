//! The crate from outside: whole members over loopback TLS, with faults.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod certificates;
mod cluster;
mod durability;
mod harness;
mod kill;
mod membership;
mod refusals;
