//! The end of the packet paths: rewrite, count, and send.

use super::{kernel::Kernel, task::Stop, too_big, vlan};
use crate::{
    layout::{Connection, Hop, counter, stat},
    parse::Packet,
    rewrite::rewrite,
    verdict::Reason,
};

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Out of the interface that it came in by.
    Back,
    /// Out of another interface, by its number.
    On(u32),
    /// To a worker, who sends it when its limiter allows it: by [`super::Scratch::ticket`].
    Later,
}

/// Rewrites the packet for its connection and sends it to the next hop.
///
/// # Errors
/// Returns why it cannot.
#[inline(always)]
pub(super) fn send(
    kernel: &impl Kernel,
    packet: &Packet,
    connection: &Connection,
) -> Result<Sent, Stop> {
    let hop = &connection.hop;
    if hop.mtu != 0 && packet.length > hop.mtu {
        return Err(too_big::later(kernel, hop.mtu));
    }
    // SAFETY: the kernel gives these as the bounds of the frame.
    unsafe { rewrite(kernel.start(), kernel.end(), packet, &connection.to, hop) }?;
    count(kernel, packet, connection);
    Ok(leave(kernel, hop)?)
}

/// Counts a packet of a connection.
#[inline(always)]
pub(super) fn count(kernel: &impl Kernel, packet: &Packet, connection: &Connection) {
    if let Some(counters) = kernel.counters(connection.slot) {
        // SAFETY: this CPU's, and no other reference to it is held.
        let counters = unsafe { &mut *counters };
        let (packets, bytes) = if connection.reply == 1 {
            (counter::PACKETS_OUT, counter::BYTES_OUT)
        } else {
            (counter::PACKETS_IN, counter::BYTES_IN)
        };
        counters[packets] += 1;
        counters[bytes] += u64::from(packet.length);
        count_for_endpoint(kernel, connection.endpoint, packets, packet.length.into());
    }
}

/// Counts for an endpoint with full NAT: one in a word, and bytes in the next when there are any.
///
/// A function of its own, for the sake of the path's stack.
#[inline(never)]
pub(super) fn count_for_endpoint<K: Kernel>(kernel: &K, number: u32, word: usize, bytes: u64) {
    let Some(endpoint) = kernel.cpu_endpoint(number as u16) else { return };
    // SAFETY: this CPU's, and no other reference to it is held.
    let counters = unsafe { &mut (*endpoint).counters };
    match word {
        counter::PACKETS_IN => {
            counters[counter::PACKETS_IN] += 1;
            counters[counter::BYTES_IN] += bytes;
        }
        counter::PACKETS_OUT => {
            counters[counter::PACKETS_OUT] += 1;
            counters[counter::BYTES_OUT] += bytes;
        }
        _ => counters[counter::CONNECTIONS] += 1,
    }
}

/// Sends the frame, which has the hop's Ethernet addresses, to its next hop.
///
/// # Errors
/// Returns why it cannot.
#[inline(always)]
pub(super) fn leave(kernel: &impl Kernel, hop: &Hop) -> Result<Sent, Reason> {
    vlan::put_on_for(kernel, hop)?;
    if hop.ifindex == kernel.ingress() {
        kernel.count(stat::TRANSMITTED);
        Ok(Sent::Back)
    } else {
        kernel.count(stat::REDIRECTED);
        Ok(Sent::On(hop.ifindex))
    }
}
