//! L4 by XDP: the program on single packets (`BPF_PROG_TEST_RUN`), its answers checked against
//! independent models; real TCP and UDP through it in network namespaces and in native mode;
//! the actor; and the doctor. Needs root.
//!
//! What is to become of a packet is said by [`naive`], which shares no decision with the program.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod actor;
mod agreement;
mod announce;
mod cookie_flood;
mod cookie_network;
mod cookie_single;
mod detach;
mod direct_network;
mod direct_single;
mod doctor;
mod drain;
#[path = "../../benches/support/driver.rs"]
#[expect(dead_code, reason = "the benches use what this does not")]
mod driver;
mod explain;
mod filter_change;
mod filter_rates;
mod filter_single;
mod flood;
mod flows;
mod icmp;
mod naive;
mod nat_network;
mod nat_single;
mod qos_network;
mod qos_single;
mod real_traffic;
mod replacement;
mod support;
mod traffic;
mod verifier;
mod vlan_single;
mod waiting_modes;
mod waiting_network;
mod ways;
