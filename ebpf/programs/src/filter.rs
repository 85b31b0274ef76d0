//! The packet filter: drops what a rule denies, before anything else looks at it.
//!
//! Where there is no filter, it costs the look at an empty slot.

use aya_ebpf::programs::XdpContext;
use ebpf_common::{
    filter::{self, CHUNK_RECORDS, Counters, Header, Layout, MAGIC, Subject, Tables, front},
    parse::{self, Packet},
    verdict::Reason,
};

use crate::maps::{self, FilterRecords};

/// The tables in force, held for the time of a packet.
struct InForce {
    front: &'static FilterRecords,
}

impl Tables for InForce {
    #[inline(always)]
    fn front<T: Layout>(&self, index: u32) -> Option<&T> {
        // SAFETY: layouts are integers of a record's size, valid for any bytes.
        self.front.get_ptr(index).map(|record| unsafe { &*record.cast::<T>() })
    }

    #[inline(always)]
    fn arena<T: Layout>(&self, index: u32) -> Option<&T> {
        let (slot, within) = filter::place(index);
        // SAFETY: as above.
        maps::filter(slot)?.get_ptr(within).map(|record| unsafe { &*record.cast::<T>() })
    }
}

/// Filters a TCP or UDP packet.
///
/// # Errors
/// Returns [`Reason::Filtered`] when a rule denies it.
#[inline(always)]
pub fn check(packet: &Packet) -> Result<(), Reason> {
    let Some(front) = maps::filter(0) else { return Ok(()) };
    let tuple = &packet.tuple;
    let subject = Subject {
        source: tuple.source,
        destination: tuple.destination,
        v6: packet.v6,
        protocol: tuple.protocol,
        port_be: tuple.destination_port_be,
    };
    judge(InForce { front }, &subject)
}

/// Filters a packet that is not a whole TCP or UDP packet, for which `reason` stands.
///
/// # Errors
/// Returns [`Reason::Filtered`] when a rule denies it.
#[inline(always)]
pub fn check_other<const V6: bool>(context: &XdpContext, reason: Reason) -> Result<(), Reason> {
    if !matches!(reason, Reason::NotTransport | Reason::Fragment | Reason::IpOptions) {
        return Ok(());
    }
    let Some(front) = maps::filter(0) else { return Ok(()) };
    // SAFETY: the kernel gives these as the bounds of the frame.
    let addresses = unsafe { parse::addresses(context.data(), context.data_end()) };
    let Some((source, destination, _)) = addresses else { return Ok(()) };
    let subject = Subject { source, destination, v6: V6, protocol: 0, port_be: 0 };
    judge(InForce { front }, &subject)
}

#[inline(always)]
fn judge(tables: InForce, subject: &Subject) -> Result<(), Reason> {
    let header: &Header = tables.front(front::HEADER).ok_or(Reason::BrokenConfiguration)?;
    if header.magic != MAGIC {
        return Err(Reason::BrokenConfiguration);
    }
    let rule = filter::decide(&tables, header, subject).ok_or(Reason::BrokenConfiguration)?;
    if rule & header.deny == 0 {
        return Ok(());
    }
    if let Some(counters) = tables.front::<Counters>(front::COUNTERS) {
        let place = rule.trailing_zeros() as usize & 63;
        // SAFETY: the mask keeps the place within the array.
        maps::count_filtered(unsafe { *counters.counters.as_ptr().add(place) });
    }
    Err(Reason::Filtered)
}

const _: () = assert!(CHUNK_RECORDS.is_power_of_two());
