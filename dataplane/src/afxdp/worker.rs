//! A worker: takes the packets that XDP hands over at a queue, and sends each when its turn comes.
//!
//! One round: receive, schedule, send, tell XDP how many have come out and which lanes are full. XDP
//! sends all packets of a limiter here as long as some wait, so these are counted out only after they
//! have left: the next one may go by itself then. Rounds are as large as there is work: system calls
//! are made for many packets at once, and while something is due soon, packets that come don't wake
//! the worker.

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
    bucket::FRACTION,
    wait::{TICKET, Ticket},
};

use super::{
    clock::Clock,
    gates::Gates,
    io::{Frame as _, PacketIo},
    mark::mark,
    scheduler::{Next, Scheduler},
    shape::Shape,
    tally::Tally,
    words::{Held, QueueGates, SharedWords},
};

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;
/// Packets of a round, so that XDP is told soon.
const ROUND: usize = 64;
/// The longest pause, after which a worker looks at what it was told.
const PAUSE: u64 = 50_000_000;
/// The pause of a worker whose next packet is due soon: what comes or is due meanwhile is done with
/// in one round, and doesn't wake the worker each time. At 1 Gbit/s some four large packets.
const NAP_LONGEST: u64 = 50_000;
/// Parts of the shortest latency limit that a nap may take.
const NAP_SHARE: u64 = 8;
/// A worker that did not pause for so long naps once: at a real-time priority, the CPU would be its
/// alone while it has more to do than it can. It rests a fifth of the time then.
const BUSY_LONGEST: u64 = 2_000_000;
const REST: u64 = 500_000;
/// Time between looks at what is to be told to others.
const TELL: u64 = 200_000_000;
/// Time that a window of sojourns takes: two of them are what quantiles are about.
const WINDOW: u64 = 15_000_000_000;

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
    /// The queue that it is at.
    pub queue: u32,
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

/// What a worker does until the next round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    /// Nothing: there is more to do.
    None,
    /// It lets nanoseconds pass.
    Nap(u64),
    /// It waits for packets, so many nanoseconds at most.
    Wait(u64),
}

/// A worker at its queue.
pub struct Worker<I: PacketIo> {
    shared: Shared,
    clock: Clock,
    ticks_per_s: u32,
    start: Instant,
    scheduler: Scheduler<Parcel<I::Frame>>,
    gates: Gates,
    followed: Option<u64>,
    /// How long a nap is.
    nap: u64,
    /// Packets that have come out, by lane, of which XDP is not told yet.
    finished: BTreeMap<u32, u32>,
    tally: Tally,
    told: u64,
    turned: u64,
    received: Vec<I::Frame>,
    /// Last, since the packets' memory is its own.
    io: I,
}

impl<I: PacketIo> Worker<I> {
    /// A worker for packets of which `capacity` may wait.
    pub fn new(io: I, shared: Shared, ticks_per_s: u32, capacity: usize) -> Self {
        let tally = shared.tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self {
            shared,
            clock: Clock::new(ticks_per_s),
            ticks_per_s,
            start: Instant::now(),
            scheduler: Scheduler::new(capacity),
            gates: Gates::default(),
            followed: None,
            nap: NAP_LONGEST,
            finished: BTreeMap::new(),
            tally,
            told: 0,
            turned: 0,
            received: Vec::with_capacity(ROUND),
            io,
        }
    }

    /// Works until told to stop. What waits then is dropped.
    pub fn run(mut self) {
        let mut rested = self.now();
        while !self.shared.stop.load(Ordering::Acquire) {
            match rest(self.round(), self.now() - rested) {
                Pause::None => continue,
                Pause::Nap(ns) => self.io.nap(Duration::from_nanos(ns)),
                Pause::Wait(ns) => self.io.wait(Duration::from_nanos(ns)),
            }
            rested = self.now();
        }
        self.followed = Some(self.shared.orders.generation());
        self.scheduler.reshape(&BTreeMap::new());
        while self.scheduler.waiting() > 0 {
            self.round();
        }
    }

