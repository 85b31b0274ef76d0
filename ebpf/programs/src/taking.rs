//! Taking a place of the table of connections, as a function that the verifier checks once by itself.

use ebpf_common::{
    claims::Spot,
    layout::{Claims, Connection, Tuple},
    path::{self, Places},
    state::Clock,
};

use crate::{machine::Maps, maps};

/// Claims a place for a key, as [`path::take`] does.
#[inline(always)]
pub fn take(spot: &Spot, key: &Tuple, clock: Clock) -> u32 {
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    mp_take(pair(spot.first, spot.second), pair(spot.place, spot.tag), key, clock.now)
}

/// [`path::take`] by numbers: both buckets, the place and the tag, the key, the time.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mp_take(buckets: u64, place: u64, key: *const Tuple, now: u32) -> u32 {
    // SAFETY: the verifier knows that it is a key, or nothing.
    let Some(key) = (unsafe { key.as_ref() }) else { return path::NOWHERE };
    let spot = Spot {
        first: buckets as u32,
        second: (buckets >> 32) as u32,
        place: place as u32,
        tag: (place >> 32) as u32,
    };
    path::take(&Maps, &spot, key, Clock { now, ticks_per_second: maps::ticks_per_second() })
}

impl Places for Maps {
    #[inline(always)]
    fn claims(&self, bucket: u32) -> Option<*const Claims> {
        maps::CLAIMS.get_ptr(bucket)
    }

    #[inline(always)]
    fn connection(&self, index: u32) -> Option<*mut Connection> {
        maps::CONNECTIONS.get_ptr_mut(index)
    }
}
