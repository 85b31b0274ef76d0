//! The maps of the loaded program, and what pinned maps must look like to be taken over.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues},
};
use ebpf_common::{
    filter::{
        FILTER_MAP, FILTER_SLOTS, RULE_NUMBERS,
        rates::{
            FILTER_RULES_MAP, FILTER_SPENT_MAP, RULE_WORDS, SOURCE_LINES, SOURCES_MAP, SourceLine,
        },
    },
    layout::{
        CLAIMS_MAP, CONFIG_MAP, CONNECTIONS_MAP, COUNTER_WORDS, COUNTERS_MAP, CPU_ENDPOINTS_MAP,
        Claims, Connection, CpuEndpoint, ENDPOINTS_MAP, ENDPOINTS_MAX, EVENTS_BYTES, EVENTS_MAP,
        Endpoint, FLOWS_MAP, FlowBucket, HANDSHAKES_MAP, Handshakes, PROGRAM, Record, SERVICES_MAX,
        STATS_MAP, STATS_WORDS, TASK_PROGRAMS, TASKS_MAP, VLANS_MAP, VLANS_MAX, Vlan,
    },
    qos::{
        CREDIT_MAP, CREDIT_WORDS, LIMITER_WAYS, SPENT_MAP, Spent,
        wait::{PLACES, SOCKETS_MAP},
    },
};

use rand::RngCore as _;

use super::{LoadError, Program, Sizes, remove_pin};
use crate::afxdp::words::SharedWords;
use crate::xdp::{
    bpf,
    generation::{CONFIG_RECORDS_MAX, CONFIG_RECORDS_MIN, Generations},
    mapping::Mapping,
    pins::PinFolder,
    statistics::sum,
};

/// Words of what a CPU has of an endpoint; the counters come first.
pub(crate) const CPU_ENDPOINT_WORDS: usize = size_of::<CpuEndpoint>() / size_of::<u64>();

