//! Which packet goes next (pure).
//!
//! ```text
//!            push                    due                    its turn
//! ─▶ refused │ Empty ─────▶ Asleep ─────▶ Ready ──────────────────────▶ Send
//!                 ▲           ▲ not enough │ waited too long ─▶ Dropped
//!                 └───────────┴────────────┘
//! ```
//! P0 goes first, up to [`URGENT_SHARE`] of the bytes while others are ready; these go by weight, in
//! deficit round robin. A lane is ready when its limiter has enough for its first packet. Invariants:
//! packets of a lane leave in their order; every packet that was taken in comes out once.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
};

use super::{
    clock::Clock,
    lane::{Lane, Place, Waiting},
    shape::Shape,
    sojourn::Sojourns,
};

/// Parts of the bytes that P0 may have for each part of the others: four fifths of all. A P0 that
/// never ends must not be the end of the others.
pub const URGENT_SHARE: i64 = 4;
/// Bytes that P0 may be ahead of its share: some 40 large packets.
pub const URGENT_AHEAD: i64 = 1 << 16;
/// How often bytes are taken from a word that others change; each time another one has taken some.
const TRIES: u32 = 4;

/// The words of limiters, which XDP and all workers take from.
pub trait Words {
    /// Reads the word of a lane's limiter.
    fn read(&self, lane: u32) -> u64;

    /// Replaces a word where it is the old one, and returns what it was.
    fn exchange(&self, lane: u32, old: u64, new: u64) -> u64;
}

/// Why a packet does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It waited longer than it may.
    TooLate,
    /// It would wait longer than it may, by what waits before it.
    LaneFull,
    /// Too many packets wait.
    NoRoom,
    /// It is larger than its limiter's burst.
    TooLarge,
    /// Its policy is gone.
    NoPolicy,
}

impl Cause {
    /// Tells whether it passes: such a packet will be taken when others have left.
    #[must_use]
    pub fn is_full(self) -> bool {
        matches!(self, Self::LaneFull | Self::NoRoom)
    }

    /// All causes, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::TooLate, Self::LaneFull, Self::NoRoom, Self::TooLarge, Self::NoPolicy];

    /// Returns the name that metrics use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLate => "too_late",
            Self::LaneFull => "lane_full",
            Self::NoRoom => "no_room",
            Self::TooLarge => "too_large",
            Self::NoPolicy => "no_policy",
        }
    }
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<P> {
    /// A packet goes.
    Send {
        /// Its lane.
        lane: u32,
        /// The packet.
        packet: P,
        /// Whether it is marked as having met congestion, where its sender understands that.
        mark: bool,
    },
    /// A packet is dropped.
    Drop {
        /// Its lane.
        lane: u32,
        /// The packet.
        packet: P,
        /// Why.
        cause: Cause,
    },
    /// Nothing, until that moment or until a packet comes.
    Wait {
        /// The moment, if any packet waits.
        until: Option<u64>,
    },
}

/// The scheduler.
#[derive(Debug)]
pub struct Scheduler<P> {
    lanes: BTreeMap<u32, Lane<P>>,
    /// Lanes that sleep, by when they wake.
    asleep: BinaryHeap<Reverse<(u64, u32)>>,
    urgent: VecDeque<u32>,
    by_weight: VecDeque<u32>,
    /// Bytes that P0 may send while others are ready.
    allowance: i64,
    waiting: usize,
    capacity: usize,
    /// Packets of lanes whose policies are gone.
    orphans: VecDeque<(u32, P)>,
    sojourns: [Sojourns; 4],
}

