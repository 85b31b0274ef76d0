//! Who holds which place of the table of connections: a word a place, eight to a cache line.
//!
//! The entry of a key lies in one of two buckets of eight places; its place in the first and the one
//! beside that are tried before anything else, so that most lookups read the entry alone. Everything else is decided on
//! the words: `tag << 32 | kind << 30 | ends`, in the time of [`crate::state::Clock`]. Among the words
//! of both buckets a tag stands for one entry.
//!
//! ```text
//!        compare and swap            written             ended, or yields
//! free ──────────────────▶ claimed ─────────▶ in force ──────────────────▶ free
//! ```
//! A place is written to by the CPU that has claimed it, and is claimed only when nobody has
//! refreshed it for [`YIELDS_TCP`] at least. Whoever uses an entry that was not refreshed for half of that
//! must refresh it first, also by compare and swap; so nobody reads a place while it is written to.

use crate::{
    layout::{Claims, TCP},
    state::{Clock, OPENING_S, SEEN},
};

/// Places in a bucket.
pub const PLACES: u32 = 8;
/// Bits of the time that an entry ends at: 99 days of 16 ms and more, twice what can be told apart.
const TIME_BITS: u32 = 29;
const TIME: u32 = (1 << TIME_BITS) - 1;
const KIND_SHIFT: u32 = 30;
/// Time after which a TCP connection that nobody has answered makes way for another one when there
/// is no room: 48 to 640 ms, by the kernel's tick. A server in reach has answered by then.
pub const YIELDS_TCP: u32 = 4;
/// Seconds after which a UDP flow that nobody has answered makes way: longer than that it is
/// refreshed each second while it goes on, so only a flow that rests does.
const YIELDS_UDP_S: u32 = 2;
/// How long a claimed place is held for being written: a CPU is done in microseconds.
const WRITING: u32 = 64;
/// How long a released place rests, so that whoever found its entry just before is done.
const RESTS: u32 = 2;

/// What a claim is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection that is open or closing; it keeps its place until it ends.
    Firm = 1,
    /// A TCP connection that nobody has answered.
    OpeningTcp = 2,
    /// A UDP flow that nobody has answered.
    OpeningUdp = 3,
}

impl Kind {
    /// Returns the kind of a connection by the flags of its two sides.
    #[inline(always)]
    #[must_use]
    pub const fn of(own: u8, peer: u8, protocol: u8) -> Self {
        if own & peer & SEEN != 0 {
            Self::Firm
        } else if protocol == TCP {
            Self::OpeningTcp
        } else {
            Self::OpeningUdp
        }
    }
}

/// The word of a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim(pub u64);

impl Claim {
    /// Makes the word of an entry.
    #[inline(always)]
    #[must_use]
    pub const fn new(tag: u32, kind: Kind, ends: u32) -> Self {
        Self((tag as u64) << 32 | ((kind as u32) << KIND_SHIFT | ends & TIME) as u64)
    }

    /// Makes the word of a place that is being written.
    #[inline(always)]
    #[must_use]
    pub const fn writing(tag: u32, clock: Clock) -> Self {
        Self::new(tag, Kind::Firm, clock.now.wrapping_add(WRITING))
    }

    /// Makes the word of a place that rests.
    #[inline(always)]
    #[must_use]
    pub const fn resting(clock: Clock) -> Self {
        Self::new(0, Kind::Firm, clock.now.wrapping_add(RESTS))
    }

    /// Returns the tag.
    #[inline(always)]
    #[must_use]
    pub const fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Returns how long the entry has left, negative when it has ended.
    #[inline(always)]
    #[must_use]
    pub const fn left(self, clock: Clock) -> i32 {
        let shift = u32::BITS - TIME_BITS;
        ((self.0 as u32).wrapping_sub(clock.now) << shift) as i32 >> shift
    }

    /// Tells whether the place may be claimed.
    #[inline(always)]
    #[must_use]
    pub const fn is_free(self, clock: Clock) -> bool {
        self.free_bit(clock) != 0
    }

    /// Tells whether the place may be claimed where no free one is.
    #[inline(always)]
    #[must_use]
    pub const fn yields(self, clock: Clock) -> bool {
        self.yields_bit(clock) != 0
    }

    // As numbers, since the verifier follows each branch of each place on its own.

    #[inline(always)]
    const fn free_bit(self, clock: Clock) -> u32 {
        let kind = self.0 as u32 >> KIND_SHIFT;
        // A kind of zero gives all ones.
        let none = kind.wrapping_sub(1) >> 31;
        (self.left(clock) as u32 >> 31) | none
    }

