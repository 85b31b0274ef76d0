//! How many connections are half open, and whether that is so many that SYNs are answered by cookies.

use super::{connection, kernel::Kernel};
use crate::half_open::{self, HalfOpen};

/// Counts a connection that begins, or one that was half open and is not any more.
#[inline(always)]
pub(super) fn count(kernel: &impl Kernel, begins: bool) {
    let Some(word) = kernel.half_open() else { return };
    let clock = connection::clock(kernel);
    let limit = half_open::limit(kernel.claim_mask());
    let mut tries = 0;
    while tries < 2 {
        // SAFETY: the map's, whose words are written here only.
        let (old, now) = unsafe {
            let old = word.read_volatile();
            let now = HalfOpen(old).at(clock, limit);
            let new = if begins { now.more() } else { now.fewer() };
            (old, kernel.exchange(word, old, new.0))
        };
        if old == now {
            return;
        }
        tries += 1;
    }
}

/// Counts a TCP connection that begins.
///
/// A function of its own, for the sake of the path's stack.
#[inline(never)]
pub(super) fn count_begun<K: Kernel>(kernel: &K) {
    count(kernel, true);
}

/// Returns 1 when so many connections are half open that SYNs are to be answered by cookies, else 0.
///
/// A function of its own, for the sake of the path's stack.
#[inline(never)]
pub(super) fn is_pressed<K: Kernel>(kernel: &K) -> u32 {
    let Some(word) = kernel.half_open() else { return 0 };
    let limit = half_open::limit(kernel.claim_mask());
    // SAFETY: the map's.
    let now = HalfOpen(unsafe { word.read_volatile() }).at(connection::clock(kernel), limit);
    u32::from(now.count() >= limit)
}
