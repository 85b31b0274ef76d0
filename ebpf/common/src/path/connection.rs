//! The connection table: two exact entries a connection, refreshed together.
//!
//! Invariants: an entry leads to its partner by [`partner`]; the entry of a reply claims the
//! source port, since it is inserted only where none is (`BPF_NOEXIST`). Entries are written by
//! several CPUs without a lock: times and flags only ever gain, and a lost update is repeated by
//! the next packet.

use super::kernel::Kernel;
use crate::{
    layout::{Connection, Hop, Tuple},
    parse::{Packet, read},
    rewrite::{reversed, translated, translation},
    state::{REFRESH_S, expired, flags_of},
    verdict::Reason,
};

/// Checks what every packet that is forwarded must have.
#[inline(always)]
pub(super) fn check(packet: &Packet) -> Result<(), Reason> {
    if packet.hop_limit <= 1 {
        Err(Reason::HopLimit)
    } else if packet.v6 && !packet.has_checksum {
        Err(Reason::NoChecksum)
    } else {
        Ok(())
    }
}

/// Finds the entry of a flow.
#[expect(clippy::mut_from_ref, reason = "the entry is in a map, not in the kernel's handle")]
#[inline(always)]
pub(super) fn find<'k>(kernel: &'k impl Kernel, key: &Tuple) -> Option<&'k mut Connection> {
    // SAFETY: entries are integers that other CPUs may write meanwhile; an entry that is evicted
    // stays readable until the packet is done (RCU).
    kernel.connection(key).map(|pointer| unsafe { &mut *pointer })
}

/// Returns the key of the other direction's entry.
#[inline(always)]
pub(super) fn partner(connection: &Connection, protocol: u8) -> Tuple {
    reversed(&translated(connection, protocol))
}

/// Removes the entry of a reply, with its partner, when the connection has ended.
///
/// A function of its own, so that the verifier meets the loop around it with few states.
#[inline(never)]
pub(super) fn evict_ended<K: Kernel>(kernel: &K, tuple: &Tuple, now: u32) -> bool {
    let Some(old) = find(kernel, tuple) else { return true };
    if !expired(old, tuple.protocol, now) {
        return false;
    }
    kernel.remove(&partner(old, tuple.protocol));
    kernel.remove(tuple);
    true
}

/// Tells whether the entry must be refreshed before the packet goes on.
#[inline(always)]
pub(super) fn is_due(connection: &Connection, packet: &Packet, now: u32) -> bool {
    now.wrapping_sub(connection.refreshed_s) >= REFRESH_S
        || flags_of(packet.tcp_flags) & !connection.own != 0
}

/// What became of a refresh.
pub(super) enum Refresh {
    /// Both entries are there and current.
    Done,
    /// Another connection holds the source port: this entry leads nowhere.
    Lost,
}

/// Brings both entries of a connection up to date, and looks the next hop up again.
///
/// # Errors
/// Returns why the packet cannot go on; the entries stay.
#[inline(always)]
pub(super) fn refresh(
    kernel: &impl Kernel,
    packet: &Packet,
    connection: &mut Connection,
    now: u32,
) -> Result<Refresh, Reason> {
    let protocol = packet.tuple.protocol;
    let key = partner(connection, protocol);
    connection.own |= flags_of(packet.tcp_flags);
    connection.refreshed_s = now;
    match find(kernel, &key) {
        Some(other) => {
            let back = partner(other, protocol);
            if !back.source.same(&packet.tuple.source)
                || back.source_port_be != packet.tuple.source_port_be
                || !back.destination.same(&packet.tuple.destination)
            {
                return Ok(Refresh::Lost);
            }
            other.peer |= connection.own;
            other.refreshed_s = now;
        }
        None => {
            // The LRU took it. Its next hop is looked up when its first packet comes.
            let mut other = translation(&key, &reversed(&packet.tuple));
            other.slot = connection.slot;
            other.generation = connection.generation;
            other.own = connection.peer;
            other.peer = connection.own;
            other.reply = connection.reply ^ 1;
            if kernel.insert(&key, &other).is_err() {
                return Ok(Refresh::Lost);
            }
        }
    }
    let known = connection.hop.ifindex != 0;
    match kernel.next_hop(&translated(connection, protocol)) {
        Ok(hop) => connection.hop = hop,
        // A neighbour that is being confirmed, and replies along the way their requests came.
        Err(reason) => {
            let keeps = matches!(reason, Reason::NoNeighbour) || connection.reply == 1;
            if !known || !keeps {
                return Err(reason);
            }
        }
    }
    Ok(Refresh::Done)
}

/// Returns the way back to where the frame came from.
#[inline(always)]
pub(super) fn way_back(kernel: &impl Kernel) -> Option<Hop> {
    let (start, end) = (kernel.start(), kernel.end());
    if start + 12 > end {
        return None;
    }
    // SAFETY: the comparison above.
    let word = |at: usize| unsafe { read::<u16>(start + at) };
    let destination = [word(6), word(8), word(10)];
    let source = [word(0), word(2), word(4)];
    Some(Hop { ifindex: kernel.ingress(), mtu: 0, destination, source, gateway: 0, padding: 0 })
}