    #[inline(always)]
    const fn yields_bit(self, clock: Clock) -> u32 {
        let opening = self.0 as u32 >> 31;
        let udp = self.0 as u32 >> KIND_SHIFT & opening;
        let rested = clock.units(OPENING_S) as i32 - self.left(clock);
        let wanted = YIELDS_TCP + udp * (clock.units(YIELDS_UDP_S) - YIELDS_TCP);
        let has_rested = !(rested.wrapping_sub(wanted as i32)) as u32 >> 31;
        opening & has_rested
    }
}

/// Where the entry of a key may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The bucket that is looked into first.
    pub first: u32,
    /// The other bucket.
    pub second: u32,
    /// The place in the first bucket that is taken when it is free.
    pub place: u32,
    /// What the entry is known by among the words of both.
    pub tag: u32,
}

impl Spot {
    /// Returns the spot of a key's hash, in buckets that are `mask + 1`, two at least.
    #[inline(always)]
    #[must_use]
    pub const fn of(hash: u64, mask: u32) -> Self {
        let first = hash as u32 & mask;
        Self {
            first,
            second: first ^ (((hash >> 20) as u32 | 1) & mask),
            place: (hash >> 29) as u32 % PLACES,
            tag: (hash >> 32) as u32,
        }
    }

    /// Returns the index of the place that is tried first.
    #[inline(always)]
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.first * PLACES + self.place
    }
}

impl Claims {
    /// Reads the word of a place.
    #[inline(always)]
    #[must_use]
    pub fn at(&self, place: u32) -> Claim {
        // SAFETY: the mask keeps the place within the eight. Others may be writing the word.
        Claim(unsafe { self.words.as_ptr().add((place % PLACES) as usize).read_volatile() })
    }

    /// Returns where the word of a place is, which is written atomically only.
    #[inline(always)]
    #[must_use]
    pub fn word(&self, place: u32) -> *mut u64 {
        // SAFETY: the mask keeps the place within the eight.
        unsafe { self.words.as_ptr().add((place % PLACES) as usize).cast_mut() }
    }

    /// Returns the place of a tag plus one, or zero.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, tag: u32) -> u32 {
        let mut found = 0;
        let mut place = 0;
        while place < PLACES {
            found |= same_bit(self.at(place).tag(), tag) * (place + 1);
            place += 1;
        }
        found
    }

    /// Returns how many places have a tag.
    #[inline(always)]
    #[must_use]
    pub fn count(&self, tag: u32) -> u32 {
        let mut count = 0;
        let mut place = 0;
        while place < PLACES {
            count += same_bit(self.at(place).tag(), tag);
            place += 1;
        }
        count
    }

    /// Returns a free place plus one, that one or the one [`beside`] it if they are free; or zero.
    #[inline(always)]
    #[must_use]
    pub fn free(&self, preferred: u32, clock: Clock) -> u32 {
        let mut found = 0;
        let mut place = 0;
        while place < PLACES {
            let free = 0u32.wrapping_sub(self.at(place).free_bit(clock));
            found = found & !free | (place + 1) & free;
            place += 1;
        }
        if self.at(preferred).is_free(clock) {
            preferred + 1
        } else if self.at(beside(preferred)).is_free(clock) {
            beside(preferred) + 1
        } else {
            found
        }
    }

    /// Returns how many places are free.
    #[inline(always)]
    #[must_use]
    pub fn room(&self, clock: Clock) -> u32 {
        let mut room = 0;
        let mut place = 0;
        while place < PLACES {
            room += self.at(place).free_bit(clock);
            place += 1;
        }
        room
    }

    /// Returns a place that makes way plus one, or zero.
    #[inline(always)]
    #[must_use]
    pub fn yielding(&self, clock: Clock) -> u32 {
        let mut found = 0;
        let mut place = 0;
        while place < PLACES {
            let yields = 0u32.wrapping_sub(self.at(place).yields_bit(clock));
            found = found & !yields | (place + 1) & yields;
            place += 1;
        }
        found
    }
}

/// Returns the place beside another, by its number or its index: the next memory of the same page.
#[inline(always)]
#[must_use]
pub const fn beside(place: u32) -> u32 {
    place ^ 1
}

