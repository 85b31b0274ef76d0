//! The XDP program: TCP and UDP load balancing, by full NAT or with direct server return.
//!
//! ```text
//! parse ─┬─ destination port of no service and not in the SNAT range ─▶ the kernel
//!        ├─ destination port in the SNAT range and connection known ─▶ reply    ─┐
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
mod forward;
mod maps;
mod next_hop;
mod reply;
mod send;
mod too_big;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use ebpf_common::{
    layout::{Connection, forwarding, stat},
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
                Err(Reason::NotTransport) => errors::forward::<false>(context, stats),
                Err(reason) => Err(reason),
            },
            Family::V6 => match parse(start, end, Family::V6) {
                Ok(packet) => balance::<true>(context, stats, &packet),
                Err(Reason::NotTransport) => errors::forward::<true>(context, stats),
                Err(reason) => Err(reason),
            },
        }
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
    if !generation.knows_port(port) {
        return Err(Reason::NotService);
    }
    let config = Config::of(generation)?;
    stats.set(stat::GENERATION, config.header.generation);
    let connection = match known_reply(packet, &config, port) {
        Some(connection) => reply::connection(context, packet, connection)?,
        None => {
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
fn known_reply(packet: &Packet, config: &Config, port: u16) -> Option<&'static mut Connection> {
    if port < config.header.port_first || port > config.header.port_last {
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
