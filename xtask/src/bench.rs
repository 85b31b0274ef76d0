//! `cargo xtask bench`: measurements that anyone can repeat.

mod api;
mod filter;
mod l4;
mod l7;
mod limits;
mod propagation;
mod qos;
mod sightings;
mod watch_http;
mod watch_tls;
mod watch_udp;
mod xdp;

use std::process::ExitCode;

use anyhow::Result;

pub(crate) use watch_http::HttpWatch;

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// From an apply to the acknowledgements and to the first request that sees it, on three nodes
    Propagation(propagation::Arguments),
    /// What the API answers in a second over TLS, and how soon its event streams tell of a change
    Api(api::Arguments),
    /// What a packet costs in the XDP program, by way of forwarding and number of flows
    Xdp(xdp::Arguments),
    /// What the packet filter costs with a million prefixes: packets, loading, changes
    Filter,
    /// Each service's bandwidth under a limit, and round trips of P0 beside a P3 over its limit
    Qos,
    /// Requests a second and CPU time of our Envoy, beside a static one, nginx and haproxy
    L7(l7::Arguments),
    /// What a limit of all nodes together lets through, also after the death of the node that counts
    Limits(limits::Arguments),
    /// Packets a second end to end on veth, beside floors, the generator's ceiling and netfilter
    L4(l4::Arguments),
}

/// Runs the command.
///
/// # Errors
/// When the measurement cannot be made; a missed bar is no error but a failing exit status.
pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Propagation(arguments) => propagation::run(arguments),
        Command::Api(arguments) => api::run(arguments),
        Command::Xdp(arguments) => xdp::run(arguments),
        Command::Filter => filter::run(),
        Command::Qos => qos::run(),
        Command::L7(arguments) => l7::run(arguments),
        Command::Limits(arguments) => limits::run(arguments),
        Command::L4(arguments) => l4::run(arguments),
    }
}
