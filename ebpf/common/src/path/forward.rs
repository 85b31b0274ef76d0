//! From the client to a backend.
//!
//! A connection keeps the backend's address and port, so a change of the configuration moves no
//! established flow; only a UDP flow whose backend has left the service is chosen anew.

use super::{
    config::Config,
    connection::{self, Refresh},
    kernel::{Kernel, Refused, Scratch},
};
use crate::{
    hash,
    layout::{
        Address, Connection, Entry, SNAT_PORT_FIRST, SNAT_PORT_LAST, TCP, Tuple, UDP, counter, stat,
    },
    parse::Packet,
    rewrite::{delta_for_port, reversed, set_source_port, translation},
    state::{closed, expired, flags_of, opens},
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
/// Returns why the packet cannot go on.
#[inline(always)]
pub(super) fn connection<'k, K: Kernel>(
    kernel: &'k K,
    packet: &Packet,
    config: &Config<'k, K>,
    service: &Entry,
) -> Result<&'k Connection, Reason> {
    connection::check(packet)?;
    let now = kernel.seconds();
    if let Some(connection) = connection::find(kernel, &packet.tuple) {
        if !connection::is_due(connection, packet, now) && !opens(packet.tcp_flags) {
            return Ok(connection);
        }
        if goes_on(kernel, packet, config, service, connection, now)
            && let Refresh::Done = connection::refresh(kernel, packet, connection, now)?
        {
            return Ok(connection);
        }
        kernel.remove(&connection::partner(connection, packet.tuple.protocol));
        kernel.remove(&packet.tuple);
    }
    if service.draining != 0 {
        return Err(Reason::Draining);
    }
    begin(kernel, packet, config, service, now)
}

/// Tells whether the connection found is still the one that the packet belongs to.
#[inline(always)]
fn goes_on<K: Kernel>(
    kernel: &K,
    packet: &Packet,
    config: &Config<'_, K>,
    service: &Entry,
    connection: &mut Connection,
    now: u32,
) -> bool {
    if packet.tuple.protocol == TCP {
        let over = closed(connection.own, connection.peer) || expired(connection, TCP, now);
        return !(over && opens(packet.tcp_flags));
    }
    if expired(connection, UDP, now) {
        return false;
    }
    let generation = config.header.generation as u32;
    if connection.generation != generation && service.draining == 0 {
        let (address, port) = (connection.destination, connection.destination_port_be);
        if !config.has_backend(service.slot, address, port, UDP) {
            kernel.count(stat::FLOWS_MOVED);
            return false;
        }
        connection.generation = generation;
    }
    true
}

/// Begins a connection: chooses a backend, claims a source port, and makes both entries.
#[inline(always)]
fn begin<'k, K: Kernel>(
    kernel: &'k K,
    packet: &Packet,
    config: &Config<'k, K>,
    service: &Entry,
    now: u32,
) -> Result<&'k Connection, Reason> {
    let scratch = kernel.scratch().ok_or(Reason::TableRefused)?;
    // SAFETY: this CPU's, and asked for once a frame.
    let Scratch { forward, reply } = unsafe { &mut *scratch };
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
    let mut key = Tuple {
        source: backend.address,
        destination: source,
        source_port_be: backend.port_be,
        destination_port_be: 0,
        protocol: packet.tuple.protocol,
        padding: 0,
        padding_end: 0,
    };

    *forward = translation(&packet.tuple, &reversed(&key));
    forward.hop = kernel.next_hop(&reversed(&key))?;
    forward.slot = service.slot;
    forward.refreshed_s = now;
    forward.generation = header.generation as u32;
    forward.own = flags_of(packet.tcp_flags);

    *reply = translation(&key, &reversed(&packet.tuple));
    reply.hop = connection::way_back(kernel).ok_or(Reason::Malformed)?;
    reply.slot = service.slot;
    reply.refreshed_s = now;
    reply.peer = flags_of(packet.tcp_flags);
    reply.reply = 1;

    claim_port(kernel, &mut key, reply, (flow as u32) % PORTS, now)?;
    set_source_port(forward, key.destination_port_be);
    match kernel.insert(&packet.tuple, forward) {
        Ok(()) => {
            if let Some(counters) = kernel.counters(service.slot) {
                // SAFETY: this CPU's, and no other reference to it is held.
                let counters = unsafe { &mut *counters };
                counters[counter::CONNECTIONS] += 1;
            }
            Ok(forward)
        }
        Err(error) => {
            // Another CPU was faster with a packet of the same flow: its entry holds.
            kernel.remove(&key);
            match connection::find(kernel, &packet.tuple) {
                Some(connection) if error == Refused::Exists => Ok(connection),
                _ => Err(Reason::TableRefused),
            }
        }
    }
}

/// Inserts the entry of the reply under the first port of the search that nobody holds.
#[inline(always)]
fn claim_port<K: Kernel>(
    kernel: &K,
    key: &mut Tuple,
    reply: &mut Connection,
    start: u32,
    now: u32,
) -> Result<(), Reason> {
    let open = reply.transport_delta;
    for attempt in 0..PORT_TRIES {
        let port = SNAT_PORT_FIRST + ((start + attempt * PORT_STRIDE) % PORTS) as u16;
        key.destination_port_be = port.to_be();
        reply.transport_delta = delta_for_port(open, key.destination_port_be);
        match kernel.insert(key, reply) {
            Ok(()) => return Ok(()),
            Err(Refused::Exists) => {
                if connection::evict_ended(kernel, key, now) && kernel.insert(key, reply).is_ok() {
                    kernel.count(stat::PORTS_REUSED);
                    return Ok(());
                }
            }
            Err(_) => return Err(Reason::TableRefused),
        }
    }
    Err(Reason::PortsExhausted)
}
