//! ICMP errors about the flows of services, such as those by which a sender learns the MTU of a way.
//!
//! They go where the packets of the flow go that have the error's direction. An endpoint that
//! answers directly has them as they are; with full NAT they are translated in both directions.

use super::{
    config::{Config, Generation},
    connection, direct,
    kernel::Kernel,
    note,
    send::{self, Sent},
};
use crate::{
    icmp::{parse_error, renumber_quoted, rewrite_error},
    layout::{self, Connection, forwarding, stat},
    parse::{Family, Packet},
    verdict::Reason,
};

/// Forwards an ICMP error to the endpoint or client of the flow that it is about.
///
/// # Errors
/// Returns why it cannot go on; [`Reason::NotTransport`] leaves it to the kernel.
#[inline(always)]
pub(super) fn forward<const V6: bool>(kernel: &impl Kernel) -> Result<Sent, Reason> {
    let family = if V6 { Family::V6 } else { Family::V4 };
    // SAFETY: the kernel gives these as the bounds of the frame.
    let packet = unsafe { parse_error(kernel.start(), kernel.end(), family) }?;
    let config = Config::of(Generation::current(kernel)?)?;
    let sent = match config.service(&packet.tuple) {
        Some(service) if service.forwarding != forwarding::NAT => {
            note::service(kernel, service.slot, false);
            direct::forward_error(kernel, &packet, &config, service)
        }
        _ => translate::<V6>(kernel, &packet),
    }?;
    kernel.count(stat::ERRORS_FORWARDED);
    Ok(sent)
}

/// Forwards an error about a connection with full NAT.
#[inline(always)]
fn translate<const V6: bool>(kernel: &impl Kernel, packet: &Packet) -> Result<Sent, Reason> {
    let clock = connection::clock(kernel);
    let found = connection::find(kernel, &packet.tuple).ok_or(Reason::NotTransport)?;
    if !connection::stays(kernel, &found, clock) {
        return Err(Reason::NotTransport);
    }
    if packet.hop_limit <= 1 {
        return Err(Reason::HopLimit);
    }
    let Connection { to, hop, slot, reply, splice, generation_or_delta: delta, .. } =
        found.connection;
    note::service(kernel, *slot, *reply == 1);
    if hop.mtu != 0 && packet.length > hop.mtu {
        return Err(Reason::TooBig);
    }
    // SAFETY: the kernel gives these as the bounds of the frame.
    unsafe { rewrite_error::<V6>(kernel.start(), kernel.end(), packet, to, hop) }?;
    if *splice == layout::splice::JOINED && *reply == 0 {
        // What the backend has sent is quoted as the client got it.
        // SAFETY: as above.
        unsafe { renumber_quoted::<V6>(kernel.start(), kernel.end(), *delta) }?;
    }
    send::leave(kernel, hop)
}
