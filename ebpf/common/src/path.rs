//! The path of a packet: TCP and UDP load balancing, by full NAT or with direct server return.
//!
//! ```text
//! parse ─┬─ destination port in the SNAT range and connection known ─▶ reply    ─┐
//!        ├─ a rule of the packet filter denies it ─▶ dropped                      │
//!        ├─ destination port of no service ─▶ the kernel                          │
//!        ├─ service (address, port, protocol), or any local address ─┬▶ forward  ─┼▶ Sent
//!        │                                                           └▶ direct   ─┤
//!        ├─ ICMP error about a flow or connection ─▶ errors ────────────────────────┤
//!        └─ anything else ─▶ the kernel                                           │
//!                           Reason ◀──────────────────────────────────────────────┘
//! ```
//! Before a reply or a service's packet goes on, limits and marks are applied to it (`qos`).
//! One file per way of a packet (`forward`, `reply`, `direct`, `errors`); each ends in a
//! [`Sent`] or in a [`Reason`]. The configuration is read once per packet (`config`), so a packet sees one
//! generation. All of it is generic over the [`Kernel`] that it runs in: the XDP program compiles
//! it for BPF, tests for the host.

mod config;
mod connection;
mod direct;
mod errors;
mod filter;
mod forward;
mod kernel;
mod qos;
mod reply;
mod send;
mod too_big;

pub use kernel::{Kernel, Refused, Scratch};
pub use send::Sent;

use self::config::{Config, Generation};
use crate::{
    layout::{Connection, SNAT_PORT_FIRST, forwarding, stat},
    parse::{Family, Packet, family, parse},
    verdict::Reason,
};

/// Decides on the frame, and rewrites it for where it goes.
///
/// Compiled once a family: the words of an IPv4 packet that are the same in all cost nothing then.
///
/// # Errors
/// Returns why the frame goes nowhere; [`Reason::action`] says what becomes of it.
#[inline(always)]
pub fn steer(kernel: &impl Kernel) -> Result<Sent, Reason> {
    let (start, end) = (kernel.start(), kernel.end());
    // SAFETY: the kernel gives these as the bounds of the frame.
    unsafe {
        match family(start, end)? {
            Family::V4 => match parse(start, end, Family::V4) {
                Ok(mut packet) => balance::<false>(kernel, &mut packet),
                Err(reason) => other::<false>(kernel, reason),
            },
            Family::V6 => match parse(start, end, Family::V6) {
                Ok(mut packet) => balance::<true>(kernel, &mut packet),
                Err(reason) => other::<true>(kernel, reason),
            },
        }
    }
}

/// Handles what is not a whole TCP or UDP packet.
#[inline(always)]
fn other<const V6: bool>(kernel: &impl Kernel, reason: Reason) -> Result<Sent, Reason> {
    filter::check_other::<V6>(kernel, reason)?;
    match reason {
        Reason::NotTransport => errors::forward::<V6>(kernel),
        reason => Err(reason),
    }
}

#[inline(always)]
fn balance<const V6: bool>(kernel: &impl Kernel, packet: &mut Packet) -> Result<Sent, Reason> {
    let generation = Generation::current(kernel)?;
    let port = u16::from_be(packet.tuple.destination_port_be);
    let known = generation.knows_port(port);
    let connection = match known_reply(kernel, packet, known, port) {
        Some(connection) => {
            let config = Config::of(generation)?;
            kernel.set(stat::GENERATION, config.header.generation);
            let connection = reply::connection(kernel, packet, connection)?;
            qos::egress::<V6, _>(kernel, packet, &config, connection.slot)?;
            connection
        }
        None => {
            filter::check(kernel, packet)?;
            if !known {
                return Err(Reason::NotService);
            }
            let config = Config::of(generation)?;
            kernel.set(stat::GENERATION, config.header.generation);
            let service = config.service(&packet.tuple).ok_or(Reason::NotService)?;
            qos::ingress::<V6, _>(kernel, packet, &config, &service.treatment)?;
            if service.forwarding != forwarding::NAT {
                return direct::forward::<V6, _>(kernel, packet, &config, service);
            }
            forward::connection(kernel, packet, &config, service)?
        }
    };
    send::send::<V6>(kernel, packet, connection)
}

/// Finds the connection of a packet to a port that connections to backends leave from.
#[inline(always)]
fn known_reply<'k>(
    kernel: &'k impl Kernel,
    packet: &Packet,
    known: bool,
    port: u16,
) -> Option<&'k mut Connection> {
    if !known || port < SNAT_PORT_FIRST {
        return None;
    }
    connection::find(kernel, &packet.tuple)
}
