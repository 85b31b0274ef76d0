//! The table of flows that are forwarded as they are: which endpoint a flow has.
//!
//! A bucket is a cache line of eight flows. A flow that finds no place takes that of the one not
//! seen for longest. Times are parts of the kernel's tick counter, which costs nothing to read:
//! a tick is 1 to 10 ms, by how the kernel was built.

use crate::layout::{Flow, FlowBucket};

/// Units of [`seen_time`] for which a flow is kept that has only begun: 16 to 160 s.
const BEGINNING: u16 = 16;
/// Age of a flow that has only begun, and from which on one makes way for such.
pub const BEGUN: u32 = (IDLE_MAX - BEGINNING) as u32;
/// Ticks in a unit of [`seen_time`], as a power of two: 1 to 10 s.
const SEEN_SHIFT: u32 = 10;
/// Ticks in a unit of [`hop_time`], as a power of two: 0.26 to 2.6 s.
const HOP_SHIFT: u32 = 8;
/// Where the ways stand in the mark of a next hop.
const WAYS_SHIFT: u32 = 22;
/// Units of [`seen_time`] after which an idle flow has ended: 2^20 ticks are 17 min to 2 h 55 min.
/// An endpoint's number must rest for longer before it stands for another one.
pub const IDLE_MAX: u16 = 1 << 10;
/// The longest that [`IDLE_MAX`] can be, in seconds (a kernel of 100 ticks a second).
pub const IDLE_MAX_S: u64 = (1 << (10 + SEEN_SHIFT)) / 100;

impl Flow {
    /// Makes a flow.
    #[inline(always)]
    #[must_use]
    pub const fn new(tag: u32, endpoint: u16, seen: u16) -> Self {
        Self(tag as u64 | (endpoint as u64) << 32 | (seen as u64) << 48)
    }

    /// Returns the part of the hash that it is known by.
    #[inline(always)]
    #[must_use]
    pub const fn tag(self) -> u32 {
        self.0 as u32
    }

