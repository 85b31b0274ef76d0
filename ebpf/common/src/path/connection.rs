//! The connections with full NAT: two exact entries each, one a direction, refreshed together.
//!
//! Invariants: an entry leads to its partner by [`partner`]; the entry of a reply claims the
//! source port, since a key has one entry. Who may write to a place, and when, is in
//! [`crate::claims`]; times and flags of an entry only ever gain, and a lost update is repeated by
//! the next packet.

use super::{
    kernel::Kernel,
    note,
    taking::{EXISTS, NOWHERE, exchange, forget, publish},
    vlan,
};
use crate::{
    claims::{Claim, Kind, PLACES, Spot, YIELDS_TCP, beside},
    event::why,
    hash,
    layout::{Connection, Hop, Tuple, splice},
    parse::{Packet, read},
    rewrite::{reversed, translated},
    state::{Clock, REFRESH_S, closed, expired, flags_of, idle_limit_s},
    verdict::Reason,
};

/// Returns the time.
#[inline(always)]
pub(super) fn clock(kernel: &impl Kernel) -> Clock {
    Clock::new(kernel.ticks(), kernel.ticks_per_second())
}

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

/// An entry that was found.
pub(super) struct Found<'k> {
    /// The entry.
    pub connection: &'k mut Connection,
    /// When it was refreshed, read before its key.
    refreshed: u32,
    index: u32,
    tag: u32,
}

impl Found<'_> {
    /// Tells whether the entry must be refreshed before the packet goes on.
    #[inline(always)]
    pub(super) fn is_due(&self, packet: &Packet, clock: Clock, ways: u32) -> bool {
        let connection = &*self.connection;
        let kind = Kind::of(connection.own, connection.peer, packet.tuple.protocol);
        clock.since(self.refreshed) >= refresh_after(kind, clock)
            || flags_of(packet.tcp_flags) & !connection.own != 0
            || connection.ways != ways
    }

    /// Tells whether the packet is for a task: the entry must be refreshed first, or client and backend
    /// count differently.
    #[inline(always)]
    pub(super) fn needs_task(&self, packet: &Packet, clock: Clock, ways: u32) -> bool {
        self.connection.splice != splice::NONE || self.is_due(packet, clock, ways)
    }

    #[inline(always)]
    fn kind(&self) -> Kind {
        let connection = &*self.connection;
        Kind::of(connection.own, connection.peer, connection.key.protocol)
    }
}

/// Returns the age at which an entry must be refreshed before it is used: half of that at which its
/// place may be taken.
#[inline(always)]
fn refresh_after(kind: Kind, clock: Clock) -> u32 {
    match kind {
        Kind::OpeningTcp => YIELDS_TCP / 2,
        // Units are rounded up.
        Kind::Firm | Kind::OpeningUdp => clock.units(REFRESH_S) - 1,
    }
}

/// Finds the entry of a flow.
#[inline(always)]
pub(super) fn find<'k, K: Kernel>(kernel: &'k K, key: &Tuple) -> Option<Found<'k>> {
    let hash = hash::connection(key, kernel.connection_seed());
    let spot = Spot::of(hash, kernel.claim_mask());
    if let Some(found) = at(kernel, spot.index(), key, spot.tag) {
        return Some(found);
    }
    if let Some(found) = at(kernel, beside(spot.index()), key, spot.tag) {
        return Some(found);
    }
    let index = elsewhere(kernel, spot.first, spot.second, spot.tag);
    if index == NOWHERE {
        return None;
    }
    at(kernel, index, key, spot.tag)
}

/// Returns the index of the place that a tag has in either bucket, or [`NOWHERE`].
///
/// A function of its own, so that the verifier meets what comes after it with one state.
#[inline(never)]
fn elsewhere<K: Kernel>(kernel: &K, first: u32, second: u32, tag: u32) -> u32 {
    let (Some(one), Some(other)) = (kernel.claims(first), kernel.claims(second)) else {
        return NOWHERE;
    };
    // SAFETY: the maps', whose words are read one by one.
    let (one, other) = unsafe { (&*one, &*other) };
    let place = one.find(tag);
    if place != 0 {
        return first * PLACES + place - 1;
    }
    let place = other.find(tag);
    if place != 0 { second * PLACES + place - 1 } else { NOWHERE }
}