impl Program {
    /// Returns the copies of the configuration.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn generations(&self) -> Result<Generations, LoadError> {
        generations(&self.ebpf)
    }

    /// Returns the counters of the services.
    ///
    /// # Errors
    /// Returns an error when the object has no such map.
    pub fn counters(
        &mut self,
    ) -> Result<PerCpuArray<&mut MapData, [u64; COUNTER_WORDS]>, LoadError> {
        let map = self.ebpf.map_mut(COUNTERS_MAP).expect("the object has the map");
        map.try_into().map_err(|source| LoadError::Map { name: COUNTERS_MAP, source })
    }

    /// Returns the endpoints by their numbers.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn endpoints(&self) -> Result<Mapping, LoadError> {
        mapping(&self.ebpf, ENDPOINTS_MAP)
    }

    /// Returns what the limiters have spent.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn spent(&self) -> Result<Mapping, LoadError> {
        mapping(&self.ebpf, SPENT_MAP)
    }

    /// Returns what workers share with the program of the limiters.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn shared_words(&self) -> Result<SharedWords, LoadError> {
        let Some(Map::Array(map)) = self.ebpf.map(SPENT_MAP) else {
            panic!("the object has the map, and it is an array");
        };
        let failed = |error| LoadError::Map { name: SPENT_MAP, source: MapError::IoError(error) };
        SharedWords::new(map.fd().as_fd()).map_err(failed)
    }

    /// Returns the map of the workers' sockets.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn sockets(&self) -> io::Result<OwnedFd> {
        let Some(Map::XskMap(map)) = self.ebpf.map(SOCKETS_MAP) else {
            panic!("the object has the map, and it is one of sockets");
        };
        map.fd().as_fd().try_clone_to_owned()
    }

    /// Returns what the CPUs have of the limiters.
    ///
    /// # Errors
    /// Returns an error when the object has no such map.
    pub fn credit(&mut self) -> Result<PerCpuArray<&mut MapData, [u64; CREDIT_WORDS]>, LoadError> {
        let map = self.ebpf.map_mut(CREDIT_MAP).expect("the object has the map");
        map.try_into().map_err(|source| LoadError::Map { name: CREDIT_MAP, source })
    }

    /// Takes credit and counters of an entry from all CPUs.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn clear_credit(&mut self, entry: u32) -> Result<(), LoadError> {
        let failed = |source| LoadError::Map { name: CREDIT_MAP, source };
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| failed(MapError::IoError(error)))?;
        let zero = PerCpuValues::try_from(vec![[0u64; CREDIT_WORDS]; cpus])
            .map_err(|error| failed(MapError::IoError(error)))?;
        self.credit()?.set(entry, zero, 0).map_err(failed)
    }

    /// Returns what SYN cookies need, in words.
    ///
    /// # Errors
    /// Returns an error when the object has no such map.
    pub fn handshakes(&mut self) -> Result<Array<&mut MapData, [u64; HANDSHAKE_WORDS]>, LoadError> {
        handshakes(&mut self.ebpf)
    }

    /// Returns the interfaces of VLANs.
    ///
    /// # Errors
    /// Returns an error when the object has no such map.
    pub fn vlans(&mut self) -> Result<HashMap<&mut MapData, u32, [u8; 8]>, LoadError> {
        let map = self.ebpf.map_mut(VLANS_MAP).expect("the object has the map");
        map.try_into().map_err(|source| LoadError::Map { name: VLANS_MAP, source })
    }

    /// Returns the packet filter's outer map.
    ///
    /// # Errors
    /// Returns an error when the object has no such map.
    pub fn filter(&mut self) -> Result<ArrayOfMaps<&mut MapData, MapData>, LoadError> {
        let map = self.ebpf.map_mut(FILTER_MAP).expect("the object has the map");
        map.try_into().map_err(|source| LoadError::Map { name: FILTER_MAP, source })
    }

    /// Returns the descriptor of the packet filter's outer map.
    ///
    /// # Errors
    /// Returns an error when the object has no such map.
    pub fn filter_fd(&self) -> Result<BorrowedFd<'_>, LoadError> {
        match self.ebpf.map(FILTER_MAP) {
            Some(Map::ArrayOfMaps(map)) => Ok(map.fd().as_fd()),
            _ => Err(LoadError::Map {
                name: FILTER_MAP,
                source: MapError::InvalidName { name: FILTER_MAP.to_owned() },
            }),
        }
    }

    /// Returns a function that reads what all CPUs have of a rule of the packet filter, by its number.
    ///
    /// # Errors
    /// Returns an error when the object has no such map.
    pub fn filter_rules(
        &self,
    ) -> Result<impl Fn(u8) -> Result<[u64; RULE_WORDS], LoadError>, LoadError> {
        let failed = |source| LoadError::Map { name: FILTER_RULES_MAP, source };
        let map = self.ebpf.map(FILTER_RULES_MAP).expect("the object has the map");
        let rules: PerCpuArray<&MapData, [u64; RULE_WORDS]> = map.try_into().map_err(failed)?;
        Ok(move |number: u8| {
            let cpus = rules.get(&u32::from(number), 0).map_err(failed)?;
            Ok(sum(&cpus.iter().copied().collect::<Vec<_>>()))
        })
    }

    /// Returns what rules of the packet filter have spent.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn filter_spent(&self) -> Result<Mapping, LoadError> {
        mapping(&self.ebpf, FILTER_SPENT_MAP)
    }

    /// Takes credit and counters of a rule of the packet filter from all CPUs.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn clear_filter_rule(&mut self, number: u8) -> Result<(), LoadError> {
        let failed = |source| LoadError::Map { name: FILTER_RULES_MAP, source };
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| failed(MapError::IoError(error)))?;
        let zero = PerCpuValues::try_from(vec![[0u64; RULE_WORDS]; cpus])
            .map_err(|error| failed(MapError::IoError(error)))?;
        let map = self.ebpf.map_mut(FILTER_RULES_MAP).expect("the object has the map");
        let mut rules: PerCpuArray<&mut MapData, [u64; RULE_WORDS]> =
            map.try_into().map_err(failed)?;
        rules.set(number.into(), zero, 0).map_err(failed)
    }

    /// Returns what the CPUs have of the endpoints by their numbers.
    ///
    /// # Errors
    /// Returns an error when the object has no such map.
    fn cpu_endpoints(
        &mut self,
    ) -> Result<PerCpuArray<&mut MapData, [u64; CPU_ENDPOINT_WORDS]>, LoadError> {
        let map = self.ebpf.map_mut(CPU_ENDPOINTS_MAP).expect("the object has the map");
        map.try_into().map_err(|source| LoadError::Map { name: CPU_ENDPOINTS_MAP, source })
    }

    /// Returns the counters of an endpoint, summed over the CPUs.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn endpoint_counters(&mut self, number: u16) -> Result<[u64; COUNTER_WORDS], LoadError> {
        let cpus = self.cpu_endpoints()?.get(&number.into(), 0);
        let cpus = cpus.map_err(|source| LoadError::Map { name: CPU_ENDPOINTS_MAP, source })?;
        let words = cpus.iter().map(|words| words.first_chunk().copied().unwrap_or_default());
        Ok(sum(&words.collect::<Vec<_>>()))
    }

    /// Takes counters and next hops of an endpoint from all CPUs.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn clear_endpoint(&mut self, number: u16) -> Result<(), LoadError> {
        let failed = |source| LoadError::Map { name: CPU_ENDPOINTS_MAP, source };
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| failed(MapError::IoError(error)))?;
        let zero = PerCpuValues::try_from(vec![[0u64; CPU_ENDPOINT_WORDS]; cpus])
            .map_err(|error| failed(MapError::IoError(error)))?;
        self.cpu_endpoints()?.set(number.into(), zero, 0).map_err(failed)
    }

    /// Sets the counters of a service slot to zero.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn clear_counters(&mut self, slot: u32) -> Result<(), LoadError> {
        let failed = |source| LoadError::Map { name: COUNTERS_MAP, source };
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| failed(MapError::IoError(error)))?;
        let zero = PerCpuValues::try_from(vec![[0u64; COUNTER_WORDS]; cpus])
            .map_err(|error| failed(MapError::IoError(error)))?;
        self.counters()?.set(slot, zero, 0).map_err(failed)
    }

    /// Returns the statistics.
    ///
    /// # Errors
    /// Returns an error when the object has no such map.
    pub fn statistics(&self) -> Result<PerCpuArray<&MapData, [u64; STATS_WORDS]>, LoadError> {
        let map = self.ebpf.map(STATS_MAP).expect("the object has the map");
        map.try_into().map_err(|source| LoadError::Map { name: STATS_MAP, source })
    }
}

