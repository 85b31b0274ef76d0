//! The engine: holds the program and what it runs, and makes the kernel follow a desired state.
//!
//! All of it blocks (system calls, an RCU grace period per swap); the actor calls it off the
//! runtime's threads.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Instant,
};

use ebpf_common::layout::{COUNTER_WORDS, STATS_WORDS, stat};
use model::{ObjectKey, Revision};

use super::{
    addresses::{self, Fixed},
    generation::{self, InstallError},
    neighbours::Neighbours,
    pins::{PinFolder, PinsError},
    plan::{Frontend, L4Plan, NodeView, plan},
    program::{LoadError, Mode, Program},
    slots::{Slot, Slots},
    statistics::{ListenerCounters, Statistics, sum},
    table::{self, MaglevCache},
};
use crate::desired::Desired;

/// What an engine works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The interfaces: those that clients come in by and those that endpoints answer by.
    pub interfaces: Vec<String>,
    /// Where maps and links are pinned.
    pub pins: PinFolder,
    /// What the operator fixes of the node's addresses.
    pub addresses: Fixed,
}

/// Tells why the kernel does not run what is desired.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The program is not in the kernel.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The configuration was not put in force; the one before still is.
    #[error("the configuration was not put in force")]
    Install(#[from] InstallError),
    /// The node's addresses could not be read.
    #[error("the node's addresses could not be read")]
    Addresses(#[source] std::io::Error),
    /// Pins of another time could not be removed.
    #[error(transparent)]
    Pins(#[from] PinsError),
}

/// How an interface stands.
pub type Attachment = Result<Mode, String>;

/// The program with what it runs.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    program: Program,
    node: NodeView,
    slots: Slots,
    cache: MaglevCache,
    neighbours: Neighbours,
    attachments: BTreeMap<String, Attachment>,
    running: Option<Running>,
    generation: u64,
}

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Running {
    plan: L4Plan,
    slots: Vec<Slot>,
    node: NodeView,
    revision: Revision,
}

impl Engine {
    /// Loads the program and takes over what an earlier process left: connections, counters,
    /// links, and the generation in force, which goes on until the first [`Self::reconcile`].
    ///
    /// # Errors
    /// Returns what the host or the kernel refused.
    pub fn open(settings: Settings) -> Result<Self, EngineError> {
        let mut program = Program::load(settings.pins.clone())?;
        let left = generation::read(&program.config()?)?.unwrap_or_default();
        let generation = left.first().map_or(0, |record| table::read_header(record).generation);
        let slots = Slots::restored(table::read_slots(&left), Instant::now());
        Ok(Self {
            settings,
            program,
            node: NodeView::default(),
            slots,
            cache: MaglevCache::default(),
            neighbours: Neighbours::new(),
            attachments: BTreeMap::new(),
            running: None,
            generation,
        })
    }

    /// Makes the kernel run the desired state; does nothing where it already does.
    ///
    /// # Errors
    /// Returns what was refused; what ran before still runs.
    pub fn reconcile(&mut self, desired: &Desired) -> Result<L4Plan, EngineError> {
        self.node = addresses::read(&self.settings.interfaces, self.settings.addresses)
            .map_err(EngineError::Addresses)?;
        let plan = plan(&desired.config, &desired.unhealthy, &self.node);
        let (slots, fresh) = self.slots.assign(&plan, Instant::now());
        let wanted = Running {
            plan: L4Plan { revision: Revision::ZERO, ..plan.clone() },
            slots,
            node: self.node.clone(),
            revision: plan.revision,
        };
        let same = self.running.as_ref().is_some_and(|running| {
            running.plan.carried == wanted.plan.carried
                && running.slots == wanted.slots
                && running.node == wanted.node
        });
        if !same {
            self.swap(&plan, &wanted, &fresh)?;
        }
        self.running = Some(wanted);
        self.attach();
        Ok(plan)
    }

    fn swap(&mut self, plan: &L4Plan, wanted: &Running, fresh: &[u32]) -> Result<(), EngineError> {
        // Before the first packets, so that they find the way.
        self.neighbours.resolve(&endpoint_addresses(plan));
        {
            let mut counters = self.program.counters()?;
            let cpus = aya::util::nr_cpus().map_err(|(_, error)| EngineError::Addresses(error))?;
            for slot in fresh {
                let zero = aya::maps::PerCpuValues::try_from(vec![[0u64; COUNTER_WORDS]; cpus])
                    .map_err(EngineError::Addresses)?;
                counters
                    .set(*slot, zero, 0)
                    .map_err(|source| LoadError::Map { name: "counters", source })?;
            }
        }
        let mut records = table::build(plan, &wanted.slots, &wanted.node, &mut self.cache);
        let generation = self.generation + 1;
        table::stamp(&mut records, generation);
        generation::install(&mut self.program.config()?, &records)?;
        self.generation = generation;
        tracing::debug!(generation, revision = %plan.revision, records = records.len(), "XDP maps swapped");
        Ok(())
    }

    /// Attaches the program where it is not attached, once a configuration is in force.
    fn attach(&mut self) {
        for interface in &self.settings.interfaces {
            if self.program.is_attached(interface)
                && matches!(self.attachments.get(interface), Some(Ok(_)))
            {
                continue;
            }
            let attachment = self.program.attach(interface).map_err(|error| error.to_string());
            if self.attachments.get(interface) != Some(&attachment) {
                match &attachment {
                    Ok(mode) => tracing::info!(%interface, %mode, "XDP attached"),
                    Err(reason) => tracing::warn!(%interface, %reason, "XDP not attached"),
                }
            }
            self.attachments.insert(interface.clone(), attachment);
        }
        let tidied = self
            .settings
            .pins
            .remove_other_layouts()
            .and_then(|_| self.settings.pins.remove_other_links(&self.settings.interfaces));
        if let Err(error) = tidied {
            tracing::warn!(%error, "pins of another time were not removed");
        }
    }

    /// Returns how each interface stands.
    #[must_use]
    pub fn attachments(&self) -> &BTreeMap<String, Attachment> {
        &self.attachments
    }

    /// Returns the generation in force.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Keeps the endpoints' link addresses known.
    pub fn resolve_neighbours(&mut self) {
        if let Some(running) = &self.running {
            self.neighbours.resolve(&endpoint_addresses(&running.plan));
        }
    }

    /// Tells whether something besides the desired state calls for a [`Self::reconcile`]: an
    /// address of the node, an interface, or a drain time that has ended.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let addresses = addresses::read(&self.settings.interfaces, self.settings.addresses);
        addresses.is_ok_and(|node| node != self.node)
            || self.settings.interfaces.iter().any(|name| !self.program.is_attached(name))
            || self.slots.next_release().is_some_and(|at| at <= Instant::now())
    }

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
        let names: BTreeMap<Frontend, ObjectKey> = self
            .running
            .iter()
            .flat_map(|running| &running.plan.carried)
            .map(|carried| (carried.frontend, carried.listener.clone()))
            .collect();
        let slots = self.running.as_ref().map(|running| running.slots.clone()).unwrap_or_default();
        let counters = self.program.counters()?;
        let mut listeners = Vec::with_capacity(names.len());
        for slot in slots {
            let Some(listener) = names.get(&slot.frontend) else { continue };
            let values = counters
                .get(&slot.slot, 0)
                .map_err(|source| LoadError::Map { name: "counters", source })?;
            let words = sum(&values.iter().copied().collect::<Vec<_>>());
            listeners.push(ListenerCounters { listener: listener.to_string(), words });
        }
        Ok(Statistics {
            generation: self.generation,
            revision: self.running.as_ref().map_or(0, |running| running.revision.0),
            generations_seen: cpus.iter().map(|cpu| cpu[stat::GENERATION]).collect(),
            words: sum(&cpus),
            listeners,
            interfaces: self
                .attachments
                .iter()
                .map(|(name, attachment)| {
                    (name.clone(), attachment.as_ref().map_or("none", Mode::name))
                })
                .collect(),
        })
    }

    /// Returns the loaded program, for test runs.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }
}

fn endpoint_addresses(plan: &L4Plan) -> BTreeSet<IpAddr> {
    plan.carried
        .iter()
        .flat_map(|carried| carried.v4.iter().chain(&carried.v6))
        .map(|backend| backend.address.ip())
        .collect()
}
