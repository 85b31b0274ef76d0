//! What the engine's program has counted.

use ebpf_common::layout::{STATS_WORDS, stat};

use super::{Engine, EngineError};
use crate::xdp::{
    program::{LoadError, Mode},
    statistics::{EndpointCounts, ListenerCounters, Statistics, sum},
};

impl Engine {
    /// Reads the counters.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn statistics(&mut self) -> Result<Statistics, EngineError> {
        let cpus: Vec<[u64; STATS_WORDS]> = {
            let map = self.program.statistics()?;
            let values =
                map.get(&0, 0).map_err(|source| LoadError::Map { name: "statistics", source })?;
            values.iter().copied().collect()
        };
        let plan = self.planner.plan();
        let counters = self.program.counters()?;
        let mut listeners = Vec::with_capacity(plan.carried.len());
        for (frontend, carried) in &plan.carried {
            let Some(slot) = self.slots.get(frontend) else { continue };
            let values = counters
                .get(&slot, 0)
                .map_err(|source| LoadError::Map { name: "counters", source })?;
            let words = sum(&values.iter().copied().collect::<Vec<_>>());
            listeners.push(ListenerCounters { listener: carried.listener.to_string(), words });
        }
        Ok(Statistics {
            generation: self.generation,
            revision: self.running.map_or(0, |revision| revision.0),
            generations_seen: cpus.iter().map(|cpu| cpu[stat::GENERATION]).collect(),
            words: sum(&cpus),
            endpoints: self.endpoint_counts(),
            listeners,
            limiters: self
                .limiters
                .counters(&mut self.program, self.image.treatments().limiters())?,
            filtered: self.filter.counters(&self.program)?,
            interfaces: self
                .attachments
                .iter()
                .map(|(name, attachment)| {
                    (name.clone(), attachment.as_ref().map_or("none", Mode::name))
                })
                .collect(),
        })
    }

    /// Counts the endpoints of the listeners carried, one of two listeners twice.
    fn endpoint_counts(&self) -> EndpointCounts {
        let carried = self.planner.plan().carried.values();
        let all = carried.flat_map(|carried| carried.backends());
        let (mut active, mut draining) = (0, 0);
        for backend in all {
            *(if backend.weight > 0 { &mut active } else { &mut draining }) += 1;
        }
        EndpointCounts { active, draining, starting: self.planner.starts().count() }
    }
}