    /// Makes a round; returns how long nothing is to be done.
    fn round(&mut self) -> Pause {
        self.follow();
        let now = self.now();
        let came = self.receive(now);
        let until = self.send(now);
        if self.io.kick() {
            for (lane, packets) in std::mem::take(&mut self.finished) {
                self.shared.words.finish(lane, packets.into());
                self.shared.held.remove(lane, packets);
            }
        }
        self.io.fill();
        self.look_at_gates(now);
        self.tell(now);
        if came == ROUND || until == Some(now) || !self.finished.is_empty() {
            return Pause::None;
        }
        let longest =
            if self.gates.are_shut() { SECOND / u64::from(self.ticks_per_s) } else { PAUSE };
        pause(until, self.now(), self.nap, longest)
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn follow(&mut self) {
        let generation = self.shared.orders.generation();
        if self.followed == Some(generation) {
            return;
        }
        let shapes = self.shared.orders.get();
        self.scheduler.reshape(&shapes);
        let shortest = shapes.values().map(|shape| shape.latency_limit).min();
        self.nap = shortest.map_or(NAP_LONGEST, |limit| NAP_LONGEST.min(limit / NAP_SHARE));
        self.followed = Some(generation);
    }

    /// Takes in what has come; returns how many that were.
    fn receive(&mut self, now: u64) -> usize {
        self.io.receive(&mut self.received, ROUND);
        let came = self.received.len();
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
                if cause.is_full() {
                    self.gates.refused(lane, bytes.into());
                }
                self.tally.lanes.entry(lane).or_default().dropped[cause as usize] += 1;
                *self.finished.entry(lane).or_default() += 1;
                self.io.recycle(parcel.frame);
            }
        }
        came
    }

    /// Sends what may go; returns until when nothing does: now where there may be more.
    fn send(&mut self, now: u64) -> Option<u64> {
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

    fn look_at_gates(&mut self, now: u64) {
        if self.gates.are_shut() {
            let words = QueueGates { words: &self.shared.words, queue: self.shared.queue };
            let has_room = |lane, bytes| self.scheduler.has_spare_room(lane, bytes);
            self.gates.look(self.clock.time(now) >> FRACTION, &words, has_room);
        }
    }

    fn tell(&mut self, now: u64) {
        if now < self.told + TELL {
            return;
        }
        self.told = now;
        for lane in self.tally.lanes.values_mut() {
            (lane.waiting, lane.waiting_bytes) = (0, 0);
        }
        for (lane, packets, bytes) in self.scheduler.depths() {
            let lane = self.tally.lanes.entry(lane).or_default();
            (lane.waiting, lane.waiting_bytes) = (packets as u64, bytes);
        }
        if now >= self.turned + WINDOW {
            self.turned = now;
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

/// Has a worker rest that did not pause for so long.
fn rest(pause: Pause, busy: u64) -> Pause {
    match pause {
        Pause::None if busy >= BUSY_LONGEST => Pause::Nap(REST),
        pause => pause,
    }
}

/// Tells what to do until the next packet is due, none when none waits.
fn pause(until: Option<u64>, now: u64, nap: u64, longest: u64) -> Pause {
    match until {
        Some(until) if until < now + nap => Pause::Nap(nap),
        Some(until) => Pause::Wait((until - now).min(longest)),
        None => Pause::Wait(longest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_something_due_soon_naps_and_others_wait_for_packets() {
        let check = |until, expected| assert_eq!(pause(until, 1_000, 500, 9_000), expected);
        check(None, Pause::Wait(9_000));
        check(Some(0), Pause::Nap(500));
        check(Some(1_499), Pause::Nap(500));
        check(Some(1_500), Pause::Wait(500));
        check(Some(20_000), Pause::Wait(9_000));
    }

    #[test]
    fn who_never_runs_out_of_work_rests_a_fifth_of_the_time() {
        assert_eq!(rest(Pause::None, BUSY_LONGEST - 1), Pause::None);
        assert_eq!(rest(Pause::None, BUSY_LONGEST), Pause::Nap(REST));
        assert_eq!(rest(Pause::Nap(7), BUSY_LONGEST), Pause::Nap(7));
        assert_eq!(rest(Pause::Wait(7), BUSY_LONGEST), Pause::Wait(7));
        assert_eq!(REST * 5, REST + BUSY_LONGEST);
    }
}