/// Returns 1 when both are the same, else 0.
#[inline(always)]
const fn same_bit(one: u32, other: u32) -> u32 {
    (((one ^ other) as u64).wrapping_sub(1) >> 63) as u32
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use proptest::prelude::*;

    use super::*;
    use crate::layout::UDP;

    fn clock(now: u32) -> Clock {
        Clock::new(u64::from(now) << 4, 250)
    }

    fn at(now: u32) -> Clock {
        let mut clock = clock(0);
        clock.now = now;
        clock
    }

    fn kind() -> impl Strategy<Value = Kind> {
        prop::sample::select(vec![Kind::Firm, Kind::OpeningTcp, Kind::OpeningUdp])
    }

    #[test]
    fn a_connection_is_firm_once_both_sides_were_seen() {
        for (own, peer) in [(SEEN, 0), (0, SEEN), (0, 0)] {
            assert_eq!(Kind::of(own, peer, TCP), Kind::OpeningTcp);
            assert_eq!(Kind::of(own, peer, UDP), Kind::OpeningUdp);
        }
        assert_eq!(Kind::of(SEEN, SEEN, TCP), Kind::Firm);
        assert_eq!(Kind::of(SEEN, SEEN, UDP), Kind::Firm);
    }

    #[test]
    fn nothing_is_free_that_is_being_written_or_rests() {
        let now = clock(7);
        assert!(Claim::default().is_free(now));
        assert!(!Claim::writing(1, now).is_free(now) && !Claim::writing(1, now).yields(now));
        assert!(!Claim::resting(now).is_free(now));
        assert!(Claim::resting(now).is_free(clock(7 + RESTS + 1)));
    }

    proptest! {
        #[test]
        fn a_place_is_free_after_its_end_and_the_clock_may_wrap(
            tag in any::<u32>(), kind in kind(), now in any::<u32>(), left in -1_000_000..1_000_000i32,
        ) {
            let now = at(now);
            let claim = Claim::new(tag, kind, now.now.wrapping_add_signed(left));
            prop_assert_eq!((claim.tag(), claim.left(now)), (tag, left));
            prop_assert_eq!(claim.is_free(now), left < 0);
        }

        #[test]
        fn only_what_nobody_has_answered_yields_and_only_after_a_rest(
            kind in kind(), begun in any::<u32>(), rested in 0..900u32,
        ) {
            let then = at(begun);
            let claim = Claim::new(1, kind, begun.wrapping_add(then.units(OPENING_S)));
            let now = at(begun.wrapping_add(rested));
            let wanted = match kind {
                Kind::Firm => u32::MAX,
                Kind::OpeningTcp => YIELDS_TCP,
                Kind::OpeningUdp => now.units(YIELDS_UDP_S),
            };
            prop_assert_eq!(claim.yields(now), rested >= wanted);
        }

        /// The naive model: what the words say one by one.
        #[test]
        fn a_bucket_finds_what_its_words_say(
            words in prop::array::uniform8((0..4u32, prop::option::of(kind()), -900..900i32)),
            tag in 0..4u32, preferred in 0..PLACES, now in any::<u32>(),
        ) {
            let now = at(now);
            let mut claims = Claims::default();
            for (word, (tag, kind, left)) in claims.words.iter_mut().zip(&words) {
                let ends = now.now.wrapping_add_signed(*left);
                *word = kind.map_or(0, |kind| Claim::new(*tag, kind, ends).0);
            }
            let all: Vec<Claim> = claims.words.iter().map(|word| Claim(*word)).collect();
            let tagged = all.iter().filter(|claim| claim.tag() == tag).count();
            prop_assert_eq!(claims.count(tag) as usize, tagged);
            if tagged == 1 {
                let place = all.iter().position(|claim| claim.tag() == tag).unwrap();
                prop_assert_eq!(claims.find(tag) as usize, place + 1);
            }
            prop_assert_eq!(claims.find(tag) == 0, tagged == 0);
            let free = claims.free(preferred, now);
            prop_assert_eq!(free == 0, all.iter().all(|claim| !claim.is_free(now)));
            let room = all.iter().filter(|claim| claim.is_free(now)).count();
            prop_assert_eq!(claims.room(now) as usize, room);
            if free != 0 {
                prop_assert!(all[free as usize - 1].is_free(now));
                let is_free = |place: u32| all[place as usize].is_free(now);
                prop_assert!(!is_free(preferred) || free == preferred + 1);
                prop_assert!(is_free(preferred) || !is_free(preferred ^ 1) || free == (preferred ^ 1) + 1);
            }
            let yielding = claims.yielding(now);
            prop_assert_eq!(yielding == 0, all.iter().all(|claim| !claim.yields(now)));
            prop_assert!(yielding == 0 || all[yielding as usize - 1].yields(now));
        }

        #[test]
        fn a_key_has_two_buckets(hash in any::<u64>(), bits in 1..26u32) {
            let spot = Spot::of(hash, (1 << bits) - 1);
            prop_assert_ne!(spot.first, spot.second);
            prop_assert!(spot.first < 1 << bits && spot.second < 1 << bits);
            prop_assert_eq!(spot.index() / PLACES, spot.first);
        }
    }
}
