//! The program with maps of its own, which nobody else uses and nobody pins.

use std::{collections::BTreeSet, os::fd::AsFd as _};

use aya::{
    maps::{MapData, MapError, RingBuf},
    programs::{ProgramError, TestRun as _, TestRunOptions},
};
use ebpf_common::{
    claims::Spot,
    event::{FlowEvent, verdict},
    filter::FILTER_SLOTS,
    hash,
    icmp::parse_error,
    layout::{
        CLAIMS_MAP, CONFIG_MAP, CONNECTIONS_MAP, EVENTS_MAP, FLOWS_MAP, HANDSHAKES_MAP, Tuple,
        VLANS_MAP,
    },
    parse::{family, parse},
};

use crate::{
    desired::Desired,
    xdp::{
        bpf,
        engine::{Engine, EngineError, Likeness},
        flows::{FlowNames, reader::read_event},
        program::{LoadError, Program},
    },
};

/// Room for the outer headers that a frame may get, and more.
const ROOM: usize = 256;

/// Tells why the program could not be run apart.
#[derive(Debug, thiserror::Error)]
pub enum ApartError {
    /// It could not be loaded, or a map of it not be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The packet filter's tables could not be lent to it.
    #[error("the packet filter's maps")]
    Filter(#[source] std::io::Error),
    /// The kernel did not run it.
    #[error("the kernel did not run the program on the frame")]
    Run(#[source] Box<ProgramError>),
    /// The map that runs was replaced by a larger one meanwhile.
    #[error("the configuration has just outgrown its map: ask again")]
    Larger,
    /// It left no event.
    #[error("the program told nothing of the frame")]
    Silent,
}

/// The program apart.
pub struct Apart {
    program: Program,
    ring: RingBuf<MapData>,
    names: FlowNames,
    /// The generation that was copied last.
    generation: u64,
    /// Slots of the packet filter that have a map.
    slots: BTreeSet<u32>,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What the program told of it.
    pub event: FlowEvent,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
}

impl Run {
    /// Returns the frame that would leave, where one would.
    #[must_use]
    pub fn sent(&self) -> Option<&[u8]> {
        (self.event.verdict >= verdict::TRANSMIT).then_some(self.frame.as_slice())
    }
}

impl Apart {
    /// Loads the program with maps as long as those that run.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn like(likeness: &Likeness) -> Result<Self, ApartError> {
        let Likeness { sizes, records, .. } = likeness;
        Ok(Self::with(Program::apart(*sizes, *records)?, FlowNames::default())?)
    }

    /// Loads the program, and makes it run a configuration.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn of(likeness: &Likeness, desired: &Desired) -> Result<Self, EngineError> {
        let mut engine = Engine::apart(likeness)?;
        engine.reconcile(desired)?;
        let (program, names) = engine.into_parts();
        Ok(Self::with(program, names)?)
    }

    fn with(mut program: Program, names: FlowNames) -> Result<Self, LoadError> {
        let ring = program.take_map(EVENTS_MAP)?.try_into().map_err(failed(EVENTS_MAP))?;
        Ok(Self { program, ring, names, generation: 0, slots: BTreeSet::new() })
    }

    /// Returns what the numbers in its events stand for.
    #[must_use]
    pub fn names(&self) -> &FlowNames {
        &self.names
    }