    /// Returns its endpoint's number; 0 for an empty place.
    #[inline(always)]
    #[must_use]
    pub const fn endpoint(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// Returns when it was last seen.
    #[inline(always)]
    #[must_use]
    pub const fn seen(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// Tells whether the place is empty, or its flow has been idle for too long.
    #[inline(always)]
    #[must_use]
    pub const fn is_over(self, now: u16) -> bool {
        self.endpoint() == 0 || now.wrapping_sub(self.seen()) > IDLE_MAX
    }
}

/// Returns the time that flows are marked with, of the tick counter.
#[inline(always)]
#[must_use]
pub const fn seen_time(ticks: u64) -> u16 {
    (ticks >> SEEN_SHIFT) as u16
}

/// Returns the time that a flow is marked with which has only begun: as if it had not been seen for
/// so long that it ends soon, and makes way before any that goes on.
#[inline(always)]
#[must_use]
pub const fn begun_time(now: u16) -> u16 {
    now.wrapping_sub(BEGUN as u16)
}

/// Returns the time that next hops are marked with, of the tick counter.
#[inline(always)]
#[must_use]
pub const fn hop_time(ticks: u64) -> u32 {
    (ticks >> HOP_SHIFT) as u32
}

/// Returns the mark of a next hop that was looked up at a time, under some
/// [`crate::layout::Selector::ways`].
#[inline(always)]
#[must_use]
pub const fn looked_up(ticks: u64, ways: u32) -> u32 {
    // Times that are this far from each other lie days apart.
    hop_time(ticks) ^ ways << WAYS_SHIFT
}

/// Returns the tag of a flow's hash. The low half chooses the bucket.
#[inline(always)]
#[must_use]
pub const fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Reads a place, which another CPU may be replacing, once and as a whole.
#[inline(always)]
fn at(bucket: &FlowBucket, place: usize) -> Flow {
    // SAFETY: the callers' loops end at the bucket's length.
    unsafe { bucket.flows.as_ptr().add(place).read_volatile() }
}

/// Finds a flow: its place, and what is there.
#[inline(always)]
#[must_use]
pub fn find(bucket: &FlowBucket, tag: u32, now: u16) -> Option<(usize, Flow)> {
    let mut place = 0;
    while place < bucket.flows.len() {
        let flow = at(bucket, place);
        if flow.tag() == tag && !flow.is_over(now) {
            return Some((place, flow));
        }
        place += 1;
    }
    None
}

/// Returns the place that a flow which is not in the bucket takes, and how long what is there was not
/// seen: longer than any flow for an empty place.
#[inline(always)]
#[must_use]
pub fn place_for(bucket: &FlowBucket, tag: u32, now: u16) -> (usize, u32) {
    let mut best = 0;
    let mut best_age = 0;
    let mut place = 0;
    while place < bucket.flows.len() {
        let flow = at(bucket, place);
        // An ended flow goes before the oldest live one, and one of the same tag before all.
        let age = if flow.tag() == tag {
            u32::MAX
        } else if flow.is_over(now) {
            u32::MAX - 1
        } else {
            now.wrapping_sub(flow.seen()) as u32
        };
        if age > best_age {
            best = place;
            best_age = age;
        }
        place += 1;
    }
    (best, best_age)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_parts_of_a_flow_come_back() {
        let flow = Flow::new(0xdead_beef, 0xfffe, 0x1234);
        assert_eq!((flow.tag(), flow.endpoint(), flow.seen()), (0xdead_beef, 0xfffe, 0x1234));
        assert!(Flow::default().is_over(7));
    }

    #[test]
    fn an_idle_flow_is_over_and_the_clock_may_wrap() {
        let flow = Flow::new(1, 1, u16::MAX - 3);
        assert!(!flow.is_over((u16::MAX - 3).wrapping_add(IDLE_MAX)));
        assert!(flow.is_over((u16::MAX - 3).wrapping_add(IDLE_MAX + 1)));
    }

    #[test]
    fn what_has_only_begun_makes_way_for_its_like_and_what_goes_on_does_not() {
        let now = 3;
        let mut bucket = FlowBucket::default();
        for tag in 0..8 {
            let (place, age) = place_for(&bucket, tag, now);
            assert!(age >= BEGUN, "an empty place");
            let seen = if tag == 5 { begun_time(now) } else { now };
            bucket.flows[place] = Flow::new(tag, 1, seen);
        }
        assert_eq!(find(&bucket, 5, now).map(|(_, flow)| flow.endpoint()), Some(1), "it is known");
        let (place, age) = place_for(&bucket, 9, now);
        assert_eq!((bucket.flows[place].tag(), age), (5, BEGUN));
        bucket.flows[place] = Flow::new(9, 1, now);
        assert!(place_for(&bucket, 10, now).1 < BEGUN, "all go on");
        let flow = Flow::new(1, 1, begun_time(now));
        assert!(!flow.is_over(now + BEGINNING) && flow.is_over(now + BEGINNING + 1));
    }

    proptest! {
        /// The naive model: a list, of which the one not seen for longest makes way.
        #[test]
        fn a_bucket_keeps_the_eight_flows_seen_last(
            steps in prop::collection::vec((0..12u32, 1..9u16), 1..200),
        ) {
            let mut bucket = FlowBucket::default();
            let mut model: BTreeMap<u32, (u16, u16)> = BTreeMap::new();
            for (now, (tag, endpoint)) in (1u16..).zip(steps) {
                let found = find(&bucket, tag, now);
                prop_assert_eq!(found.map(|(_, flow)| flow.endpoint()), model.get(&tag).map(|f| f.0));
                let (place, endpoint) = match found {
                    Some((place, flow)) => (place, flow.endpoint()),
                    None => (place_for(&bucket, tag, now).0, endpoint),
                };
                bucket.flows[place] = Flow::new(tag, endpoint, now);
                model.insert(tag, (endpoint, now));
                if model.len() > 8 {
                    let oldest = *model.iter().min_by_key(|(_, (_, seen))| *seen).unwrap().0;
                    model.remove(&oldest);
                }
                let mut held: Vec<u32> =
                    bucket.flows.iter().filter(|f| f.endpoint() != 0).map(|f| f.tag()).collect();
                held.sort_unstable();
                prop_assert_eq!(held, model.keys().copied().collect::<Vec<_>>());
            }
        }
    }
}