/// Words of the value of the map that SYN cookies need; the first two are their key.
pub(super) const HANDSHAKE_WORDS: usize = size_of::<Handshakes>() / size_of::<u64>();

fn handshakes(ebpf: &mut Ebpf) -> Result<Array<&mut MapData, [u64; HANDSHAKE_WORDS]>, LoadError> {
    let map = ebpf.map_mut(HANDSHAKES_MAP).expect("the object has the map");
    map.try_into().map_err(|source| LoadError::Map { name: HANDSHAKES_MAP, source })
}

/// Makes the key of SYN cookies where there is none: of a node's own, and the same for all processes
/// that use the pinned map, so that clients which answer across a restart are known.
///
/// # Errors
/// Returns what the kernel refused.
pub(super) fn make_cookie_key(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    let failed = |source| LoadError::Map { name: HANDSHAKES_MAP, source };
    let mut map = handshakes(ebpf)?;
    let mut words = map.get(&0, 0).map_err(failed)?;
    if words[0] | words[1] == 0 {
        // A generator that the kernel seeds, fit for keys.
        let mut random = rand::rng();
        [words[0], words[1]] = [random.next_u64() | 1, random.next_u64()];
        map.set(0, words, 0).map_err(failed)?;
    }
    Ok(())
}

/// Counts the map of sockets among those of the program on interfaces: tasks name it alone, and libbpf
/// looks for it there.
///
/// # Errors
/// Returns what the kernel refused.
pub(super) fn bind_sockets(ebpf: &Ebpf) -> Result<(), LoadError> {
    let failed = |error| LoadError::Map { name: SOCKETS_MAP, source: MapError::IoError(error) };
    let (Some(Map::XskMap(map)), Some(aya::programs::Program::Xdp(program))) =
        (ebpf.map(SOCKETS_MAP), ebpf.program(PROGRAM))
    else {
        panic!("the object has map and program");
    };
    let program = program.fd().map_err(|error| LoadError::Program(Box::new(error)))?;
    bpf::bind_map(program.as_fd(), map.fd().as_fd()).map_err(failed)
}

