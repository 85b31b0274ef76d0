//! The search for the prefixes of an IPv6 address, as a function that the verifier checks once by
//! itself: packets come to it by many ways, as sources and as destinations.

use ebpf_common::filter::v6;

use crate::kernel::Arena;

/// What the function returns where the filter contradicts itself: no class.
const BROKEN: u64 = u64::MAX;

/// Finds the class of an address, see [`v6::find`]; `None` where the filter contradicts itself.
#[inline(always)]
pub fn call(at: u32, address: [u64; 2], from: u32) -> Option<u32> {
    match mp_find_v6(address[0], address[1], at, from) {
        BROKEN => None,
        class => Some(class as u32),
    }
}

/// [`v6::find`], by numbers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mp_find_v6(high: u64, low: u64, at: u32, from: u32) -> u64 {
    v6::find(&Arena, at, [high, low], from).map_or(BROKEN, u64::from)
}
