//! From the client to a backend.
//!
//! A connection keeps the backend's address and port, so a change of the configuration moves no
//! established flow; only a UDP flow whose backend has left the service is chosen anew.

use super::{
    config::Config,
    connection::{self, Found, Held, Refused},
    cookie,
    kernel::{Kernel, Scratch, Way},
    note, send,
    task::{Stop, Task},
};
use crate::{
    event::why,
    hash,
    layout::{
        self, Address, Connection, Entry, SNAT_PORT_FIRST, SNAT_PORT_LAST, TCP, Tuple, UDP,
        counter, splice, stat,
    },
    parse::Packet,
    rewrite::{reversed, translation},
    state::{Clock, closed, flags_of, opens},
    verdict::Reason,
};

/// Source ports.
const PORTS: u32 = (SNAT_PORT_LAST - SNAT_PORT_FIRST) as u32 + 1;
/// Source ports tried for a new connection. Each is free with the share of ports not in use, so
/// at nine tenths in use 16 fail for one connection in five, and at half for one in 65,000.
const PORT_TRIES: u32 = 16;
/// Distance between ports tried: prime, so that all ports of the range are within reach.
const PORT_STRIDE: u32 = 1_009;

/// Finds the connection of a packet for a service, or begins one.
///
/// # Errors
/// Returns why the packet cannot go on, or the task that is left.
#[inline(always)]
pub(super) fn connection<'k, K: Kernel>(
    kernel: &'k K,
    packet: &Packet,
    config: &Config<'k, K>,
    service: &Entry,
) -> Result<&'k Connection, Stop> {
    connection::check(packet)?;
    let clock = connection::clock(kernel);
    if let Some(mut found) = connection::find(kernel, &packet.tuple) {
        let spliced = found.connection.splice != splice::NONE;
        if !spliced && !found.is_due(packet, clock, config.ways()) && !opens(packet.tcp_flags) {
            return Ok(found.connection);
        }
        let goes_on = goes_on(kernel, packet, config, service, &mut found, clock);
        if goes_on && spliced {
            return Err(Stop::Later(Task::Spliced));
        }
        if goes_on && connection::refresh(kernel, packet, &mut found, clock) {
            connection::look_up(kernel, found.connection, config.ways())?;
            return Ok(found.connection);
        }
        connection::end(kernel, &packet.tuple, &found, clock);
    }
    if service.draining != 0 {
        return Err(Reason::Draining.into());
    }
    if cookie::concerns(service) {
        return Err(Stop::Later(Task::Cookie));
    }
    let begins = Begins { splice: splice::NONE, cookie: 0 };
    Ok(begin(kernel, packet, config, service, clock, begins)?)
}

/// How a connection begins.
#[derive(Clone, Copy)]
pub(super) struct Begins {
    /// [`Connection::splice`] of both entries.
    pub splice: u8,
    /// The cookie that the client has answered; 0 without.
    pub cookie: u32,
}

/// Tells whether the connection found is still the one that the packet belongs to.
#[inline(always)]
fn goes_on<K: Kernel>(
    kernel: &K,
    packet: &Packet,
    config: &Config<'_, K>,
    service: &Entry,
    found: &mut Found<'_>,
    clock: Clock,
) -> bool {
    let has_expired = connection::has_expired(found, clock);
    let connection = &mut *found.connection;
    if packet.tuple.protocol == TCP {
        let over = closed(connection.own, connection.peer) || has_expired;
        return !(over && opens(packet.tcp_flags));
    }
    if has_expired {
        return false;
    }
    let generation = config.header.generation as u32;
    if connection.generation_or_delta != generation && service.draining == 0 {
        let (address, port) = (connection.to.destination, connection.to.destination_port_be);
        if !config.has_backend(service.slot, address, port, UDP) {
            kernel.count(stat::FLOWS_MOVED);
            return false;
        }
        connection.generation_or_delta = generation;
    }
    true
}

