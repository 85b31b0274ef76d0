//! The packet filter: drops what a rule denies, before anything else looks at it.
//!
//! Where there is no filter, it costs the look at an empty slot.

use super::kernel::Kernel;
use crate::{
    filter::{self, Counters, Header, MAGIC, Subject, Tables, front},
    layout::note,
    parse::{self, Packet},
    verdict::Reason,
};

/// Filters a TCP or UDP packet.
///
/// # Errors
/// Returns [`Reason::Filtered`] when a rule denies it.
#[inline(always)]
pub(super) fn check(kernel: &impl Kernel, packet: &Packet) -> Result<(), Reason> {
    let Some(tables) = kernel.filter() else { return Ok(()) };
    let tuple = &packet.tuple;
    let subject = Subject {
        source: tuple.source,
        destination: tuple.destination,
        v6: packet.v6,
        protocol: tuple.protocol,
        port_be: tuple.destination_port_be,
    };
    judge(kernel, &tables, &subject)
}

/// Filters a packet that is not a whole TCP or UDP packet, for which `reason` stands.
///
/// # Errors
/// Returns [`Reason::Filtered`] when a rule denies it.
#[inline(always)]
pub(super) fn check_other<const V6: bool>(
    kernel: &impl Kernel,
    reason: Reason,
) -> Result<(), Reason> {
    if !matches!(reason, Reason::NotTransport | Reason::Fragment | Reason::IpOptions) {
        return Ok(());
    }
    let Some(tables) = kernel.filter() else { return Ok(()) };
    // SAFETY: the kernel gives these as the bounds of the frame.
    let addresses = unsafe { parse::addresses(kernel.start(), kernel.end()) };
    let Some((source, destination, _)) = addresses else { return Ok(()) };
    let subject = Subject { source, destination, v6: V6, protocol: 0, port_be: 0 };
    judge(kernel, &tables, &subject)
}

#[inline(always)]
fn judge<K: Kernel>(kernel: &K, tables: &K::Filter, subject: &Subject) -> Result<(), Reason> {
    let header: &Header = tables.front(front::HEADER).ok_or(Reason::BrokenConfiguration)?;
    if header.magic != MAGIC {
        return Err(Reason::BrokenConfiguration);
    }
    let rule = filter::decide(tables, header, subject).ok_or(Reason::BrokenConfiguration)?;
    kernel.set(note::RULE, rule);
    kernel.set(note::FILTER, header.serial.into());
    if rule & header.deny == 0 {
        return Ok(());
    }
    if let Some(counters) = tables.front::<Counters>(front::COUNTERS) {
        let place = rule.trailing_zeros() as usize & 63;
        // SAFETY: the mask keeps the place within the array.
        kernel.count_filtered(unsafe { *counters.counters.as_ptr().add(place) });
    }
    Err(Reason::Filtered)
}
