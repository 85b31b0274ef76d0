//! A configuration written by hand: one service a way of forwarding and family, TCP and UDP.

use std::{boxed::Box, vec, vec::Vec};

use crate::{
    hash,
    host::{Sizes, Tables},
    layout::{
        Address, Backend, Endpoint, Entry, EntryKey, Header, Hop, Layout, MAGIC, MAGLEV_PER_RECORD,
        MaglevRecord, PORTS_PER_RECORD, PORTS_START, Pool, PortsRecord, Record, SNAT_PORT_FIRST,
        Selector, TCP, Tuple, UDP, forwarding, kind,
    },
};

/// Ticks in a second.
pub(super) const TICKS_PER_SECOND: u32 = 250;
/// Endpoints of each service.
pub(super) const BACKENDS: u16 = 3;
/// Ports of the services: one a way of forwarding.
pub(super) const PORTS: [u16; 4] = [80, 81, 82, 83];
/// The node.
pub(super) const NODE: Address = Address::v4(u32::from_be_bytes([10, 0, 0, 1]).to_be());
const NODE_V6: Address = address_v6(1);
const SERVICE: Address = Address::v4(u32::from_be_bytes([192, 0, 2, 10]).to_be());
const SERVICE_V6: Address = address_v6(0x10);
/// Places of the lookup table: so many that its few entries have one each.
const PLACES: u32 = 1 << 8;

const fn address_v6(last: u32) -> Address {
    Address { words: [0xfd00_0000u32.to_be(), 0, 0, last.to_be()] }
}

fn backend(v6: bool, number: u16) -> Address {
    let last = 20 + u32::from(number);
    if v6 { address_v6(last) } else { Address::v4((0x0a00_0000 + last).to_be()) }
}

fn record<T: Layout>(layout: T) -> Record {
    // SAFETY: a layout is 64 bytes of integers, as a record is.
    unsafe { core::mem::transmute_copy(&layout) }
}

/// Returns the service's address of a family.
pub(super) fn service(v6: bool) -> Address {
    if v6 { SERVICE_V6 } else { SERVICE }
}

/// Makes tables with the configuration in force and with room for so many places of connections.
pub(super) fn tables(claim_buckets: u32) -> Tables {
    let routes = |flow: &Tuple| {
        let last = flow.destination.words[3].to_ne_bytes()[3];
        let destination = u16::from_ne_bytes([0, last]);
        Ok(Hop {
            ifindex: 2,
            mtu: 1_500,
            destination: [2, 0, destination],
            source: [2, 0, 1],
            link: 0,
        })
    };
    let sizes = Sizes { flow_buckets: 1 << 6, claim_buckets, endpoints: 16 };
    let mut tables = Tables::new(sizes, TICKS_PER_SECOND, Box::new(routes));
    let (records, endpoints) = records();
    tables.set_config(&records);
    tables.set_endpoints(&endpoints);
    tables.set_vlans(true);
    tables.set_ticks(1 << 20);
    tables
}