/// Returns the entry of a place, if it is the key's.
#[inline(always)]
fn at<'k, K: Kernel>(kernel: &'k K, index: u32, key: &Tuple, tag: u32) -> Option<Found<'k>> {
    let place = kernel.connection(index)?;
    // SAFETY: integers of the map. The time is read before the key: a place is written to only when
    // it has not been refreshed for longer than an entry may be used after.
    let (refreshed, connection) =
        unsafe { ((&raw const (*place).refreshed).read_volatile(), &mut *place) };
    connection.key.same(key).then_some(Found { connection, refreshed, index, tag })
}

/// Returns the key of the other direction's entry.
#[inline(always)]
pub(super) fn partner(connection: &Connection) -> Tuple {
    reversed(&translated(&connection.to, connection.key.protocol))
}

/// Tells whether an entry stays in its place for long enough to be used once, without a refresh.
#[inline(always)]
pub(super) fn stays(kernel: &impl Kernel, found: &Found<'_>, clock: Clock) -> bool {
    clock.since(found.refreshed) < refresh_after(found.kind(), clock)
        || !matches!(found.kind(), Kind::OpeningTcp | Kind::OpeningUdp)
            && word(kernel, found.index)
                .is_some_and(|claim| claim.tag() == found.tag && claim.left(clock) > 1)
}

#[inline(always)]
fn word(kernel: &impl Kernel, index: u32) -> Option<Claim> {
    // SAFETY: the map's, whose words are read one by one.
    kernel.claims(index / PLACES).map(|claims| unsafe { &*claims }.at(index % PLACES))
}

/// Keeps the place of an entry for a connection in the state of these flags, and tells whether
/// it was still the entry's.
#[inline(always)]
fn keep(kernel: &impl Kernel, found: &Found<'_>, own: u8, peer: u8, clock: Clock) -> bool {
    let protocol = found.connection.key.protocol;
    let ends = clock.now.wrapping_add(clock.units(idle_limit_s(own, peer, protocol)));
    let new = Claim::new(found.tag, Kind::of(own, peer, protocol), ends);
    let Some(claims) = kernel.claims(found.index / PLACES) else { return false };
    // SAFETY: the map's, whose words are read one by one.
    let claims = unsafe { &*claims };
    let old = claims.at(found.index);
    if old.tag() != found.tag {
        return false;
    }
    if old == new || exchange(kernel, claims, found.index, old, new) {
        return true;
    }
    // Another CPU was faster: most likely with a packet of the same connection.
    let there = claims.at(found.index);
    there.tag() == found.tag && !there.is_free(clock)
}

/// Brings both entries of a connection up to date, and tells whether they are its own: one may have
/// made way for another connection.
#[inline(always)]
pub(super) fn refresh(
    kernel: &impl Kernel,
    packet: &Packet,
    found: &mut Found<'_>,
    clock: Clock,
) -> bool {
    let was_closed = closed(found.connection.own, found.connection.peer);
    if !keep_both(kernel, packet, found, clock) {
        return false;
    }
    if !was_closed && closed(found.connection.own, found.connection.peer) {
        note::turns(kernel, why::ENDED);
    }
    true
}

/// Does what [`refresh`] does, but for the notes.
///
/// A function of its own, as the two below, for the sake of the path's stack.
#[inline(never)]
fn keep_both<K: Kernel>(kernel: &K, packet: &Packet, found: &mut Found<'_>, clock: Clock) -> bool {
    let own = found.connection.own | flags_of(packet.tcp_flags);
    let Some(other) = find(kernel, &partner(found.connection)) else { return false };
    if !partner(other.connection).same(&packet.tuple) {
        return false;
    }
    let peer = found.connection.peer | other.connection.own;
    if !keep(kernel, found, own, peer, clock) || !keep(kernel, &other, own, peer, clock) {
        return false;
    }
    let connection = &mut *found.connection;
    connection.own = own;
    connection.peer = peer;
    connection.refreshed = clock.now;
    other.connection.peer |= own;
    other.connection.refreshed = clock.now;
    true
}

