//! The engine: holds the program and what it runs, and makes the kernel follow a desired state.
//!
//! All of it blocks (system calls, an RCU grace period per swap); the actor calls it off the
//! runtime's threads.

mod apart;
mod attaching;
mod counters;
mod installing;
mod policies;
mod sharing;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    time::Instant,
};

use ebpf_common::layout::{CONFIG_RECORDS, CONNECTIONS, FLOW_SAMPLING_DEFAULT, FLOWS, VLANS_MAP};
use model::{Revision, shares::LoanId};
use runtime::chain::chain;
use tokio::sync::watch;

pub use self::apart::Likeness;
use super::{
    addresses::{self, Fixed},
    filter::Filter,
    flows::FlowNames,
    generation::{Generations, InstallError},
    image::{Image, forwarding_of},
    mapping::Mapping,
    neighbours::Neighbours,
    numbers::Numbers,
    pace::Pace,
    pins::{PinFolder, PinsError},
    plan::{Frontend, L4Plan, NodeView},
    planner::Planner,
    program::{LoadError, Mode, Program, Sizes},
    qos::{kernel::LimiterMaps, meter::Meter, shares::ShareMeter},
    record,
    slots::Slots,
    ticks,
    vlans::Vlans,
};
use crate::{
    afxdp::{crew::Crew, priority::Priority},
    desired::Desired,
};

/// What an engine works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The interfaces: those that clients come in by and those that endpoints answer by.
    pub interfaces: Vec<String>,
    /// Where maps and links are pinned.
    pub pins: PinFolder,
    /// What the operator fixes of the node's addresses.
    pub addresses: Fixed,
    /// Flows that the table of flows has room for; rounded up to a power of two.
    pub flows: u32,
    /// Connections with full NAT that their table has room for; rounded up to a power of two.
    pub connections: u32,
    /// Of how many packets one is told of; 0 when only what is told of anyway is.
    pub sampling: u32,
    /// The priority of workers, in which packets wait.
    pub worker_priority: Priority,
    /// Records that the configuration's map has at first; it grows with the configuration.
    pub records: u32,
}

