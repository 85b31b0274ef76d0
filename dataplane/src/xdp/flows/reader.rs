//! Owns the reading end of the kernel's ring of events: empties it ten times a second.
//!
//! Parent: the data plane's root supervisor. Restart rule: restart within the budget; what is in
//! the ring stays there. Its death means: nobody is told of flows until the restart, and no packet
//! is the slower for it. Where there is no XDP it looks for the ring once in a while.

use std::{collections::BTreeMap, time::Duration};

use aya::maps::{Map, MapData, MapError, PerCpuArray, RingBuf};
use ebpf_common::{
    event::FlowEvent as Raw,
    layout::{EVENTS_MAP, STATS_MAP, STATS_WORDS, stat},
};
use nix::time::{ClockId, clock_gettime};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::watch;

use super::{
    hub::FlowHub,
    names::FlowNames,
    resolve::{Place, resolve},
};
use crate::xdp::{pins::PinFolder, statistics::sum};

/// Time between looks into the ring.
const PAUSE: Duration = Duration::from_millis(100);
/// Time between looks for a ring that is not there.
const PAUSE_WITHOUT: Duration = Duration::from_secs(2);
/// Events read in a look: more than the ring holds.
const EVENTS_MAX: usize = 16_384;

/// What the actor is told.
#[derive(Debug)]
pub enum FlowsMessage {
    /// Time has passed.
    Look,
}

/// What the actor is started with; the same again after a restart.
#[derive(Clone, Debug)]
pub struct FlowsArguments {
    /// Where the ring is pinned.
    pub pins: PinFolder,
    /// What the numbers in events stand for.
    pub names: watch::Receiver<FlowNames>,
    /// Who hands the events on.
    pub hub: FlowHub,
}

/// The actor.
#[derive(Debug, Default)]
pub struct FlowsActor;

/// The actor's state.
pub struct FlowsState {
    arguments: FlowsArguments,
    ring: Option<Ring>,
    /// What was read in the last look. Names of what has just come into force are there by the next.
    read: Vec<Raw>,
    /// Events that were lost and held back until then, since the look before.
    missed: (u64, u64),
}

/// The kernel's side.
struct Ring {
    events: RingBuf<MapData>,
    statistics: PerCpuArray<MapData, [u64; STATS_WORDS]>,
    /// Events that were lost and held back up to the last look.
    missed: (u64, u64),
}

impl Actor for FlowsActor {
    type Msg = FlowsMessage;
    type State = FlowsState;
    type Arguments = FlowsArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<FlowsMessage>,
        arguments: FlowsArguments,
    ) -> Result<FlowsState, ActorProcessingErr> {
        myself.cast(FlowsMessage::Look)?;
        Ok(FlowsState { arguments, ring: None, read: Vec::new(), missed: (0, 0) })
    }

    async fn handle(
        &self,
        myself: ActorRef<FlowsMessage>,
        message: FlowsMessage,
        state: &mut FlowsState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            FlowsMessage::Look => {
                let pause = state.look();
                // The next look begins after this one, however long it took.
                myself.send_after(pause, || FlowsMessage::Look);
                Ok(())
            }
        }
    }
}

impl FlowsState {
    /// Hands on what was read before and reads what has come; returns when to look again.
    fn look(&mut self) -> Duration {
        self.hand_on();
        if self.ring.is_none() {
            self.ring = Ring::open(&self.arguments.pins).ok();
        }
        let Some(ring) = &mut self.ring else { return PAUSE_WITHOUT };
        ring.read(&mut self.read);
        match ring.missed_since() {
            Ok(missed) => self.missed = missed,
            Err(error) => tracing::warn!(%error, "lost events of flows were not counted"),
        }
        PAUSE
    }

    fn hand_on(&mut self) {
        self.hand_on_events();
        let (lost, held_back) = std::mem::take(&mut self.missed);
        if (lost, held_back) != (0, 0) {
            self.arguments.hub.lost(lost, held_back);
        }
    }

    fn hand_on_events(&mut self) {
        if self.read.is_empty() {
            return;
        }
        let names = self.arguments.names.borrow().clone();
        let mut interfaces = BTreeMap::new();
        for raw in &self.read {
            for index in [raw.ingress, raw.egress] {
                interfaces.entry(index).or_insert_with(|| interface(index));
            }
        }
        let place = Place {
            node: self.arguments.hub.node(),
            clock_offset_us: clock_offset_us(),
            interface: &|index| interfaces.get(&index).cloned().unwrap_or_default(),
        };
        for raw in self.read.drain(..) {
            self.arguments.hub.publish(resolve(&raw, &names, &place));
        }
    }
}

impl Ring {
    fn open(pins: &PinFolder) -> Result<Self, MapError> {
        let events = Map::RingBuf(MapData::from_pin(pins.map(EVENTS_MAP))?);
        let statistics = Map::PerCpuArray(MapData::from_pin(pins.map(STATS_MAP))?);
        let (events, statistics) = (events.try_into()?, statistics.try_into()?);
        let mut ring = Self { events, statistics, missed: (0, 0) };
        // What was missed while nobody looked is told of by metrics alone.
        ring.missed_since()?;
        Ok(ring)
    }

    fn read(&mut self, into: &mut Vec<Raw>) {
        while into.len() < EVENTS_MAX {
            let Some(item) = self.events.next() else { return };
            if let Some(raw) = read_event(&item) {
                into.push(raw);
            }
        }
    }

    fn missed_since(&mut self) -> Result<(u64, u64), MapError> {
        let cpus = self.statistics.get(&0, 0)?;
        let words = sum(&cpus.iter().copied().collect::<Vec<_>>());
        let now = (words[stat::EVENTS_LOST], words[stat::EVENTS_HELD_BACK]);
        let before = std::mem::replace(&mut self.missed, now);
        Ok((now.0.wrapping_sub(before.0), now.1.wrapping_sub(before.1)))
    }
}

/// Reads an event as it lies in the ring; `None` where it is of another length.
#[must_use]
pub fn read_event(bytes: &[u8]) -> Option<Raw> {
    (bytes.len() == size_of::<Raw>())
        // SAFETY: as long as the event, which is integers.
        .then(|| unsafe { bytes.as_ptr().cast::<Raw>().read_unaligned() })
}

/// Names an interface; by its number where it has gone.
#[must_use]
pub fn interface(index: u32) -> String {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer is as long as the call asks for.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return format!("#{index}");
    }
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..length]).into_owned()
}

/// Returns what the zero of the monotonic clock is, in microseconds since 1970.
#[must_use]
pub fn clock_offset_us() -> u64 {
    let now = |clock| {
        let time = clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
        u64::try_from(time.as_micros()).unwrap_or_default()
    };
    now(ClockId::CLOCK_REALTIME).saturating_sub(now(ClockId::CLOCK_MONOTONIC))
}
