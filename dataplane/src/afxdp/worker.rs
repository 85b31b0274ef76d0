//! A worker: takes the packets that XDP hands over at a queue, and sends each when its turn comes.
//!
//! One round: receive, schedule, send, tell XDP how many have come out. XDP sends all packets of a
//! limiter here as long as some wait, so these are counted out only after they have left: the next
//! one may go by itself then.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ebpf_common::qos::{
    LIMITER_WAYS,
    wait::{TICKET, Ticket},
};

use super::{
    clock::Clock,
    io::{Frame as _, PacketIo},
    mark::mark,
    scheduler::{Next, Scheduler},
    shape::Shape,
    tally::Tally,
    words::{Held, SharedWords},
};

/// Packets of a round, so that XDP is told soon.
const ROUND: usize = 64;
/// The longest pause, after which a worker looks at what it was told.
const PAUSE: Duration = Duration::from_millis(50);
/// Time between looks at what is to be told to others.
const TELL: Duration = Duration::from_millis(200);
/// Time that a window of sojourns takes: two of them are what quantiles are about.
const WINDOW: Duration = Duration::from_secs(15);

/// How packets wait, for all workers; newest wins.
#[derive(Debug, Default)]
pub struct Orders {
    generation: AtomicU64,
    shapes: Mutex<Arc<BTreeMap<u32, Shape>>>,
}

impl Orders {
    /// Gives new orders; tells whether they differ.
    pub fn give(&self, shapes: BTreeMap<u32, Shape>) -> bool {
        let mut current = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
        if **current == shapes {
            return false;
        }
        *current = Arc::new(shapes);
        self.generation.fetch_add(1, Ordering::Release);
        true
    }

    /// Returns the orders.
    #[must_use]
    pub fn get(&self) -> Arc<BTreeMap<u32, Shape>> {
        self.shapes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// What a worker shares with others.
#[derive(Clone, Debug)]
pub struct Shared {
    /// How packets wait.
    pub orders: Arc<Orders>,
    /// The limiters' words.
    pub words: Arc<SharedWords>,
    /// What it holds.
    pub held: Arc<Held>,
    /// What it has done.
    pub tally: Arc<Mutex<Tally>>,
    /// Set when it is to end.
    pub stop: Arc<AtomicBool>,
}

/// A packet that waits.
struct Parcel<F> {
    frame: F,
    ifindex: u32,
    bytes: u16,
}

/// A worker at its queue.
pub struct Worker<I: PacketIo> {
    shared: Shared,
    clock: Clock,
    start: Instant,
    scheduler: Scheduler<Parcel<I::Frame>>,
    followed: Option<u64>,
    /// Packets that have come out, by lane, of which XDP is not told yet.
    finished: BTreeMap<u32, u32>,
    tally: Tally,
    told: Instant,
    turned: Instant,
    received: Vec<I::Frame>,
    /// Last, since the packets' memory is its own.
    io: I,
}

impl<I: PacketIo> Worker<I> {
    /// A worker for packets of which `capacity` may wait.
    pub fn new(io: I, shared: Shared, ticks_per_s: u32, capacity: usize) -> Self {
        let start = Instant::now();
        let tally = shared.tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self {
            shared,
            clock: Clock::new(ticks_per_s),
            start,
            scheduler: Scheduler::new(capacity),
            followed: None,
            finished: BTreeMap::new(),
            tally,
            told: start,
            turned: start,
            received: Vec::with_capacity(ROUND),
            io,
        }
    }

    /// Works until told to stop. What waits then is dropped.
    pub fn run(mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            let pause = self.round();
            if !pause.is_zero() {
                self.io.wait(pause);
            }
        }
        self.followed = Some(self.shared.orders.generation());
        self.scheduler.reshape(&BTreeMap::new());
        while self.scheduler.waiting() > 0 {
            self.round();
        }
    }

    /// Makes a round; returns how long nothing is to be done.
    fn round(&mut self) -> Duration {
        self.follow();
        let came = self.receive();
        let until = self.send();
        if self.io.kick() {
            for (lane, packets) in std::mem::take(&mut self.finished) {
                self.shared.words.finish(lane, packets.into());
                self.shared.held.remove(lane, packets);
            }
        }
        self.io.fill();
        self.tell();
        match until {
            _ if came > 0 || !self.finished.is_empty() => Duration::ZERO,
            Some(until) => Duration::from_nanos(until.saturating_sub(self.now())).min(PAUSE),
            None => PAUSE,
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn follow(&mut self) {
        let generation = self.shared.orders.generation();
        if self.followed != Some(generation) {
            self.scheduler.reshape(&self.shared.orders.get());
            self.followed = Some(generation);
        }
    }

    /// Takes in what has come; returns how many that were.
    fn receive(&mut self) -> usize {
        self.io.receive(&mut self.received, ROUND);
        let (came, now) = (self.received.len(), self.now());
        for mut frame in self.received.drain(..) {
            // XDP writes it; a frame that is too short for one is nobody's.
            let ticket = Ticket::read(frame.bytes());
            let Some(ticket) = ticket.filter(|ticket| usize::from(ticket.entry) < LIMITER_WAYS)
            else {
                self.io.recycle(frame);
                continue;
            };
            frame.trim_front(TICKET);
            self.clock.saw(ticket.ticks, now);
            let lane = u32::from(ticket.entry);
            self.shared.held.add(lane);
            let bytes = ticket.length;
            let parcel = Parcel { frame, ifindex: ticket.ifindex, bytes };
            if let Err((parcel, cause)) = self.scheduler.push(lane, parcel, bytes.into(), now) {
                self.tally.lanes.entry(lane).or_default().dropped[cause as usize] += 1;
                *self.finished.entry(lane).or_default() += 1;
                self.io.recycle(parcel.frame);
            }
        }
        came
    }

    /// Sends what may go; returns until when nothing does, now where there may be more.
    fn send(&mut self) -> Option<u64> {
        let now = self.now();
        for _ in 0..ROUND {
            match self.scheduler.pull(now, &self.clock, &*self.shared.words) {
                Next::Send { lane, mut packet, mark: wanted } => {
                    let tally = self.tally.lanes.entry(lane).or_default();
                    tally.marked += u64::from(wanted && mark(packet.frame.bytes_mut()));
                    tally.sent += 1;
                    tally.sent_bytes += u64::from(packet.bytes);
                    self.io.send(packet.frame, packet.ifindex);
                    *self.finished.entry(lane).or_default() += 1;
                }
                Next::Drop { lane, packet, cause } => {
                    self.tally.lanes.entry(lane).or_default().dropped[cause as usize] += 1;
                    self.io.recycle(packet.frame);
                    *self.finished.entry(lane).or_default() += 1;
                }
                Next::Wait { until } => return until,
            }
        }
        Some(now)
    }

    fn tell(&mut self) {
        if self.told.elapsed() < TELL {
            return;
        }
        self.told = Instant::now();
        for lane in self.tally.lanes.values_mut() {
            lane.waiting = 0;
        }
        for (lane, depth) in self.scheduler.depths() {
            self.tally.lanes.entry(lane).or_default().waiting = depth as u64;
        }
        if self.turned.elapsed() >= WINDOW {
            self.turned = self.told;
            self.tally.turn();
        }
        let fresh = self.scheduler.take_sojourns();
        for (running, fresh) in self.tally.sojourns[1].iter_mut().zip(&fresh) {
            running.merge(fresh);
        }
        let lost = self.io.lost();
        self.tally.lost = lost.received;
        self.tally.unsent = lost.sent;
        *self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner) = self.tally.clone();
    }
}
