//! What the engine's program has counted.

use std::{collections::BTreeSet, net::SocketAddr};

use ebpf_common::{
    layout::{STATS_WORDS, stat},
    verdict::{Action, Reason},
};
use model::traffic::{EndpointQuery, EndpointTraffic, TrafficCounters};

use super::{Engine, EngineError};
use crate::xdp::{
    program::{LoadError, Mode},
    statistics::{EndpointCounts, ListenerCounters, Statistics, sum},
    traffic,
};

/// Packets that the program has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packets {
    /// All.
    pub all: u64,
    /// Those that it dropped, for whatever reason.
    pub dropped: u64,
}

impl Engine {
    /// Returns how many packets the program has seen, and dropped.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn packets(&self) -> Result<Packets, EngineError> {
        let words = sum(&self.words()?);
        let of = |action| {
            let reasons = Reason::ALL.into_iter().filter(move |reason| reason.action() == action);
            reasons.map(|reason| words[reason as usize]).sum::<u64>()
        };
        let (passed, dropped) = (of(Action::Pass), of(Action::Drop));
        let forwarded = words[stat::TRANSMITTED] + words[stat::REDIRECTED];
        Ok(Packets { all: passed + dropped + forwarded, dropped })
    }

    /// Reads the words of the statistics, of each CPU.
    fn words(&self) -> Result<Vec<[u64; STATS_WORDS]>, EngineError> {
        let map = self.program.statistics()?;
        let values =
            map.get(&0, 0).map_err(|source| LoadError::Map { name: "statistics", source })?;
        Ok(values.iter().copied().collect())
    }

    /// Reads the counters.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn statistics(&mut self) -> Result<Statistics, EngineError> {
        let cpus = self.words()?;
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

    /// Returns the endpoints of the listeners carried that are wanted, with what was counted for each.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn traffic(&mut self, wanted: &EndpointQuery) -> Result<Vec<EndpointTraffic>, EngineError> {
        let mut endpoints = traffic::endpoints(self.planner.plan(), &self.names.config);
        endpoints.retain(|endpoint| wanted.wants(endpoint));
        for endpoint in &mut endpoints {
            endpoint.counters = self.counted(endpoint.endpoint)?;
        }
        Ok(endpoints)
    }

    /// Returns the series of the endpoints of the listeners carried.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn series(&mut self) -> Result<traffic::Series, EngineError> {
        let carried = self.planner.plan().carried.values();
        let all: BTreeSet<SocketAddr> =
            carried.flat_map(|it| it.backends()).map(|backend| backend.address).collect();
        let mut counted = Vec::new();
        for endpoint in all.iter().take(traffic::SERIES_MAX) {
            counted.extend(self.counted(*endpoint)?.map(|counters| (*endpoint, counters)));
        }
        Ok(traffic::series(&counted, all.len() - counted.len()).into())
    }

    /// Returns what was counted for an endpoint; `None` for one without a number.
    fn counted(&mut self, endpoint: SocketAddr) -> Result<Option<TrafficCounters>, EngineError> {
        let Some(number) = self.image.numbers().of(endpoint) else { return Ok(None) };
        let words = self.program.endpoint_counters(number)?;
        Ok(Some(traffic::counters(&words)))
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
