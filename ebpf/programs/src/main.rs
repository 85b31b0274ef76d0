//! The XDP program: TCP and UDP load balancing, by full NAT or with direct server return.
//!
//! ```text
//! parse ─┬─ destination port in the SNAT range and connection known ─▶ reply    ─┐
//!        ├─ a rule of the packet filter denies it ─▶ dropped                      │
//!        ├─ destination port of no service ─▶ the kernel                          │
//!        ├─ service (address, port, protocol), or any local address ─┬▶ forward  ─┼▶ TX / redirect
//!        │                                                           └▶ direct   ─┤
//!        ├─ ICMP error about a flow or connection ─▶ errors ────────────────────────┤
//!        └─ anything else ─▶ the kernel                                           │
//!                           Reason ◀──────────────────────────────────────────────┘
//! ```
//! One file per packet path ([`forward`], [`reply`], [`direct`]); they end in an action or in a [`Reason`],
//! and the one `match` from a reason to an action stands below. The configuration is read once
//! per packet ([`config`]), so a packet sees one generation.

#![no_std]
#![no_main]

mod config;
mod connection;
mod direct;
mod errors;
mod filter;
mod forward;
mod maps;
mod next_hop;
mod reply;
mod send;
mod too_big;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use ebpf_common::{
    layout::{Connection, SNAT_PORT_FIRST, forwarding, stat},
    parse::{Family, Packet, family, parse},
    verdict::{Action, Reason},
};

use crate::{
    config::{Config, Generation},
    maps::Stats,
};

/// Handles one frame.
#[xdp]
#[inline(always)]
pub fn marchproxy_l4(context: XdpContext) -> u32 {
    let Some(stats) = maps::stats() else { return xdp_action::XDP_PASS };
    match steer(&context, stats) {
        Ok(action) => action,
        Err(reason) => {
            stats.count(reason as usize);
            match reason.action() {
                Action::Pass => xdp_action::XDP_PASS,
                Action::Drop => xdp_action::XDP_DROP,
            }
        }
    }
}

/// Compiled once a family: the words of an IPv4 packet that are the same in all cost nothing then.
#[inline(always)]
fn steer(context: &XdpContext, stats: Stats) -> Result<u32, Reason> {
    let (start, end) = (context.data(), context.data_end());
    // SAFETY: the kernel gives these as the bounds of the frame.
    unsafe {
        match family(start, end)? {
            Family::V4 => match parse(start, end, Family::V4) {
                Ok(packet) => balance::<false>(context, stats, &packet),
                Err(reason) => other::<false>(context, stats, reason),
            },
            Family::V6 => match parse(start, end, Family::V6) {
                Ok(packet) => balance::<true>(context, stats, &packet),
                Err(reason) => other::<true>(context, stats, reason),
            },
        }
    }
}

/// Handles what is not a whole TCP or UDP packet.
#[inline(always)]
fn other<const V6: bool>(
    context: &XdpContext,
    stats: Stats,
    reason: Reason,
) -> Result<u32, Reason> {
    filter::check_other::<V6>(context, reason)?;
    match reason {
        Reason::NotTransport => errors::forward::<V6>(context, stats),
        reason => Err(reason),
    }
}

#[inline(always)]
fn balance<const V6: bool>(
    context: &XdpContext,
    stats: Stats,
    packet: &Packet,
) -> Result<u32, Reason> {
    let generation = Generation::current()?;
    let port = u16::from_be(packet.tuple.destination_port_be);
    let known = generation.knows_port(port);
    let connection = match known_reply(packet, known, port) {
        Some(connection) => {
            stats.set(stat::GENERATION, Config::of(generation)?.header.generation);
            reply::connection(context, packet, connection)?
        }
        None => {
            filter::check(packet)?;
            if !known {
                return Err(Reason::NotService);
            }
            let config = Config::of(generation)?;
            stats.set(stat::GENERATION, config.header.generation);
            let service = config.service(&packet.tuple).ok_or(Reason::NotService)?;
            if service.forwarding != forwarding::NAT {
                return direct::forward::<V6>(context, stats, packet, &config, service);
            }
            forward::connection(context, packet, &config, service)?
        }
    };
    send::send::<V6>(context, stats, packet, connection)
}

/// Finds the connection of a packet to a port that connections to backends leave from.
#[inline(always)]
fn known_reply(packet: &Packet, known: bool, port: u16) -> Option<&'static mut Connection> {
    if !known || port < SNAT_PORT_FIRST {
        return None;
    }
    connection::find(&packet.tuple)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// `bpf_fib_lookup` is offered to GPL-compatible programs only, so this object is under either
/// Apache-2.0 or GPL-2.0 (see `Cargo.toml`), in the kernel's spelling.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
