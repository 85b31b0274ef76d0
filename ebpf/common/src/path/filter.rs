//! The packet filter: drops what a rule denies, or what exceeds its rate, before anything else
//! looks at it.
//!
//! Where there is no filter, it costs the look at an empty slot.

use super::{kernel::Kernel, rates};
use crate::{
    filter::{self, Decision, Header, MAGIC, Subject, Tables, front, rates::Asked},
    layout::note,
    parse::{self, Packet},
    verdict::Reason,
};

/// Filters a TCP or UDP packet.
///
/// # Errors
/// Returns [`Reason::Filtered`] when a rule denies it, [`Reason::RateLimited`] when it exceeds one.
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
/// Returns [`Reason::Filtered`] when a rule denies it, [`Reason::RateLimited`] when it exceeds one.
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
    let fitting = filter::fitting(tables, header, subject).ok_or(Reason::BrokenConfiguration)?;
    let Decision { rates, rule } = header.decision(fitting);
    kernel.set(note::RULE, rule);
    kernel.set(note::FILTER, header.serial.into());
    if fitting & header.drops == 0 {
        return Ok(());
    }
    if rates != 0 {
        let asked = Asked { rates, serial: header.serial, source: subject.source };
        let exceeded = kernel.exceeded(&asked)?;
        if exceeded != 0 {
            kernel.set(note::RULE, exceeded);
            return Err(Reason::RateLimited);
        }
    }
    if rule & header.drops == 0 {
        return Ok(());
    }
    if let Some(number) = rates::number(tables, rule.trailing_zeros())
        && let Some(state) = kernel.rule(number)
    {
        // SAFETY: this CPU's, and no other reference to it is held.
        unsafe { (*state).dropped += 1 };
    }
    Err(Reason::Filtered)
}