impl Settings {
    /// Settings with nothing but what has no default.
    #[must_use]
    pub fn new(interfaces: Vec<String>, pins: PinFolder) -> Self {
        Self {
            interfaces,
            pins,
            addresses: Fixed::default(),
            flows: FLOWS,
            connections: CONNECTIONS,
            sampling: FLOW_SAMPLING_DEFAULT,
            worker_priority: Priority::default(),
            records: CONFIG_RECORDS as u32,
        }
    }
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
    Addresses(#[source] io::Error),
    /// The kernel's tick rate could not be read.
    #[error("the kernel's tick rate could not be read")]
    Ticks(#[source] io::Error),
    /// The number of CPUs could not be read.
    #[error("the number of CPUs could not be read")]
    Cpus(#[source] io::Error),
    /// The interfaces of VLANs could not be read.
    #[error("the interfaces of VLANs could not be read")]
    Vlans(#[source] io::Error),
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
    planner: Planner,
    slots: Slots,
    filter: Filter,
    /// Why the filter that is desired is not in force.
    unfiltered: Option<String>,
    image: Image,
    /// The endpoints by their numbers.
    endpoints: Mapping,
    limiters: LimiterMaps,
    share_meter: ShareMeter,
    /// The loan that was heard of last, and the one whose shares are in force.
    loan_heard: Option<LoanId>,
    loan_kept: Option<LoanId>,
    crew: Crew,
    meter: Meter<policies::MeterKey>,
    generations: Generations,
    /// Frontends of which the image lacks what the plan says.
    behind: BTreeSet<Frontend>,
    neighbours: Neighbours,
    vlans: Vlans,
    /// Whether it is in no interface: apart from the one that runs.
    apart: bool,
    /// What the numbers in events of flows stand for, and who is told.
    names: FlowNames,
    named: watch::Sender<FlowNames>,
    attachments: BTreeMap<String, Attachment>,
    /// Addresses that are announced, by whichever node.
    announced: BTreeSet<IpAddr>,
    /// What is in force; `None` until this process has put something in force.
    running: Option<Revision>,
    generation: u64,
    /// Why there are no workers.
    unstaffed: Option<String>,
    /// What was said of the workers last.
    told: Vec<String>,
}

impl Engine {
    /// Loads the program and takes over what an earlier process left: connections, counters,
    /// links, and the generation in force, which goes on until the first [`Self::reconcile`].
    ///
    /// # Errors
    /// Returns what the host or the kernel refused.
    pub fn open(settings: Settings) -> Result<Self, EngineError> {
        let program = Program::load(
            settings.pins.clone(),
            Sizes::new(settings.flows, settings.connections),
            settings.sampling,
            settings.records,
        )?;
        Self::with(settings, program)
    }

    fn with(settings: Settings, program: Program) -> Result<Self, EngineError> {
        let generations = program.generations()?;
        let records = generations.records();
        let header = records.first().map(record::to_header).unwrap_or_default();
        let generation = header.generation;
        let mut names = FlowNames::default();
        names.set_generation(generation, Revision(header.revision));
        let now = Instant::now();
        let left = record::read_slots(records);
        let slots = Slots::restored(left.iter().map(|(slot, _)| *slot), now);
        let endpoints = program.endpoints()?;
        let limiters = LimiterMaps::new(&program)?;
        let mut image = Image::default();
        let pace = Pace {
            ticks_per_s: ticks::per_second().map_err(EngineError::Ticks)?,
            cpus: aya::util::nr_cpus().map_err(|(_, error)| EngineError::Cpus(error))? as u32,
        };
        image.treatments().set_pace(pace);
        let crew = Crew::new(program.shared_words()?, pace.ticks_per_s, settings.worker_priority);
        for (slot, entry) in &left {
            if slots.get(&slot.frontend) == Some(slot.slot) {
                image.put_left(slot, forwarding_of(entry));
                let number = entry.treatment.limiter;
                image.treatments().limiters().restore(slot.frontend, number);
            }
        }
        image.set_numbers(Numbers::restored(record::read_numbers(endpoints.records()), now));
        let behind = slots.frontends().collect();
        let mut engine = Self {
            settings,
            program,
            planner: Planner::default(),
            slots,
            filter: Filter::new(pace),
            unfiltered: None,
            image,
            endpoints,
            limiters,
            share_meter: ShareMeter::default(),
            loan_heard: None,
            loan_kept: None,
            crew,
            meter: Meter::default(),
            generations,
            behind,
            neighbours: Neighbours::new(),
            apart: false,
            vlans: Vlans::default(),
            names,
            named: watch::Sender::default(),
            attachments: BTreeMap::new(),
            announced: BTreeSet::new(),
            running: None,
            generation,
            unstaffed: None,
            told: Vec::new(),
        };
        engine.ways_changed()?;
        Ok(engine)
    }

    /// Tells somebody, from now on, what the numbers in events of flows stand for.
    pub fn tell_names_to(&mut self, named: watch::Sender<FlowNames>) {
        self.named = named;
    }

    /// Makes the kernel run the desired state; does nothing where it already does.
    ///
    /// # Errors
    /// Returns what was refused; what ran before still runs.
    pub fn reconcile(&mut self, desired: &Desired) -> Result<L4Plan, EngineError> {
        self.reconcile_at(desired, Instant::now())
    }

    /// [`Self::reconcile`] at a time that does not go back from one call to the next.
    ///
    /// # Errors
    /// Returns what was refused; what ran before still runs.
    pub fn reconcile_at(&mut self, desired: &Desired, now: Instant) -> Result<L4Plan, EngineError> {
        self.announced = model::announce::wanted(&desired.config);
        let node = self.read_addresses().map_err(EngineError::Addresses)?;
        let touched = self.planner.update(&desired.config, &desired.unhealthy, &node, now);
        // Before the first packets, so that they find the way.
        if !self.apart {
            self.neighbours.resolve_new(&self.endpoint_addresses(&touched));
        }
        self.behind.extend(touched);
        self.image.set_node(&node);
        // Before the services, so that none is served unfiltered.
        let filtered = self.filter.follow(&desired.config, &mut self.program);
        self.unfiltered = filtered.err().map(|error| chain(&error));
        self.names.config = desired.config.clone();
        if let Some(filter) = self.filter.take_names() {
            self.names.set_filter(filter);
        }
        self.draw(now)?;
        self.named.send_replace(self.names.clone());
        self.shape_both();
        if self.running.is_none() || self.image.is_changed() {
            self.swap()?;
        } else if self.is_tight() {
            self.enlarge()?;
        }
        self.running = Some(self.planner.plan().revision);
        self.loan_kept = self.loan_heard;
        self.attach();
        self.staff();
        Ok(self.planner.plan().clone())
    }

    /// Brings the image in line with the plan.
    fn draw(&mut self, now: Instant) -> Result<(), EngineError> {
        let carried = &self.planner.plan().carried;
        let (wanted, gone): (Vec<Frontend>, Vec<Frontend>) =
            self.behind.iter().partition(|frontend| carried.contains_key(*frontend));
        for frontend in gone {
            if let Some(slot) = self.slots.drain(frontend, now) {
                self.image.put(frontend, slot, None, now);
            }
            self.behind.remove(&frontend);
        }
        for frontend in self.slots.release_drained(now) {
            self.image.remove(&frontend, now);
        }
        for frontend in wanted {
            let taken = self.slots.take(frontend);
            if let Some(evicted) = taken.evicted {
                self.image.remove(&evicted, now);
            }
            if taken.fresh {
                self.program.clear_counters(taken.slot)?;
            }
            self.names.set_slot(taken.slot, carried[&frontend].clone());
            self.image.put(frontend, taken.slot, Some(carried[&frontend].clone()), now);
            self.behind.remove(&frontend);
        }
        self.image.forget_before(now);
        // Before the configuration that names them is in force.
        for (number, address) in self.image.numbers().take_news() {
            self.program.clear_endpoint(number)?;
            self.endpoints.set(number.into(), &record::endpoint_record(address));
        }
        let numbers = self.image.treatments().limiters().take_news();
        self.limiters.begin(&mut self.program, numbers)?;
        Ok(())
    }

    /// Returns how each interface stands.
    #[must_use]
    pub fn attachments(&self) -> &BTreeMap<String, Attachment> {
        &self.attachments
    }

    /// Returns why the packet filter that is desired is not in force; the one before still is.
    #[must_use]
    pub fn unfiltered(&self) -> Option<&str> {
        self.unfiltered.as_deref()
    }

    /// Returns the revision in force; `None` until this process has put one in force.
    #[must_use]
    pub fn running(&self) -> Option<Revision> {
        self.running
    }

    /// Returns the generation in force.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Makes the program look next hops up again, since routes, links or neighbours have changed.
    ///
    /// # Errors
    /// Returns what was refused; then packets to VLANs go by what was known of these before.
    pub fn ways_changed(&mut self) -> Result<(), EngineError> {
        let followed = self.follow_vlans();
        // Behind the VLANs, so that who looks up finds them, and also where they are not known.
        self.generations.count_ways();
        followed
    }

    fn follow_vlans(&mut self) -> Result<(), EngineError> {
        let vlans = Vlans::read().map_err(EngineError::Vlans)?;
        if vlans != self.vlans {
            let written = vlans.write(self.program.vlans()?);
            written.map_err(|source| LoadError::Map { name: VLANS_MAP, source })?;
            if !vlans.is_empty() {
                self.program.take_vlans()?;
            }
            self.vlans = vlans;
        }
        Ok(())
    }

    fn read_addresses(&self) -> io::Result<NodeView> {
        let own = self.vlans.with_those_on(&self.settings.interfaces);
        addresses::read(&own, self.settings.addresses, &self.announced)
    }

    /// Keeps the endpoints' link addresses known.
    pub fn resolve_neighbours(&mut self) {
        let all = self.planner.plan().carried.keys().copied().collect();
        let addresses = self.endpoint_addresses(&all);
        self.neighbours.resolve_in_turn(&addresses);
    }

    /// Returns when an endpoint that starts slowly is due to get more: a [`Self::reconcile`].
    #[must_use]
    pub fn next_step(&self) -> Option<Instant> {
        self.planner.starts().next_step()
    }

    /// Tells whether something besides the desired state calls for a [`Self::reconcile`]: an
    /// address of the node, an interface, a drain time that has ended, a map with little room, or
    /// workers that stand otherwise than was said.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.read_addresses().is_ok_and(|node| node != *self.planner.node())
            || self.is_tight()
            || self.told != self.problems()
            || self.settings.interfaces.iter().any(|name| !self.program.is_attached(name))
            || [self.slots.next_release(), self.image.next_forgetting(), self.next_step()]
                .into_iter()
                .flatten()
                .any(|at| at <= Instant::now())
    }

    /// Returns the loaded program, for test runs.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    fn endpoint_addresses(&self, frontends: &BTreeSet<Frontend>) -> BTreeSet<IpAddr> {
        let carried = &self.planner.plan().carried;
        frontends
            .iter()
            .filter_map(|frontend| carried.get(frontend))
            .flat_map(|carried| carried.backends())
            .map(|backend| backend.address.ip())
            .collect()
    }
}
