//! L4 by XDP: the program on single packets (`BPF_PROG_TEST_RUN`), its answers checked against
//! independent models; real TCP and UDP through it in network namespaces and in native mode;
//! the actor; and the doctor. Needs root.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod actor;
mod detach;
mod direct_network;
mod direct_single;
mod doctor;
mod drain;
mod filter_single;
mod icmp;
mod nat_network;
mod nat_single;
mod qos_network;
mod qos_single;
mod support;
mod vlan_single;
mod ways;