/// Lays out the selector, the header, ports, the lookup table, and a pool a family and kind.
fn records() -> (Vec<Record>, Vec<Record>) {
    let port_records = 65_536 / PORTS_PER_RECORD;
    let table_start = PORTS_START + port_records;
    let pools_start = table_start + PLACES;
    let mut all = vec![Record::EMPTY; (pools_start + 64) as usize];
    let mut ports = vec![PortsRecord::default(); port_records as usize];
    for port in PORTS.into_iter().chain(SNAT_PORT_FIRST..=u16::MAX) {
        let (part, bit) = (u32::from(port) / PORTS_PER_RECORD, u32::from(port) % PORTS_PER_RECORD);
        ports[part as usize].ports[(bit / 64) as usize] |= 1 << (bit % 64);
    }
    for (part, ports) in ports.into_iter().enumerate() {
        all[PORTS_START as usize + part] = record(ports);
    }
    let header = Header {
        generation: 1,
        magic: MAGIC,
        table_start,
        table_mask: PLACES - 1,
        source_v4: NODE.words[3],
        source_v6: NODE_V6,
        ..Header::default()
    };
    all[0] = record(header);
    let mut endpoints = vec![Record::EMPTY];
    let mut pools = [Pool::default(); 2];
    let mut numbered = [Pool::default(); 2];
    let mut at = pools_start;
    for v6 in [false, true] {
        let mut maglev = MaglevRecord { backends: [0; MAGLEV_PER_RECORD as usize] };
        let backends_start = at;
        for number in 0..BACKENDS {
            let address = backend(v6, number);
            let backend = Backend { address, port_be: 8_000u16.to_be(), ..Backend::default() };
            all[at as usize] = record(backend);
            let endpoint = Endpoint { address, port_be: 80u16.to_be(), padding: [0; 23] };
            // SAFETY: as for `record`.
            endpoints.push(unsafe { core::mem::transmute_copy(&endpoint) });
            at += 1;
        }
        for (number, place) in (0..).zip(&mut maglev.backends) {
            *place = number % BACKENDS;
        }
        all[at as usize] = record(maglev);
        let pool = Pool { maglev_start: at, maglev_size: MAGLEV_PER_RECORD, backends_start };
        pools[usize::from(v6)] = pool;
        let first = 1 + u16::from(v6) * BACKENDS;
        maglev.backends.iter_mut().for_each(|place| *place += first);
        all[at as usize + 1] = record(maglev);
        numbered[usize::from(v6)] = Pool { maglev_start: at + 1, backends_start: 0, ..pool };
        at += 2;
    }
    let modes = [forwarding::NAT, forwarding::L2, forwarding::IPIP, forwarding::GUE];
    for (slot, (port, mode)) in (0..).zip(PORTS.into_iter().zip(modes)) {
        for protocol in [TCP, UDP] {
            for v6 in [false, true] {
                let key = EntryKey {
                    address: service(v6),
                    owner: 0,
                    port_be: port.to_be(),
                    protocol,
                    kind: kind::SERVICE,
                };
                let of = if mode == forwarding::NAT { &pools } else { &numbered };
                let mut entry = Entry { key, slot, forwarding: mode, ..Entry::default() };
                *(if v6 { &mut entry.v6 } else { &mut entry.v4 }) = of[usize::from(v6)];
                let hash = hash::entry(&key, 0);
                let places = [hash as u32, (hash >> 32) as u32];
                let places = places.map(|it| (table_start + (it & (PLACES - 1))) as usize);
                let free = places.into_iter().find(|place| all[*place] == Record::EMPTY);
                all[free.expect("a free place")] = record(entry);
            }
        }
    }
    // One copy, behind the selector.
    let selector = Selector { base: 1, ..Selector::default() };
    let mut records = vec![record(selector)];
    records.extend(all);
    (records, endpoints)
}

/// Makes bytes a packet whose IP header says nothing wrong.
pub(super) fn whole(bytes: &mut [u8], v6: bool, protocol: u8) {
    bytes[12..14].copy_from_slice(if v6 { &[0x86, 0xdd] } else { &[8, 0] });
    let length = bytes.len() - 14;
    bytes[14] = if v6 { 0x60 } else { 0x45 };
    let (at, value) = if v6 { (18, length - 40) } else { (16, length) };
    bytes[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
    bytes[if v6 { 20 } else { 23 }] = protocol;
    if v6 {
        bytes[21] = 64;
    } else {
        bytes[20..22].fill(0);
        bytes[22] = 64;
    }
}

/// Aims a packet at a service.
pub(super) fn aim(frame: &mut [u8], v6: bool, port: u8) {
    let (address, transport) = if v6 { (38, 54) } else { (30, 34) };
    write(frame, address, service(v6), v6);
    frame[transport + 2..transport + 4].copy_from_slice(&PORTS[usize::from(port)].to_be_bytes());
}

/// Makes a packet an ICMP error about an answer of a service.
pub(super) fn quote(frame: &mut [u8], v6: bool, error: u8, port: u8) {
    let (ip, quoted) = if v6 { (40, 14 + 40 + 8) } else { (20, 14 + 20 + 8) };
    frame[14 + ip] = error;
    frame[quoted] = if v6 { 0x60 } else { 0x45 };
    frame[quoted + if v6 { 6 } else { 9 }] = TCP;
    if !v6 {
        frame[quoted + 6..quoted + 8].fill(0);
    }
    write(frame, quoted + if v6 { 8 } else { 12 }, service(v6), v6);
    frame[quoted + ip..quoted + ip + 2].copy_from_slice(&PORTS[usize::from(port)].to_be_bytes());
}

fn write(frame: &mut [u8], at: usize, address: Address, v6: bool) {
    let words = if v6 { &address.words[..] } else { &address.words[3..] };
    for (place, word) in frame[at..].chunks_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
}