impl<P> Scheduler<P> {
    /// A scheduler in which so many packets may wait.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            lanes: BTreeMap::new(),
            asleep: BinaryHeap::new(),
            urgent: VecDeque::new(),
            by_weight: VecDeque::new(),
            allowance: URGENT_AHEAD,
            waiting: 0,
            capacity,
            orphans: VecDeque::new(),
            sojourns: Default::default(),
        }
    }

    /// Sets how packets wait, by lane; what waits in a lane that is not named will be dropped.
    pub fn reshape(&mut self, shapes: &BTreeMap<u32, Shape>) {
        let gone: Vec<u32> =
            self.lanes.keys().filter(|lane| !shapes.contains_key(lane)).copied().collect();
        for number in gone {
            let mut lane = self.lanes.remove(&number).expect("it was just there");
            while let Some(first) = lane.pop() {
                self.orphans.push_back((number, first.packet));
            }
        }
        for (number, shape) in shapes {
            let lane = self.lanes.entry(*number).or_insert_with(|| Lane::new(*shape));
            lane.shape = *shape;
        }
        // Classes may have changed: everybody comes again.
        self.asleep.clear();
        self.urgent.clear();
        self.by_weight.clear();
        for (number, lane) in &mut self.lanes {
            lane.end_turns();
            if !lane.is_empty() {
                lane.place = Place::Asleep;
                self.asleep.push(Reverse((0, *number)));
            }
        }
    }

    /// Takes a packet in.
    ///
    /// # Errors
    /// Returns the packet, and why it is not taken.
    pub fn push(&mut self, number: u32, packet: P, bytes: u32, now: u64) -> Result<(), (P, Cause)> {
        let free = self.free();
        let Some(lane) = self.lanes.get_mut(&number) else {
            return Err((packet, Cause::NoPolicy));
        };
        if !lane.shape.limit.ever(bytes) {
            return Err((packet, Cause::TooLarge));
        }
        if !lane.has_room(bytes) {
            return Err((packet, Cause::LaneFull));
        }
        if free == 0 || lane.len() >= share(lane, free) {
            return Err((packet, Cause::NoRoom));
        }
        lane.push(Waiting { packet, bytes, since: now });
        self.waiting += 1;
        if lane.place == Place::Empty {
            lane.place = Place::Asleep;
            self.asleep.push(Reverse((now, number)));
        }
        Ok(())
    }

    /// Tells whether a packet of a lane would be taken in, and some more behind it.
    #[must_use]
    pub fn has_spare_room(&self, number: u32, bytes: u32) -> bool {
        // What is refused for ever is no lane that is full.
        let Some(lane) = self.lanes.get(&number) else { return true };
        let free = self.free() - self.free() / 8;
        lane.has_spare_room(bytes) && free > 0 && lane.len() < share(lane, free)
    }

    /// Tells what is to be done; called until there is nothing.
    pub fn pull(&mut self, now: u64, clock: &Clock, words: &impl Words) -> Next<P> {
        if let Some((lane, packet)) = self.orphans.pop_front() {
            self.waiting -= 1;
            return Next::Drop { lane, packet, cause: Cause::NoPolicy };
        }
        self.wake(now);
        while let Some(number) = self.choose() {
            let lane = self.lanes.get_mut(&number).expect("ready lanes are there");
            if lane.late_from().is_some_and(|late| now >= late) {
                let late = self.leave(number);
                return Next::Drop { lane: number, packet: late.packet, cause: Cause::TooLate };
            }
            let bytes = lane.head().expect("a packet waits in a ready lane");
            match take(lane, number, bytes, clock.time(now), words) {
                Ok(()) => return self.send(number, now),
                Err(due) => {
                    let due = clock.when(due, now).max(now + 1);
                    let wakes = due.min(lane.late_from().unwrap_or(due));
                    lane.place = Place::Asleep;
                    lane.end_turns();
                    self.unready(number);
                    self.asleep.push(Reverse((wakes, number)));
                }
            }
        }
        Next::Wait { until: self.asleep.peek().map(|Reverse((at, _))| *at) }
    }

    /// Returns how many packets wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns how many packets and bytes wait in each lane that has any.
    pub fn depths(&self) -> impl Iterator<Item = (u32, usize, u64)> {
        let filled = self.lanes.iter().filter(|(_, lane)| !lane.is_empty());
        filled.map(|(number, lane)| (*number, lane.len(), lane.bytes()))
    }

    /// Takes out how long packets waited that went since the last time, by class.
    pub fn take_sojourns(&mut self) -> [Sojourns; 4] {
        std::mem::take(&mut self.sojourns)
    }

    fn free(&self) -> usize {
        self.capacity.saturating_sub(self.waiting)
    }

    fn wake(&mut self, now: u64) {
        while let Some(Reverse((at, number))) = self.asleep.peek().copied()
            && at <= now
        {
            self.asleep.pop();
            let lane = self.lanes.get_mut(&number).expect("sleeping lanes are there");
            lane.place = Place::Ready;
            if lane.is_urgent() {
                self.urgent.push_back(number);
            } else {
                self.by_weight.push_back(number);
            }
        }
    }

    /// Returns the lane whose turn it is.
    fn choose(&mut self) -> Option<u32> {
        if let Some(number) = self.urgent.front()
            && (self.allowance > 0 || self.by_weight.is_empty())
        {
            return Some(*number);
        }
        loop {
            let number = *self.by_weight.front()?;
            let lane = self.lanes.get_mut(&number).expect("ready lanes are there");
            if lane.takes_turn() {
                return Some(number);
            }
            self.by_weight.rotate_left(1);
        }
    }

    /// Sends the first packet of the lane whose turn it is.
    fn send(&mut self, number: u32, now: u64) -> Next<P> {
        let lane = self.lanes.get_mut(&number).expect("ready lanes are there");
        let (shape, urgent) = (lane.shape, lane.is_urgent());
        lane.use_turn(lane.head().unwrap_or(0));
        let first = self.leave(number);
        let bytes = i64::from(first.bytes);
        if !urgent {
            self.allowance = (self.allowance + bytes * URGENT_SHARE).min(URGENT_AHEAD);
        } else if !self.by_weight.is_empty() {
            self.allowance -= bytes;
        }
        let waited = now.saturating_sub(first.since);
        self.sojourns[shape.class as usize].add(waited);
        let mark = shape.marks && waited > shape.marked_from();
        Next::Send { lane: number, packet: first.packet, mark }
    }

    /// Takes the first packet out of the lane whose turn it is.
    fn leave(&mut self, number: u32) -> Waiting<P> {
        let lane = self.lanes.get_mut(&number).expect("ready lanes are there");
        let first = lane.pop().expect("a packet waits in a ready lane");
        self.waiting -= 1;
        if lane.is_empty() {
            lane.place = Place::Empty;
            lane.end_turns();
            self.unready(number);
        } else if lane.is_urgent() {
            // The urgent ones take turns by packets.
            self.urgent.rotate_left(1);
        }
        first
    }

    /// Takes the lane whose turn it is out of the ready ones; it is the first of its kind.
    fn unready(&mut self, number: u32) {
        let urgent = self.lanes[&number].is_urgent();
        let ready = if urgent { &mut self.urgent } else { &mut self.by_weight };
        let first = ready.pop_front();
        debug_assert_eq!(first, Some(number));
    }
}

/// Returns how many packets a lane may have while there is room for some more.
///
/// As many as it leaves (Choudhury and Hahne, 1998), an urgent one more: so there is room for one
/// that has nothing yet.
fn share<P>(lane: &Lane<P>, free: usize) -> usize {
    if lane.is_urgent() { free.saturating_mul(4) } else { free }
}

/// Takes bytes from a lane's limiter; else tells from when on they may be there, in its time.
fn take<P>(
    lane: &Lane<P>,
    number: u32,
    bytes: u32,
    time: u64,
    words: &impl Words,
) -> Result<(), u64> {
    let limit = &lane.shape.limit;
    let mut known = words.read(number);
    for _ in 0..TRIES {
        let Some(spent) = limit.take(known, time, bytes) else { break };
        let found = words.exchange(number, known, spent);
        if found == known {
            return Ok(());
        }
        known = found;
    }
    Err(limit.due(known, bytes))
}
