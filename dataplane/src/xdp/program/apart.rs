//! What a program apart from those that run has of the maps, to be filled with what those have.

use aya::maps::{Array, MapData, MapError, PerCpuArray, PerCpuValues};
use ebpf_common::layout::{
    CONNECTIONS_MAP, Connection, FLOWS_MAP, FlowBucket, Record, STATS_MAP, STATS_WORDS,
};

use super::{LoadError, Program, host, maps};
use crate::xdp::mapping::Mapping;

/// Words of a bucket of the table of flows.
const FLOW_WORDS: usize = size_of::<FlowBucket>() / size_of::<u64>();

impl Program {
    /// Returns the memory of a map of records, or of values that are several records long.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn mapping(&self, name: &'static str) -> Result<Mapping, LoadError> {
        maps::mapping_of(&self.ebpf, name, records_per_value(name))
    }

    /// Reads the table of connections.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn connections(&self) -> Result<Vec<Connection>, LoadError> {
        let mapping = self.mapping(CONNECTIONS_MAP)?;
        let records = mapping.records();
        let places = records.len() / records_per_value(CONNECTIONS_MAP);
        // SAFETY: a connection is integers, as long as so many records and aligned as they are.
        let all = unsafe { std::slice::from_raw_parts(records.as_ptr().cast(), places) };
        Ok(all.to_vec())
    }

    /// Returns the seed of the table of connections.
    ///
    /// # Errors
    /// The kernel does not tell it.
    pub fn seed(&self) -> Result<u64, LoadError> {
        host::seed()
    }

    /// Returns the table of flows.
    ///
    /// # Errors
    /// Returns an error when the object has no such map.
    pub fn flows(&mut self) -> Result<Array<&mut MapData, [u64; FLOW_WORDS]>, LoadError> {
        let map = self.ebpf.map_mut(FLOWS_MAP).expect("the object has the map");
        map.try_into().map_err(|source| LoadError::Map { name: FLOWS_MAP, source })
    }

    /// Takes a map out of the loaded object.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn take_map(&mut self, name: &'static str) -> Result<aya::maps::Map, LoadError> {
        self.ebpf.take_map(name).ok_or_else(|| LoadError::Map {
            name,
            source: MapError::InvalidName { name: name.to_owned() },
        })
    }

    /// Sets all statistics to zero, and with them what is left of the budget of events.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn clear_statistics(&mut self) -> Result<(), LoadError> {
        let failed = |source| LoadError::Map { name: STATS_MAP, source };
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| failed(MapError::IoError(error)))?;
        let zero = PerCpuValues::try_from(vec![[0u64; STATS_WORDS]; cpus])
            .map_err(|error| failed(MapError::IoError(error)))?;
        let map = self.ebpf.map_mut(STATS_MAP).expect("the object has the map");
        let mut statistics: PerCpuArray<&mut MapData, [u64; STATS_WORDS]> =
            map.try_into().map_err(failed)?;
        statistics.set(0, zero, 0).map_err(failed)
    }
}

/// Returns how many records a value of a map is long.
fn records_per_value(name: &str) -> usize {
    if name == CONNECTIONS_MAP { size_of::<Connection>() / size_of::<Record>() } else { 1 }
}