/// Looks the next hop of an entry up again.
///
/// # Errors
/// Returns why the packet cannot go on; the entry stays.
#[inline(never)]
pub(super) fn look_up<K: Kernel>(
    kernel: &K,
    connection: &mut Connection,
    ways: u32,
) -> Result<(), Reason> {
    connection.ways = ways;
    match kernel.next_hop(&translated(&connection.to, connection.key.protocol)) {
        Ok(hop) => connection.hop = hop,
        // A neighbour that is being confirmed, and replies along the way their requests came.
        Err(reason) => {
            let known = connection.hop.ifindex != 0;
            let keeps = matches!(reason, Reason::NoNeighbour) || connection.reply == 1;
            if !known || !keeps {
                return Err(reason);
            }
        }
    }
    Ok(())
}

/// Ends a connection whose entry was found, so that another can begin with its key.
///
/// The place may have become another connection's since, whose partner must stay: what tells is the
/// key that was looked for, not the one that is there.
#[inline(never)]
pub(super) fn end<K: Kernel>(kernel: &K, key: &Tuple, found: &Found<'_>, clock: Clock) {
    if let Some(other) = find(kernel, &partner(found.connection))
        && partner(other.connection).same(key)
    {
        release(kernel, &other, clock);
    }
    release(kernel, found, clock);
}

#[inline(always)]
fn release(kernel: &impl Kernel, found: &Found<'_>, clock: Clock) {
    let Some(claims) = kernel.claims(found.index / PLACES) else { return };
    // SAFETY: the map's, whose words are read one by one.
    let claims = unsafe { &*claims };
    let old = claims.at(found.index);
    if old.tag() == found.tag && exchange(kernel, claims, found.index, old, Claim::resting(clock)) {
        forget(found.connection);
    }
}

/// A place that only this CPU writes to.
pub(super) struct Held<'k> {
    /// What was there before, without a key.
    pub connection: &'k mut Connection,
    index: u32,
    tag: u32,
    /// Whether an entry of the same key had ended there.
    pub had_ended: bool,
}

/// A key that was not claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It has an entry.
    Exists,
    /// There is no room for it, or another CPU was faster.
    NoRoom,
}

/// Claims a place for a key that has no entry, or one that has ended.
#[inline(always)]
pub(super) fn claim<'k, K: Kernel>(
    kernel: &'k K,
    key: &Tuple,
    clock: Clock,
) -> Result<Held<'k>, Refused> {
    let hash = hash::connection(key, kernel.connection_seed());
    let spot = Spot::of(hash, kernel.claim_mask());
    let index = kernel.take(&spot, key, clock);
    if index == EXISTS {
        return Err(Refused::Exists);
    }
    let place = kernel.connection(index).ok_or(Refused::NoRoom)?;
    // SAFETY: the place is this CPU's by the claim just made.
    let connection = unsafe { &mut *place };
    let had_ended = connection.key.same(key);
    forget(connection);
    Ok(Held { connection, index, tag: spot.tag, had_ended })
}

impl<'k> Held<'k> {
    /// Puts the entry in force that the place has been given, and returns it.
    #[inline(always)]
    pub(super) fn publish<K: Kernel>(
        self,
        kernel: &K,
        key: &Tuple,
        clock: Clock,
    ) -> &'k Connection {
        let (own, peer) = (self.connection.own, self.connection.peer);
        let ends = clock.now.wrapping_add(clock.units(idle_limit_s(own, peer, key.protocol)));
        let word = Claim::new(self.tag, Kind::of(own, peer, key.protocol), ends);
        if let Some(claims) = kernel.claims(self.index / PLACES) {
            // SAFETY: the map's, whose words are read one by one.
            publish(kernel, unsafe { &*claims }, self.index, word);
        }
        self.connection.key = *key;
        self.connection
    }

    /// Gives the place up.
    #[inline(always)]
    pub(super) fn abandon<K: Kernel>(self, kernel: &K, clock: Clock) {
        if let Some(claims) = kernel.claims(self.index / PLACES) {
            // SAFETY: the map's, whose words are read one by one.
            publish(kernel, unsafe { &*claims }, self.index, Claim::resting(clock));
        }
    }
}

/// Tells whether an entry's connection has ended by its age.
#[inline(always)]
pub(super) fn has_expired(found: &Found<'_>, clock: Clock) -> bool {
    expired(found.connection, clock)
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
    let link = vlan::link_back(kernel);
    Some(Hop { ifindex: kernel.ingress(), mtu: 0, destination, source, link })
}
