//! The path of a packet: TCP and UDP load balancing, by full NAT or with direct server return.
//!
//! ```text
//! one VLAN tag ─▶ Task::Tagged: takes it off, and begins again
//! parse ─┬─ destination port in the SNAT range and connection known ──────────┬─▶ Sent
//!        ├─ a rule of the packet filter denies or limits it ─▶ Reason         │
//!        ├─ destination port of no service ─▶ Reason                          │
//!        ├─ service (address, port, protocol), or any local address ─┬▶ NAT ──┤
//!        │                                                           └▶ direct┤
//!        ├─ neither TCP nor UDP ─▶ Task::Error                                │
//!        └─ anything else ─▶ Reason          connection not current ─▶ Task::Connection
//! ```
//! Before a reply or a service's packet goes on, limits and marks are applied to it (`qos`); one that
//! has to wait goes the rest of its way in a task, and from there to a worker.
//! [`steer`] handles what most frames need and ends in a [`Sent`], in a [`Reason`], or in a [`Task`],
//! which [`resume`] does. The configuration is read once per packet (`config`), so a packet sees one
//! generation. All of it is generic over the [`Kernel`] that it runs in: the XDP programs compile
//! it for BPF, tests for the host.

mod config;
mod connection;
mod cookie;
mod direct;
mod errors;
mod event;
mod filter;
mod forward;
mod kernel;
mod note;
mod qos;
mod rates;
mod reply;
mod send;
mod splice;
mod taking;
mod task;
mod too_big;
mod vlan;

pub use event::tell;
pub use kernel::{Kernel, Scratch, Way};
pub use note::is_wanted;
pub use rates::{Limits, exceeded};
pub use send::Sent;
pub use taking::{NOWHERE, Places, take};
pub use task::{Stop, TASKS, Task, resume};
pub use vlan::take_off;

use self::{
    config::{Config, Generation},
    connection::Found,
};
use crate::{
    layout::{Entry, SNAT_PORT_FIRST, forwarding, stat},
    parse::{Family, Packet, family, parse},
    state::opens,
    verdict::Reason,
};

/// Decides on the frame, and rewrites it for where it goes.
///
/// Compiled once a family: the words of an IPv4 packet that are the same in all cost nothing then.
///
/// # Errors
/// Returns why the frame goes nowhere ([`Reason::action`] says what becomes of it), or the task that
/// is left.
#[inline(always)]
pub fn steer(kernel: &impl Kernel) -> Result<Sent, Stop> {
    note::begin(kernel);
    let decided = match decide(kernel) {
        Err(Stop::For(Reason::NotIp)) if vlan::is_tagged(kernel) => Err(Stop::Later(Task::Tagged)),
        decided => decided,
    };
    task::finish(kernel, decided)
}

#[inline(always)]
fn decide(kernel: &impl Kernel) -> Result<Sent, Stop> {
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
fn other<const V6: bool>(kernel: &impl Kernel, reason: Reason) -> Result<Sent, Stop> {
    filter::check_other::<V6>(kernel, reason)?;
    Err(match reason {
        Reason::NotTransport => Stop::Later(Task::Error),
        reason => Stop::For(reason),
    })
}

#[inline(always)]
fn balance<const V6: bool>(kernel: &impl Kernel, packet: &mut Packet) -> Result<Sent, Stop> {
    let generation = Generation::current(kernel)?;
    let port = u16::from_be(packet.tuple.destination_port_be);
    let known = generation.knows_port(port);
    let ways = generation.ways;
    let found = match known_reply(kernel, packet, known, port) {
        Some(found) => {
            let config = Config::of(generation)?;
            kernel.set(stat::GENERATION, config.header.generation);
            note::service(kernel, found.connection.slot, true);
            if qos::egress::<V6, _>(kernel, packet, &config, found.connection.slot)? {
                return Err(Stop::Later(Task::Connection));
            }
            Some(found)
        }
        None => {
            filter::check(kernel, packet)?;
            if !known {
                return Err(Reason::NotService.into());
            }
            let config = Config::of(generation)?;
            kernel.set(stat::GENERATION, config.header.generation);
            let service = config.service(&packet.tuple).ok_or(Reason::NotService)?;
            note::service(kernel, service.slot, false);
            if service.treatment.flags != 0
                && has_no_backend::<V6>(service)
                && connection::find(kernel, &packet.tuple).is_none()
            {
                // Before it is marked: the kernel gets it as it came.
                connection::check(packet)?;
                return Err(Reason::NoBackend.into());
            }
            let waits = qos::ingress::<V6, _>(kernel, packet, &config, &service.treatment)?;
            if waits && service.forwarding != forwarding::NAT {
                return Err(Stop::Later(Task::Direct));
            }
            if waits {
                return Err(Stop::Later(Task::Connection));
            }
            if service.forwarding != forwarding::NAT {
                return direct::forward(kernel, packet, &config, service);
            }
            connection::find(kernel, &packet.tuple)
        }
    };
    connection::check(packet)?;
    let clock = connection::clock(kernel);
    match found {
        Some(found) if !found.needs_task(packet, clock, ways) && !opens(packet.tcp_flags) => {
            send::send(kernel, packet, found.connection)
        }
        _ => Err(task::connection_later(kernel)),
    }
}

/// Tells whether a service with full NAT takes no new connections of a family.
#[inline(always)]
fn has_no_backend<const V6: bool>(service: &Entry) -> bool {
    let pool = if V6 { &service.v6 } else { &service.v4 };
    service.forwarding == forwarding::NAT && pool.maglev_size == 0 && service.draining == 0
}

/// Finds the connection of a packet to a port that connections to backends leave from.
#[inline(always)]
fn known_reply<'k>(
    kernel: &'k impl Kernel,
    packet: &Packet,
    known: bool,
    port: u16,
) -> Option<Found<'k>> {
    if !known || port < SNAT_PORT_FIRST {
        return None;
    }
    connection::find(kernel, &packet.tuple)
}
