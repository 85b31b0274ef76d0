//! What is noted of a packet on its way, and whether it is told of in the end.
//!
//! Notes are stores to words of this CPU's statistics, which the next packet overwrites.

use super::kernel::Kernel;
use crate::{
    event::{BUDGET, WINDOW_SHIFT, why},
    layout::{Address, Tuple, note, stat},
    parse::{Packet, addresses, family, parse},
};

/// Begins the notes of a packet, and notes its flow when it is one of the sample.
#[inline(always)]
pub(super) fn begin(kernel: &impl Kernel) {
    kernel.clear(note::WANTED);
    kernel.clear(note::SERVICE);
    kernel.clear(note::ENDPOINT);
    kernel.clear(note::RULE);
    kernel.clear(note::FILTER);
    if is_due(kernel) {
        remember(kernel, kernel.start(), kernel.end(), why::SAMPLED);
    }
}

/// Notes the flow of a packet of the sample whose VLAN tag hid it until then.
#[inline(always)]
pub(super) fn untagged(kernel: &impl Kernel) {
    if kernel.get(note::WANTED) != 0 {
        remember(kernel, kernel.start(), kernel.end(), 0);
    }
}

/// Counts down to the next packet of the sample.
#[inline(always)]
fn is_due(kernel: &impl Kernel) -> bool {
    let sampling = kernel.sampling();
    if sampling == 0 {
        return false;
    }
    let left = kernel.get(note::LEFT);
    let due = left == 0;
    kernel.set(note::LEFT, if due { u64::from(sampling) - 1 } else { left - 1 });
    due
}

/// Notes why a packet is told of, and its flow out of the frame, which is as it came.
///
/// A function of its own, off the path of most packets, so that what the path knows of the packet
/// stays in registers. The bounds are given to it, since the compiler would give it halves of them.
#[inline(never)]
pub(super) fn remember<K: Kernel>(kernel: &K, start: usize, end: usize, why: u8) {
    let wanted = kernel.get(note::WANTED) | u64::from(why);
    kernel.set(note::WANTED, wanted);
    // SAFETY: the kernel gives these as the bounds of the frame.
    let packet = unsafe { family(start, end).and_then(|family| parse(start, end, family)) };
    if let Ok(packet) = packet {
        flow(kernel, &packet);
        kernel.set(note::WANTED, wanted | u64::from(why::NOTED));
        return;
    }
    // SAFETY: as above.
    let Some((source, destination, _)) = (unsafe { addresses(start, end) }) else { return };
    addresses_of(kernel, &source, &destination);
    kernel.set(note::TUPLE + 4, 0);
    // The difference of two pointers is a number only as a whole.
    let length = core::hint::black_box(end - start) as u16;
    kernel.set(note::PACKET, length.into());
    kernel.set(note::WANTED, wanted | u64::from(why::NOTED));
}

/// Notes the flow of a packet that is as it came.
#[inline(always)]
pub(super) fn flow(kernel: &impl Kernel, packet: &Packet) {
    let Tuple { source, destination, source_port_be, destination_port_be, protocol, .. } =
        &packet.tuple;
    addresses_of(kernel, source, destination);
    let ports = u64::from(*source_port_be) | u64::from(*destination_port_be) << 16;
    kernel.set(note::TUPLE + 4, ports | u64::from(*protocol) << 32);
    kernel.set(note::PACKET, u64::from(packet.length) | u64::from(packet.tcp_flags) << 32);
}

#[inline(always)]
fn addresses_of(kernel: &impl Kernel, source: &Address, destination: &Address) {
    let [first, second] = words(source);
    let [third, fourth] = words(destination);
    kernel.set(note::TUPLE, first);
    kernel.set(note::TUPLE + 1, second);
    kernel.set(note::TUPLE + 2, third);
    kernel.set(note::TUPLE + 3, fourth);
}

/// Notes that a connection begins or ends with the packet, whose flow is noted.
#[inline(always)]
pub(super) fn turns(kernel: &impl Kernel, why: u8) {
    kernel.set(note::WANTED, kernel.get(note::WANTED) | u64::from(why | why::NOTED));
}

/// Notes the service that a packet is for, or from.
#[inline(always)]
pub(super) fn service(kernel: &impl Kernel, slot: u32, reply: bool) {
    let reply = if reply { note::REPLY } else { 0 };
    kernel.set(note::SERVICE, (u64::from(slot) + 1) | reply);
}

/// Tells whether a packet of which all is decided is told of; `dropped` tells what was decided.
#[inline(always)]
pub fn is_wanted(kernel: &impl Kernel, dropped: bool) -> bool {
    let wanted = kernel.get(note::WANTED);
    (wanted & !u64::from(why::NOTED) != 0 || dropped) && is_admitted(kernel, wanted, dropped)
}

/// Tells whether a packet that should be told of is within its budget.
///
/// A function of its own, so that the verifier meets what comes after it with one state.
#[inline(never)]
fn is_admitted<K: Kernel>(kernel: &K, wanted: u64, dropped: bool) -> bool {
    let turns = u64::from(why::BEGUN | why::ENDED);
    let budget = if dropped {
        note::BUDGETS
    } else if wanted & turns != 0 {
        note::BUDGETS + 1
    } else {
        note::BUDGETS + 2
    };
    let within = is_within(kernel, budget);
    let dropped = if dropped { u64::from(why::DROPPED) } else { 0 };
    kernel.set(note::WANTED, wanted | dropped);
    within
}

/// Takes an event from a budget, if there is one left.
#[inline(always)]
fn is_within(kernel: &impl Kernel, budget: usize) -> bool {
    let window = kernel.ticks() >> WINDOW_SHIFT;
    let known = kernel.get(budget);
    let made = if known >> 16 == window { known & 0xffff } else { 0 };
    if made >= BUDGET {
        kernel.count(stat::EVENTS_HELD_BACK);
        return false;
    }
    kernel.set(budget, window << 16 | (made + 1));
    true
}

/// Returns an address as two words of packet bytes.
#[inline(always)]
fn words(address: &Address) -> [u64; 2] {
    let [a, b, c, d] = address.words;
    [u64::from(a) | u64::from(b) << 32, u64::from(c) | u64::from(d) << 32]
}