/// Returns the copies of the configuration in an object's map.
///
/// # Errors
/// Returns what the kernel refused.
pub(super) fn generations(ebpf: &Ebpf) -> Result<Generations, LoadError> {
    let failed = |error| LoadError::Map { name: CONFIG_MAP, source: MapError::IoError(error) };
    Generations::new(mapping(ebpf, CONFIG_MAP)?).map_err(failed)
}

fn mapping(ebpf: &Ebpf, name: &'static str) -> Result<Mapping, LoadError> {
    mapping_of(ebpf, name, 1)
}

/// Maps a map whose values are so many records long.
pub(super) fn mapping_of(
    ebpf: &Ebpf,
    name: &'static str,
    length: usize,
) -> Result<Mapping, LoadError> {
    let Some(Map::Array(map)) = ebpf.map(name) else {
        panic!("the object has the map, and it is an array");
    };
    let failed = |source| LoadError::Map { name, source };
    let records = map.info().map_err(failed)?.max_entries() as usize * length;
    Mapping::new(map.fd().as_fd(), records).map_err(|error| failed(MapError::IoError(error)))
}

/// Unpins maps whose shape is not what their name promises: a name is meant to stand for one
/// layout, and a mistake in that must cost connections, not correctness. A table of flows or of
/// connections of another length is one that the operator resized.
pub(super) fn drop_unlike_maps(pins: &PinFolder, tables: Sizes) -> Result<(), LoadError> {
    let sizes = |key: usize, value: usize, entries: usize| {
        (key as u32, value as u32, entries as u32..=entries as u32)
    };
    let configs = CONFIG_RECORDS_MIN..=CONFIG_RECORDS_MAX;
    let shapes = [
        (CONFIG_MAP, (4, size_of::<Record>() as u32, configs)),
        (CLAIMS_MAP, sizes(4, size_of::<Claims>(), tables.claim_buckets as usize)),
        (CONNECTIONS_MAP, sizes(4, size_of::<Connection>(), tables.places() as usize)),
        (COUNTERS_MAP, sizes(4, 8 * COUNTER_WORDS, SERVICES_MAX)),
        (FLOWS_MAP, sizes(4, size_of::<FlowBucket>(), tables.flow_buckets as usize)),
        (ENDPOINTS_MAP, sizes(4, size_of::<Endpoint>(), ENDPOINTS_MAX)),
        (CPU_ENDPOINTS_MAP, sizes(4, size_of::<CpuEndpoint>(), ENDPOINTS_MAX)),
        (EVENTS_MAP, sizes(0, 0, EVENTS_BYTES)),
        (HANDSHAKES_MAP, sizes(4, size_of::<Handshakes>(), 1)),
        (STATS_MAP, sizes(4, 8 * STATS_WORDS, 1)),
        (TASKS_MAP, sizes(4, 4, TASK_PROGRAMS.len())),
        (VLANS_MAP, sizes(4, size_of::<Vlan>(), VLANS_MAX)),
        (FILTER_MAP, sizes(4, 4, FILTER_SLOTS)),
        (FILTER_RULES_MAP, sizes(4, 8 * RULE_WORDS, RULE_NUMBERS)),
        (FILTER_SPENT_MAP, sizes(4, size_of::<Spent>(), RULE_NUMBERS)),
        (SOURCES_MAP, sizes(4, size_of::<SourceLine>(), SOURCE_LINES)),
        (SPENT_MAP, sizes(4, size_of::<Spent>(), LIMITER_WAYS)),
        (CREDIT_MAP, sizes(4, 8 * CREDIT_WORDS, LIMITER_WAYS)),
        (SOCKETS_MAP, sizes(4, 4, PLACES)),
    ];
    for (name, shape) in shapes {
        let path = pins.map(name);
        if !path.exists() {
            continue;
        }
        let info = MapData::from_pin(&path).and_then(|map| map.info());
        let found = info.as_ref().ok().map(|i| (i.key_size(), i.value_size(), i.max_entries()));
        let fits = |(key, value, entries): (u32, u32, u32)| {
            (key, value) == (shape.0, shape.1) && shape.2.contains(&entries)
        };
        if !found.is_some_and(fits) {
            tracing::warn!(map = name, ?found, wanted = ?shape, "pinned map of another shape removed");
            remove_pin(path)?;
        }
    }
    Ok(())
}
