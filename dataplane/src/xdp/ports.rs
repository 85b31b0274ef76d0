//! Which ports are some service's: the program passes what goes to others at once (pure).

use std::ops::RangeInclusive;

use ebpf_common::layout::{PORTS_PER_RECORD, PORTS_START, PortsRecord};

use super::{arena::Arena, record::of_ports};

/// Records for all ports.
const RECORDS: u32 = (1 << 16) / PORTS_PER_RECORD;

/// How many services each port has.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Services of each port.
    users: Vec<u32>,
}

impl Ports {
    /// Makes the records, the first behind the header, with ports that are always there.
    #[must_use]
    pub fn new(arena: &mut Arena, always: RangeInclusive<u16>) -> Self {
        let extent = arena.allocate(RECORDS);
        assert_eq!(extent.start, PORTS_START, "they are the first to be allocated");
        let mut ports = Self { users: vec![0; 1 << 16] };
        always.for_each(|port| ports.users[usize::from(port)] = 1);
        (0..RECORDS).for_each(|part| ports.write(arena, part));
        ports
    }

    /// Notes one more service of a port.
    pub fn hold(&mut self, arena: &mut Arena, port: u16) {
        self.users[usize::from(port)] += 1;
        self.write(arena, u32::from(port) / PORTS_PER_RECORD);
    }

    /// Notes one service less of a port.
    pub fn release(&mut self, arena: &mut Arena, port: u16) {
        self.users[usize::from(port)] -= 1;
        self.write(arena, u32::from(port) / PORTS_PER_RECORD);
    }

    fn write(&self, arena: &mut Arena, part: u32) {
        let mut record = PortsRecord::default();
        let first = (part * PORTS_PER_RECORD) as usize;
        for (port, users) in self.users[first..][..PORTS_PER_RECORD as usize].iter().enumerate() {
            record.ports[port / 64] |= u64::from(*users > 0) << (port % 64);
        }
        arena.sheet.set(PORTS_START + part, of_ports(record));
    }
}
