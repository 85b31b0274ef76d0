//! The connection table: two exact entries a connection, refreshed together.
//!
//! Invariants: an entry leads to its partner by [`partner`]; the entry of a reply claims the
//! source port, since it is inserted only where none is (`BPF_NOEXIST`). Entries are written by
//! several CPUs without a lock: times and flags only ever gain, and a lost update is repeated by
//! the next packet.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, xdp_md},
    helpers::generated::bpf_ktime_get_coarse_ns,
};
use ebpf_common::{
    layout::{Connection, Hop, Tuple},
    parse::Packet,
    rewrite::{reversed, translated, translation},
    state::{REFRESH_S, expired, flags_of},
    verdict::Reason,
};

use crate::{maps::CONNECTIONS, next_hop};

/// `EEXIST` (include/uapi/asm-generic/errno-base.h).
pub const EXISTS: i32 = -17;

/// Returns the coarse monotonic time in seconds.
#[inline(always)]
pub fn now_s() -> u32 {
    // SAFETY: the helper has no precondition.
    (unsafe { bpf_ktime_get_coarse_ns() } / 1_000_000_000) as u32
}

/// Checks what every packet that is forwarded must have.
#[inline(always)]
pub fn check(packet: &Packet) -> Result<(), Reason> {
    if packet.hop_limit <= 1 {
        Err(Reason::HopLimit)
    } else if packet.v6 && !packet.has_checksum {
        Err(Reason::NoChecksum)
    } else {
        Ok(())
    }
}

/// Finds the entry of a flow.
#[inline(always)]
pub fn find(tuple: &Tuple) -> Option<&'static mut Connection> {
    // SAFETY: entries are integers that other CPUs may write meanwhile; an entry that is evicted
    // stays readable until the program ends (RCU).
    CONNECTIONS.get_ptr_mut(tuple).map(|pointer| unsafe { &mut *pointer })
}

/// Inserts an entry where none is.
#[inline(always)]
pub fn insert(tuple: &Tuple, connection: &Connection) -> Result<(), i32> {
    CONNECTIONS.insert(tuple, connection, u64::from(BPF_NOEXIST))
}

/// Removes an entry; one that is not there is as good as removed.
#[inline(always)]
pub fn remove(tuple: &Tuple) {
    let _absent = CONNECTIONS.remove(tuple);
}

/// Returns the key of the other direction's entry.
#[inline(always)]
pub fn partner(connection: &Connection, protocol: u8) -> Tuple {
    reversed(&translated(connection, protocol))
}

/// Removes the entry of a reply, with its partner, when the connection has ended.
///
/// A function of its own, so that the verifier meets the loop around it with few states.
#[inline(never)]
pub fn evict_ended(tuple: &Tuple, now: u32) -> bool {
    let Some(old) = find(tuple) else { return true };
    if !expired(old, tuple.protocol, now) {
        return false;
    }
    remove(&partner(old, tuple.protocol));
    remove(tuple);
    true
}

/// Tells whether the entry must be refreshed before the packet goes on.
#[inline(always)]
pub fn is_due(connection: &Connection, packet: &Packet, now: u32) -> bool {
    now.wrapping_sub(connection.refreshed_s) >= REFRESH_S
        || flags_of(packet.tcp_flags) & !connection.own != 0
}

/// What became of a refresh.
pub enum Refresh {
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
pub fn refresh(
    context: *mut xdp_md,
    packet: &Packet,
    connection: &mut Connection,
    now: u32,
) -> Result<Refresh, Reason> {
    let protocol = packet.tuple.protocol;
    let key = partner(connection, protocol);
    connection.own |= flags_of(packet.tcp_flags);
    connection.refreshed_s = now;
    match find(&key) {
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
            if insert(&key, &other).is_err() {
                return Ok(Refresh::Lost);
            }
        }
    }
    let known = connection.hop.ifindex != 0;
    match next_hop::find(context, &translated(connection, protocol)) {
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
pub fn way_back(context: *mut xdp_md) -> Option<Hop> {
    // SAFETY: the kernel gives the context.
    let (start, end, ifindex) = unsafe {
        ((*context).data as usize, (*context).data_end as usize, (*context).ingress_ifindex)
    };
    if start + 12 > end {
        return None;
    }
    // SAFETY: the comparison above.
    let word = |at: usize| unsafe { ((start + at) as *const u16).read_volatile() };
    let destination = [word(6), word(8), word(10)];
    let source = [word(0), word(2), word(4)];
    Some(Hop { ifindex, mtu: 0, destination, source, gateway: 0, padding: 0 })
}