    /// Copies all that decides what becomes of a frame: the generation in force, the packet filter,
    /// limits, connections, and the flow.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn follow(&mut self, live: &mut Engine, frame: &[u8]) -> Result<(), ApartError> {
        if self.generation != live.generation()
            || self.names.config.revision() != live.names().config.revision()
        {
            if live.likeness().records as usize != self.program.mapping(CONFIG_MAP)?.len() {
                return Err(ApartError::Larger);
            }
            self.copy_words(live, CONFIG_MAP)?;
            let from = live.program().endpoints()?;
            self.program.endpoints()?.fill(0, from.records());
            self.lend_filter(live)?;
            self.copy_vlans(live)?;
            self.generation = live.generation();
            self.names = live.names().clone();
        }
        self.copy_words(live, CLAIMS_MAP)?;
        self.copy_words(live, CONNECTIONS_MAP)?;
        let shakes = live.program().handshakes()?.get(&0, 0).map_err(failed(HANDSHAKES_MAP))?;
        self.program.handshakes()?.set(0, shakes, 0).map_err(failed(HANDSHAKES_MAP))?;
        let spent = live.program().spent()?;
        self.program.spent()?.fill(0, spent.records());
        if let Some(tuple) = tuple_of(frame) {
            self.copy_flows(live, hash::flow(&tuple))?;
        }
        Ok(())
    }

    fn copy_words(&mut self, live: &mut Engine, name: &'static str) -> Result<(), LoadError> {
        let from = live.program().mapping(name)?;
        self.program.mapping(name)?.fill(0, from.records());
        Ok(())
    }

    fn copy_vlans(&mut self, live: &Engine) -> Result<(), LoadError> {
        live.vlans().write(self.program.vlans()?).map_err(failed(VLANS_MAP))?;
        if live.vlans().is_empty() { Ok(()) } else { self.program.take_vlans() }
    }

    /// Copies a bucket of the table of flows.
    fn copy_flows(&mut self, live: &mut Engine, flow: u64) -> Result<(), LoadError> {
        let bucket = flow as u32 & (self.program.sizes().flow_buckets - 1);
        let flows = live.program().flows()?.get(&bucket, 0).map_err(failed(FLOWS_MAP))?;
        self.program.flows()?.set(bucket, flows, 0).map_err(failed(FLOWS_MAP))
    }

    /// Puts the maps of the filter in force, which programs only read, into the slots here.
    fn lend_filter(&mut self, live: &mut Engine) -> Result<(), ApartError> {
        let from = live.program().filter()?;
        for slot in 0..FILTER_SLOTS as u32 {
            let to = self.program.filter_fd()?;
            match from.get(&slot, 0) {
                Ok(map) => {
                    bpf::put_map(to, slot, map.fd().as_fd()).map_err(ApartError::Filter)?;
                    self.slots.insert(slot);
                }
                Err(MapError::KeyNotFound) => {
                    if self.slots.remove(&slot) {
                        bpf::empty_slot(to, slot).map_err(ApartError::Filter)?;
                    }
                }
                Err(error) => {
                    return Err(ApartError::Filter(std::io::Error::other(error)));
                }
            }
        }
        Ok(())
    }

    /// Tells whether a frame's flow has an entry: as a connection with full NAT, or a direct flow.
    #[must_use]
    pub fn knows(&mut self, frame: &[u8]) -> bool {
        let Some(tuple) = tuple_of(frame) else { return false };
        self.knows_connection(&tuple) || self.knows_flow(&tuple)
    }

    fn knows_connection(&self, tuple: &Tuple) -> bool {
        let Ok(claims) = self.program.mapping(CLAIMS_MAP) else { return false };
        let Ok(places) = self.program.connections() else { return false };
        let Ok(seed) = self.program.seed() else { return false };
        let hash = hash::connection(tuple, seed);
        let spot = Spot::of(hash, claims.len() as u32 - 1);
        [spot.first, spot.second].into_iter().any(|bucket| {
            let first = (bucket * ebpf_common::claims::PLACES) as usize;
            let all = first..first + ebpf_common::claims::PLACES as usize;
            places.get(all).is_some_and(|found| found.iter().any(|it| it.key.same(tuple)))
        })
    }

    fn knows_flow(&mut self, tuple: &Tuple) -> bool {
        let flow = hash::flow(tuple);
        let tag = ebpf_common::flows::tag(flow);
        let bucket = flow as u32 & (self.program.sizes().flow_buckets - 1);
        let found = self.program.flows().ok().and_then(|flows| flows.get(&bucket, 0).ok());
        found.is_some_and(|flows| {
            flows.iter().any(|word| {
                let flow = ebpf_common::layout::Flow(*word);
                flow.endpoint() != 0 && flow.tag() == tag
            })
        })
    }

    /// Runs the program on a frame that came in by an interface.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn run(&mut self, frame: &[u8], ifindex: u32) -> Result<Run, ApartError> {
        self.program.clear_statistics()?;
        while self.ring.next().is_some() {}
        let mut out = vec![0; frame.len() + ROOM];
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress.
        let context: Vec<u8> = [0, frame.len() as u32, 0, ifindex, 0, 0]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            repeat: 1,
            ..TestRunOptions::default()
        };
        let result = self.program.xdp().test_run(options);
        let result = result.map_err(|error| ApartError::Run(Box::new(error)))?;
        out.truncate(result.data_size_out as usize);
        let event =
            self.ring.next().and_then(|item| read_event(&item)).ok_or(ApartError::Silent)?;
        Ok(Run { event, frame: out })
    }
}

/// Reads the flow of a frame, or the one that the ICMP error in it is about.
pub(super) fn tuple_of(frame: &[u8]) -> Option<Tuple> {
    // Behind a VLAN tag, the frame begins with what are not its addresses, which nobody looks at.
    let frame = if frame.get(12..14) == Some(&[0x81, 0]) { &frame[4..] } else { frame };
    let range = frame.as_ptr_range();
    let (start, end) = (range.start as usize, range.end as usize);
    // SAFETY: the bounds of a slice.
    let packet = unsafe {
        let family = family(start, end).ok()?;
        parse(start, end, family).or_else(|_| parse_error(start, end, family))
    };
    packet.ok().map(|packet| packet.tuple)
}

fn failed(name: &'static str) -> impl Fn(MapError) -> LoadError {
    move |source| LoadError::Map { name, source }
}
