//! Records by what they hold, and the keys of the lookup table (pure).

use std::{
    mem::transmute,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use ebpf_common::{
    layout::{
        Address, Backend, Endpoint, Entry, EntryKey, Header, MAGIC, MaglevRecord, PortsRecord,
        Record, kind,
    },
    qos::{Limits, Spent, Treatments},
};

use super::{plan::Frontend, slots::Slot};

macro_rules! convert {
    ($($write:ident, $read:ident: $layout:ty),*) => {$(
        #[doc = concat!("Makes a record of a [`", stringify!($layout), "`].")]
        #[must_use]
        pub fn $write(value: $layout) -> Record {
            // SAFETY: both are 64 bytes; the layout is integers without padding.
            unsafe { transmute::<$layout, Record>(value) }
        }

        #[doc = concat!("Reads a record as a [`", stringify!($layout), "`].")]
        #[must_use]
        pub fn $read(record: &Record) -> $layout {
            // SAFETY: both are 64 bytes; the layout is integers, for which any bytes are a value.
            unsafe { transmute::<Record, $layout>(*record) }
        }
    )*};
}
convert!(
    of_header, to_header: Header,
    of_entry, to_entry: Entry,
    of_backend, to_backend: Backend,
    of_endpoint, to_endpoint: Endpoint,
    of_maglev, to_maglev: MaglevRecord,
    of_ports, to_ports: PortsRecord,
    of_limits, to_limits: Limits,
    of_treatments, to_treatments: Treatments,
    of_spent, to_spent: Spent
);

/// Returns the key of a service.
#[must_use]
pub fn service_key(frontend: &Frontend) -> EntryKey {
    EntryKey {
        address: frontend.address.map(Address::from).unwrap_or_default(),
        owner: 0,
        port_be: frontend.port.to_be(),
        protocol: frontend.protocol,
        kind: kind::SERVICE,
    }
}

/// Returns the key of a backend of the service in a slot.
#[must_use]
pub fn backend_key(slot: u32, protocol: u8, backend: SocketAddr) -> EntryKey {
    EntryKey {
        address: backend.ip().into(),
        owner: slot + 1,
        port_be: backend.port().to_be(),
        protocol,
        kind: kind::BACKEND,
    }
}

/// Returns the key of an address of the node.
#[must_use]
pub fn local_key(address: IpAddr) -> EntryKey {
    EntryKey { address: address.into(), kind: kind::LOCAL, ..EntryKey::default() }
}

/// Reads which frontends have which slots out of a configuration in force, with their entries.
#[must_use]
pub fn read_slots(records: &[Record]) -> Vec<(Slot, Entry)> {
    let Some(header) = records.first().map(to_header).filter(|header| header.magic == MAGIC) else {
        return Vec::new();
    };
    let start = header.table_start as usize;
    let end = start + header.table_mask as usize + 1;
    records
        .get(start..end)
        .unwrap_or_default()
        .iter()
        .map(to_entry)
        .filter(|entry| entry.key.kind == kind::SERVICE)
        .map(|entry| {
            let frontend = Frontend {
                address: to_ip(entry.key.address),
                port: u16::from_be(entry.key.port_be),
                protocol: entry.key.protocol,
            };
            (Slot { frontend, slot: entry.slot, draining: entry.draining != 0 }, entry)
        })
        .collect()
}

/// Reads which numbers stand for which endpoints.
#[must_use]
pub fn read_numbers(records: &[Record]) -> Vec<(u16, SocketAddr)> {
    (0..=u16::MAX)
        .zip(records)
        .filter_map(|(number, record)| {
            let endpoint = to_endpoint(record);
            let address = to_ip(endpoint.address)?;
            Some((number, SocketAddr::new(address, u16::from_be(endpoint.port_be))))
        })
        .collect()
}

/// Makes the record of an endpoint.
#[must_use]
pub fn endpoint_record(address: SocketAddr) -> Record {
    of_endpoint(Endpoint {
        address: address.ip().into(),
        port_be: address.port().to_be(),
        ..Endpoint::default()
    })
}

/// Reads an address; `None` for the one that stands for none.
#[must_use]
pub fn to_ip(address: Address) -> Option<IpAddr> {
    if address == Address::default() {
        return None;
    }
    let mut octets = [0; 16];
    for (chunk, word) in octets.chunks_mut(4).zip(address.words) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    Some(Ipv6Addr::from(octets).to_canonical())
}
