//! The end of a packet that is told of: an event of what was noted.

use super::{
    config::{Config, Generation},
    kernel::Kernel,
    vlan,
};
use crate::{
    event::{FlowEvent, verdict, why},
    layout::{Address, note, stat},
    parse::{Family, addresses, family, parse},
    qos::wait::TICKET,
};

/// Tells of a frame about which all is decided, and returns the XDP action that was.
#[inline(always)]
pub fn tell(kernel: &impl Kernel) -> u32 {
    let wanted = kernel.get(note::WANTED);
    let sampling = kernel.sampling();
    if wanted & u64::from(why::SAMPLED) != 0 && sampling > 1 {
        // A stride that does not keep step with the traffic; the mean is the sampling.
        kernel.set(note::LEFT, u64::from(kernel.random() % (2 * sampling - 1)));
    }
    let decided = kernel.get(note::VERDICT);
    let action = decided as u8;
    let mut event = FlowEvent {
        time: kernel.time(),
        why: wanted as u8 & !why::NOTED,
        verdict: action,
        reason: (decided >> 8) as u8,
        waits: u8::from(decided & note::WAITS != 0),
        egress: (decided >> 32) as u32,
        ingress: kernel.ingress(),
        rule: kernel.get(note::RULE),
        filter: kernel.get(note::FILTER) as u32,
        ..FlowEvent::default()
    };
    if event.verdict == verdict::TRANSMIT {
        event.egress = event.ingress;
    }
    let service = kernel.get(note::SERVICE);
    event.service = service as u32;
    event.reply = u8::from(service & note::REPLY != 0);
    event.generation = if service == 0 {
        // It came to no configuration, so the one in force is as good.
        let current = Generation::current(kernel).and_then(Config::of);
        current.map_or(0, |config| config.header.generation)
    } else {
        kernel.get(stat::GENERATION)
    };
    if wanted & u64::from(why::NOTED) != 0 {
        noted(kernel, &mut event);
    } else {
        arrived(kernel, &mut event);
    }
    destined(kernel, &mut event);
    if !kernel.tell(&event) {
        kernel.count(stat::EVENTS_LOST);
    }
    u32::from(action)
}

/// Fills in the flow that was noted.
#[inline(always)]
fn noted(kernel: &impl Kernel, event: &mut FlowEvent) {
    event.source = address(kernel, note::TUPLE);
    event.destination = address(kernel, note::TUPLE + 2);
    let ports = kernel.get(note::TUPLE + 4);
    event.source_port_be = ports as u16;
    event.destination_port_be = (ports >> 16) as u16;
    event.protocol = (ports >> 32) as u8;
    let packet = kernel.get(note::PACKET);
    event.length = packet as u16;
    event.tcp_flags = (packet >> 32) as u8;
    event.family = if event.destination.is_v4() { 4 } else { 6 };
}

/// Fills in the flow of a frame that is as it came: what goes nowhere is not rewritten.
#[inline(always)]
fn arrived(kernel: &impl Kernel, event: &mut FlowEvent) {
    let (start, end) = (kernel.start(), kernel.end());
    // The difference of two pointers is a number only as a whole.
    event.length = core::hint::black_box(end - start) as u16;
    // SAFETY: the kernel gives these as the bounds of the frame.
    let (family, packet) = unsafe {
        let Ok(family) = family(start, end) else { return };
        (family, parse(start, end, family))
    };
    event.family = if family == Family::V4 { 4 } else { 6 };
    if let Ok(packet) = packet {
        event.source = packet.tuple.source;
        event.destination = packet.tuple.destination;
        event.source_port_be = packet.tuple.source_port_be;
        event.destination_port_be = packet.tuple.destination_port_be;
        event.protocol = packet.tuple.protocol;
        event.length = packet.length;
        event.tcp_flags = packet.tcp_flags;
        return;
    }
    // SAFETY: as above.
    if let Some((source, destination, _)) = unsafe { addresses(start, end) } {
        event.source = source;
        event.destination = destination;
    }
}

/// Fills in where the packet goes.
#[inline(always)]
fn destined(kernel: &impl Kernel, event: &mut FlowEvent) {
    let endpoint = kernel.get(note::ENDPOINT);
    if endpoint == note::ANSWERED {
        event.verdict = verdict::ANSWERED;
    } else if endpoint == note::CHOSEN {
        if let Some(scratch) = kernel.scratch() {
            // SAFETY: this CPU's, and asked for once a frame.
            let answers = unsafe { &(*scratch).key };
            event.to = answers.source;
            event.to_port_be = answers.source_port_be;
        }
    } else if endpoint != 0 {
        if let Some(endpoint) = kernel.endpoint(endpoint as u16) {
            // SAFETY: a number's endpoint is written only while no packet refers to it.
            let endpoint = unsafe { &*endpoint };
            event.to = endpoint.address;
            event.to_port_be = endpoint.port_be;
        }
    } else if event.service != 0 && event.verdict >= verdict::TRANSMIT {
        // With full NAT the frame has it, behind the tag of its VLAN if it is in one.
        let (start, end) = (kernel.start(), kernel.end());
        let start = if event.waits == 1 { start + TICKET } else { start };
        // SAFETY: the kernel gives these as the bounds of the frame.
        let tagged = unsafe { vlan::has_tag(start, end) };
        let start = if tagged { start + vlan::TAG } else { start };
        // SAFETY: the kernel gives these as the bounds of the frame.
        let packet = unsafe { family(start, end).and_then(|family| parse(start, end, family)) };
        if let Ok(packet) = packet {
            event.to = packet.tuple.destination;
            event.to_port_be = packet.tuple.destination_port_be;
        }
    }
}

/// Reads an address that was noted.
#[inline(always)]
fn address(kernel: &impl Kernel, word: usize) -> Address {
    let (first, second) = (kernel.get(word), kernel.get(word + 1));
    let words = [first as u32, (first >> 32) as u32, second as u32, (second >> 32) as u32];
    Address { words }
}
