//! The packets of a limiter's direction that wait, in their order (pure).

use std::collections::VecDeque;

use model::qos_policy::TrafficClass;

use super::shape::Shape;

/// Bytes that a turn adds for each unit of weight: the largest frame has its turn after 15 rounds of
/// weight 1, and one of weight 100 sends some 17 large packets at a time.
const QUANTUM: u64 = 256;

/// A packet that waits.
#[derive(Debug)]
pub struct Waiting<P> {
    /// The packet.
    pub packet: P,
    /// Bytes that its limiter counts.
    pub bytes: u32,
    /// Since when it waits.
    pub since: u64,
}

/// Where a lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing waits in it.
    Empty,
    /// Its first packet can't go yet.
    Asleep,
    /// Its first packet waits for its turn.
    Ready,
}

/// A lane.
#[derive(Debug)]
pub struct Lane<P> {
    /// How its packets wait.
    pub shape: Shape,
    /// Where it is.
    pub place: Place,
    waiting: VecDeque<Waiting<P>>,
    bytes: u64,
    deficit: u64,
    in_turn: bool,
}

impl<P> Lane<P> {
    /// A lane in which nothing waits.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let waiting = VecDeque::new();
        Self { shape, place: Place::Empty, waiting, bytes: 0, deficit: 0, in_turn: false }
    }

    /// Returns how many packets wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the bytes of those that wait, as their limiter counts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Tells whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Tells whether the lane's packets go before those that go by weight.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.shape.class == TrafficClass::P0
    }

    /// Returns the bytes of the first packet.
    #[must_use]
    pub fn head(&self) -> Option<u32> {
        self.waiting.front().map(|first| first.bytes)
    }

    /// Returns when the first packet has waited longer than it may.
    #[must_use]
    pub fn late_from(&self) -> Option<u64> {
        self.waiting.front().map(|first| first.since + self.shape.latency_limit + 1)
    }

    /// Tells whether a packet would go within the latency limit, by the bytes before it.
    #[must_use]
    pub fn has_room(&self, bytes: u32) -> bool {
        self.waiting.is_empty() || self.bytes + u64::from(bytes) <= self.shape.room
    }

    /// Tells whether a packet and an eighth more would go within the latency limit.
    #[must_use]
    pub fn has_spare_room(&self, bytes: u32) -> bool {
        let room = self.shape.room;
        self.waiting.is_empty() || self.bytes + u64::from(bytes) <= room - room / 8
    }

    /// Adds a packet.
    pub fn push(&mut self, waiting: Waiting<P>) {
        self.bytes += u64::from(waiting.bytes);
        self.waiting.push_back(waiting);
    }

    /// Takes the first packet.
    pub fn pop(&mut self) -> Option<Waiting<P>> {
        let first = self.waiting.pop_front()?;
        self.bytes -= u64::from(first.bytes);
        Some(first)
    }

    /// Tells whether it is the lane's turn to send its first packet, in deficit round robin
    /// (Shreedhar and Varghese, 1996).
    pub fn takes_turn(&mut self) -> bool {
        if !self.in_turn {
            self.in_turn = true;
            self.deficit += QUANTUM * u64::from(self.shape.weight);
        }
        let goes = self.head().is_some_and(|bytes| u64::from(bytes) <= self.deficit);
        self.in_turn = goes;
        goes
    }

    /// Notes that bytes of the turn were used.
    pub fn use_turn(&mut self, bytes: u32) {
        self.deficit = self.deficit.saturating_sub(bytes.into());
    }

    /// Ends the lane's turns: nothing of it can go.
    pub fn end_turns(&mut self) {
        self.deficit = 0;
        self.in_turn = false;
    }
}