/// Begins a connection: chooses a backend, claims a source port, and makes both entries.
///
/// # Errors
/// Returns why none begins.
#[inline(always)]
pub(super) fn begin<'k, K: Kernel>(
    kernel: &'k K,
    packet: &Packet,
    config: &Config<'k, K>,
    service: &Entry,
    clock: Clock,
    begins: Begins,
) -> Result<&'k Connection, Reason> {
    let header = config.header;
    let flow = hash::flow(&packet.tuple);
    let (pool, source) = if packet.v6 {
        (&service.v6, header.source_v6)
    } else {
        (&service.v4, Address::v4(header.source_v4))
    };
    let backend = config.backend(pool, config.choose(pool, flow)?)?;
    if source.same(&Address::default()) || source.same(&Address::v4(0)) {
        return Err(Reason::NoSource);
    }
    let scratch = kernel.scratch().ok_or(Reason::TableRefused)?;
    // SAFETY: this CPU's, and asked for once a frame.
    let scratch = unsafe { &mut *scratch };
    scratch.key = Tuple {
        source: backend.address,
        destination: source,
        source_port_be: backend.port_be,
        destination_port_be: 0,
        protocol: packet.tuple.protocol,
        padding: 0,
        padding_end: 0,
    };
    scratch.endpoint = backend.number.into();
    kernel.set(layout::note::ENDPOINT, layout::note::CHOSEN);
    find_ways(kernel, scratch)?;
    let back = claim_port(kernel, &mut scratch.key, (flow as u32) % PORTS, clock)?;
    translate(scratch, &packet.tuple);
    let there = match connection::claim(kernel, &packet.tuple, clock) {
        Ok(there) => there,
        Err(refused) => {
            back.abandon(kernel, clock);
            // Another CPU was faster with a packet of the same flow: its entry holds.
            return match connection::find(kernel, &packet.tuple) {
                Some(found) if refused == Refused::Exists => Ok(found.connection),
                _ => Err(Reason::TableRefused),
            };
        }
    };
    let flags = flags_of(packet.tcp_flags);
    let open = Opening {
        slot: service.slot,
        generation: header.generation as u32,
        ways: config.ways(),
        clock,
        begins,
    };
    open.write(there.connection, &scratch.there, (flags, 0), false);
    open.write(back.connection, &scratch.back, (0, flags), true);
    there.connection.endpoint = scratch.endpoint;
    back.connection.endpoint = scratch.endpoint;
    back.publish(kernel, &scratch.key, clock);
    if let Some(counters) = kernel.counters(service.slot) {
        // SAFETY: this CPU's, and no other reference to it is held.
        let counters = unsafe { &mut *counters };
        counters[counter::CONNECTIONS] += 1;
    }
    send::count_for_endpoint(kernel, scratch.endpoint, counter::CONNECTIONS, 0);
    note::turns(kernel, why::BEGUN);
    Ok(there.publish(kernel, &packet.tuple, clock))
}

/// Finds where the packets of both directions go.
///
/// A function of its own, as the next, for the sake of the path's stack.
#[inline(never)]
fn find_ways<K: Kernel>(kernel: &K, scratch: &mut Scratch) -> Result<(), Reason> {
    scratch.there.hop = kernel.next_hop(&reversed(&scratch.key))?;
    scratch.back.hop = connection::way_back(kernel).ok_or(Reason::Malformed)?;
    Ok(())
}

/// Finds what the packets of both directions become.
#[inline(never)]
fn translate(scratch: &mut Scratch, client: &Tuple) {
    let Scratch { key, there, back, .. } = scratch;
    there.to = translation(client, &reversed(key));
    back.to = translation(key, &reversed(client));
}

/// What both entries of a new connection have in common.
struct Opening {
    slot: u32,
    generation: u32,
    ways: u32,
    clock: Clock,
    begins: Begins,
}

impl Opening {
    #[inline(always)]
    fn write(&self, entry: &mut Connection, way: &Way, (own, peer): (u8, u8), reply: bool) {
        entry.to = way.to;
        entry.hop = way.hop;
        entry.slot = self.slot;
        entry.generation_or_delta = self.generation;
        entry.ways = self.ways;
        entry.own = own;
        entry.peer = peer;
        entry.reply = u8::from(reply);
        entry.splice = self.begins.splice;
        entry.cookie = self.begins.cookie;
        entry.refreshed = self.clock.now;
    }
}

/// Claims the first source port of the search that no connection to the backend has.
#[inline(always)]
fn claim_port<'k, K: Kernel>(
    kernel: &'k K,
    key: &mut Tuple,
    start: u32,
    clock: Clock,
) -> Result<Held<'k>, Reason> {
    for attempt in 0..PORT_TRIES {
        let port = SNAT_PORT_FIRST + ((start + attempt * PORT_STRIDE) % PORTS) as u16;
        key.destination_port_be = port.to_be();
        match connection::claim(kernel, key, clock) {
            Ok(held) => {
                if held.had_ended {
                    kernel.count(stat::PORTS_REUSED);
                }
                return Ok(held);
            }
            Err(Refused::Exists) => {}
            Err(Refused::NoRoom) => return Err(Reason::TableRefused),
        }
    }
    Err(Reason::PortsExhausted)
}
