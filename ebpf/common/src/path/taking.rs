//! Taking a place of the table of connections: the one decision on both buckets of a key.

use crate::{
    claims::{Claim, PLACES, Spot},
    layout::{Claims, Connection, Tuple},
    machine::Machine,
    state::Clock,
};

/// Where the table of connections is.
pub trait Places: Machine {
    /// Returns the words of a bucket.
    fn claims(&self, bucket: u32) -> Option<*const Claims>;

    /// Returns a place.
    fn connection(&self, index: u32) -> Option<*mut Connection>;
}

/// No index. There are fewer places than that, and than `EXISTS`.
pub const NOWHERE: u32 = u32::MAX;
/// Stands for a key that has an entry.
pub(super) const EXISTS: u32 = u32::MAX - 1;
/// Free places from which on the first bucket is taken without a look at how full the other is, so
/// that most entries are where they are looked for first.
const ROOM: u32 = 4;

/// Claims a place for a key and returns its index, `EXISTS` or [`NOWHERE`].
///
/// Meant for a function that the verifier knows by its arguments alone: it would follow all of this
/// for each port that is tried.
#[inline(always)]
pub fn take(places: &impl Places, spot: &Spot, key: &Tuple, clock: Clock) -> u32 {
    let (Some(one), Some(other)) = (places.claims(spot.first), places.claims(spot.second)) else {
        return NOWHERE;
    };
    // SAFETY: the maps', whose words are read one by one.
    let (one, other) = unsafe { (&*one, &*other) };
    let (in_one, in_other) = (one.find(spot.tag), other.find(spot.tag));
    let (claims, bucket, place) = if in_one != 0 {
        (one, spot.first, in_one)
    } else if in_other != 0 {
        (other, spot.second, in_other)
    } else {
        let (room, elsewhere) = (one.room(clock), other.room(clock));
        if room >= ROOM || room != 0 && room >= elsewhere {
            (one, spot.first, one.free(spot.place, clock))
        } else if elsewhere != 0 {
            (other, spot.second, other.free(spot.place, clock))
        } else {
            let yielding = one.yielding(clock);
            if yielding != 0 {
                (one, spot.first, yielding)
            } else {
                (other, spot.second, other.yielding(clock))
            }
        }
    };
    if place == 0 {
        return NOWHERE;
    }
    let place = place - 1;
    let index = bucket * PLACES + place;
    let old = claims.at(place);
    if old.tag() == spot.tag && !old.is_free(clock) {
        return match places.connection(index) {
            // SAFETY: integers of the map.
            Some(connection) if unsafe { (*connection).key.same(key) } => EXISTS,
            _ => NOWHERE,
        };
    }
    if !exchange(places, claims, place, old, Claim::writing(spot.tag, clock)) {
        return NOWHERE;
    }
    // Two CPUs that claim for one key both see it here, and both leave it.
    if one.count(spot.tag) + other.count(spot.tag) != 1 {
        if let Some(connection) = places.connection(index) {
            // SAFETY: the place is this CPU's.
            forget(unsafe { &*connection });
        }
        publish(places, claims, place, Claim::resting(clock));
        return NOWHERE;
    }
    index
}

/// Replaces the word of a place that nobody has replaced since it was read.
#[inline(always)]
pub(super) fn exchange(
    machine: &impl Machine,
    claims: &Claims,
    place: u32,
    old: Claim,
    new: Claim,
) -> bool {
    // SAFETY: words are written here and below only.
    unsafe { machine.exchange(claims.word(place), old.0, new.0) == old.0 }
}

/// Replaces the word of a place that this CPU holds.
#[inline(always)]
pub(super) fn publish(machine: &impl Machine, claims: &Claims, place: u32, new: Claim) {
    // SAFETY: as above.
    unsafe { machine.publish(claims.word(place), new.0) };
}

