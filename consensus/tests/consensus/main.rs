//! The crate from outside: whole members over loopback TLS, with faults.

mod certificates;
mod cluster;
mod durability;
mod harness;
mod kill;
mod membership;
mod refusals;