/// Makes a place one without an entry.
#[inline(always)]
pub(super) fn forget(connection: &Connection) {
    // SAFETY: the caller holds the place.
    unsafe { (&raw const connection.key.protocol).cast_mut().write_volatile(0) };
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU64, Ordering};
    use std::{cell::UnsafeCell, vec, vec::Vec};

    use super::*;
    use crate::{
        claims::{Kind, beside},
        hash,
        layout::TCP,
    };

    const BUCKETS: u32 = 1 << 12;

    /// A table of connections alone.
    struct Table {
        claims: Vec<UnsafeCell<Claims>>,
        places: Vec<UnsafeCell<Connection>>,
    }

    impl Table {
        fn new() -> Self {
            let claims = || UnsafeCell::new(Claims { words: [0; PLACES as usize] });
            Self {
                claims: (0..BUCKETS).map(|_| claims()).collect(),
                places: (0..BUCKETS * PLACES).map(|_| UnsafeCell::default()).collect(),
            }
        }

        /// Takes a place for a key and keeps it.
        fn keep(&self, key: &Tuple, clock: Clock) -> u32 {
            let spot = Spot::of(hash::connection(key, 5), BUCKETS - 1);
            let index = take(self, &spot, key, clock);
            if index < EXISTS {
                // SAFETY: one thread, and no reference is held.
                unsafe { (*self.places[index as usize].get()).key = *key };
                let word = Claim::new(spot.tag, Kind::Firm, clock.now.wrapping_add(1 << 20));
                // SAFETY: as above.
                let claims = unsafe { &*self.claims[(index / PLACES) as usize].get() };
                publish(self, claims, index, word);
            }
            index
        }
    }

    impl Machine for Table {
        fn ticks(&self) -> u64 {
            0
        }

        unsafe fn exchange(&self, word: *mut u64, old: u64, new: u64) -> u64 {
            // SAFETY: the caller's word, which is aligned.
            let word = unsafe { AtomicU64::from_ptr(word) };
            match word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(seen) | Err(seen) => seen,
            }
        }

        unsafe fn publish(&self, word: *mut u64, new: u64) {
            // SAFETY: as above.
            unsafe { AtomicU64::from_ptr(word) }.store(new, Ordering::SeqCst);
        }
    }

    impl Places for Table {
        fn claims(&self, bucket: u32) -> Option<*const Claims> {
            self.claims.get(bucket as usize).map(|claims| claims.get().cast_const())
        }

        fn connection(&self, index: u32) -> Option<*mut Connection> {
            self.places.get(index as usize).map(UnsafeCell::get)
        }
    }

    /// Returns one of many keys, which have nothing in common (Steele, Lea, Flood, "Fast Splittable
    /// Pseudorandom Number Generators", 2014).
    fn key(number: u32) -> Tuple {
        let mut word = u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        let mut key = Tuple { protocol: TCP, source_port_be: word as u16, ..Tuple::default() };
        key.source.words[3] = (word >> 32) as u32;
        key
    }

    #[test]
    fn three_of_four_places_can_be_taken_and_most_entries_are_found_at_once() {
        let table = Table::new();
        let clock = Clock::new(1 << 20, 250);
        let all = BUCKETS * PLACES;
        let mut taken = vec![];
        for number in 0..all * 3 / 4 {
            let index = table.keep(&key(number), clock);
            if index < EXISTS {
                taken.push((number, index));
                assert_eq!(table.keep(&key(number), clock), EXISTS);
            }
            if number == all / 2 {
                assert_eq!(taken.len() as u32, number + 1, "all that half of the places hold");
                let at_once = taken.iter().filter(|(number, index)| {
                    let spot = Spot::of(hash::connection(&key(*number), 5), BUCKETS - 1);
                    [spot.index(), beside(spot.index())].contains(index)
                });
                let share = at_once.count() * 100 / taken.len();
                assert!(
                    share >= 80,
                    "{share} % of the entries are where they are looked for first"
                );
            }
        }
        let refused = all as usize * 3 / 4 - taken.len();
        assert!(refused <= all as usize / 5_000, "{refused} of {all} found no room");
        let mut places: Vec<u32> = taken.into_iter().map(|(_, index)| index).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len() + refused, all as usize * 3 / 4, "no place is taken twice");
    }
}
