//! A token bucket for all CPUs in one word, by the kernel's tick counter.
//!
//! The word is the time until which the limiter's rate is spent (the "theoretical arrival time" of
//! the generic cell rate algorithm, ITU-T I.371). What lies between it and the present is saved up,
//! at most a burst; taking bytes moves it on by what they cost, never beyond the present. So one
//! exchange takes from the bucket, nobody refills it, and a new rate or burst simply holds from
//! the next time on.
//!
//! What is limited is counted in units: the bytes of a QoS policy, the packets of a filter's rule. A
//! CPU takes [`Limit::credit`] units at once ([`borrow`]) and spends them alone, or one at a time
//! where there is no such credit ([`take`]). **Bounds**, over any span of
//! time and all CPUs: what goes through is at most rate x time + burst + CPUs x credit, and under
//! constant demand at least rate x (time - a tick) - CPUs x credit - a packet. [`Limit::new`] makes
//! CPUs x credit a quarter of the burst at most. Rounding adds less than a byte a loan (of packets
//! less than a hundredth, at 10 million a second), and takes less than a millionth of the rate.

use super::{Borrowed, Limit};
use crate::machine::Machine;

/// Bits of a tick in the units of time: a hundred thousandth of the time that 64 KiB take at
/// 100 Gbit/s. The other 40 bits are ticks for 34 years at 1,000 a second.
pub const FRACTION: u32 = 24;
/// Bits of such a unit in [`Limit::cost`].
pub const COST_FRACTION: u32 = 24;
/// The most that a CPU borrows at once: in bytes some 40 packets, so that the shared word costs
/// little.
pub const CREDIT_MAX: u32 = 1 << 16;
/// The share of the burst that all CPUs together may have borrowed.
#[cfg(not(target_arch = "bpf"))]
const CREDIT_SHARE: u64 = 4;
/// The share of the burst below which packets are marked.
const CONGESTED_SHARE: u64 = 4;

/// How often a CPU tries to borrow when others are faster; each time another one has borrowed.
const TRIES: u32 = 4;

/// What is said of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Within the limit.
    Green {
        /// Less than a quarter of the burst is left.
        congested: bool,
    },
    /// Over the limit.
    Over,
}

/// Units that a CPU may borrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loan {
    /// The word of the limiter, if they are borrowed.
    pub spent: u64,
    /// The units.
    pub units: u32,
    /// Whether less than a quarter of the burst is left then.
    pub congested: bool,
}

impl Limit {
    /// Makes the limit of a rate above zero, where there are `ticks_per_s` ticks a second.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn new(units_per_s: u64, burst_units: u64, ticks_per_s: u32, cpus: u32) -> Self {
        let second = u128::from(ticks_per_s) << (FRACTION + COST_FRACTION);
        let cost = second.div_ceil(u128::from(units_per_s));
        // Rounded up, so that the burst goes whole.
        let burst = (u128::from(burst_units) * cost).div_ceil(1 << COST_FRACTION);
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let credit = burst_units / (CREDIT_SHARE * u64::from(cpus.max(1)));
        // Of which the price can be computed.
        let credit = credit.min(CREDIT_MAX.into()).min(u64::MAX / cost);
        Self {
            cost,
            burst: u64::try_from(burst).unwrap_or(u64::MAX),
            credit: credit as u32,
            padding: 0,
        }
    }

    /// Returns the time that units take.
    ///
    /// At 1 Mbit/s and 1,000 ticks a second 128 KiB come to 2^58 before the shift, and so does a
    /// packet a second.
    #[inline(always)]
    const fn price(&self, units: u32) -> u64 {
        (units as u64).wrapping_mul(self.cost) >> COST_FRACTION
    }

    /// Returns the word of a limiter that had saved up a whole burst, and let through a unit.
    #[inline(always)]
    #[must_use]
    pub const fn begun(&self, ticks: u64) -> u64 {
        (ticks << FRACTION).wrapping_sub(self.burst).wrapping_add(self.price(1))
    }

    /// Returns the time that is saved up at a moment, in the units of time.
    #[inline(always)]
    const fn saved(&self, spent: u64, now: u64) -> u64 {
        // What was spent by one who has seen a later moment counts as spent now.
        let since = now.saturating_sub(spent);
        if since > self.burst { self.burst } else { since }
    }

    /// Tells whether bytes can ever go: no more than the burst can be saved up.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub const fn ever(&self, bytes: u32) -> bool {
        self.price(bytes) <= self.burst
    }

    /// Takes units at a moment in the units of time, which is finer than ticks; returns the limiter's
    /// word then, or nothing where there are not as many.
    #[inline(always)]
    #[must_use]
    pub const fn take(&self, spent: u64, now: u64, units: u32) -> Option<u64> {
        let (saved, price) = (self.saved(spent, now), self.price(units));
        if price > saved {
            return None;
        }
        Some(now.wrapping_sub(saved - price))
    }

    /// Returns the moment from which on bytes can be taken, if nobody takes any before.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub const fn due(&self, spent: u64, bytes: u32) -> u64 {
        spent.wrapping_add(self.price(bytes))
    }

    /// Returns what a CPU may borrow that needs `need` bytes: more than that where there is more,
    /// and nothing where there is not as much. `spent` is the limiter's word.
    #[inline(always)]
    #[must_use]
    pub const fn lend(&self, spent: u64, ticks: u64, need: u32) -> Option<Loan> {
        let now = ticks << FRACTION;
        let saved = self.saved(spent, now);
        let mut units = if need > self.credit { need } else { self.credit };
        let mut price = self.price(units);
        if price > saved {
            units = need;
            price = self.price(need);
            if price > saved {
                return None;
            }
        }
        let left = saved - price;
        let congested = left < self.burst / CONGESTED_SHARE;
        Some(Loan { spent: now.wrapping_sub(left), units, congested })
    }
}

impl Borrowed {
    /// Returns the units that must be borrowed for a packet of some to go; 0 when it may.
    #[inline(always)]
    #[must_use]
    pub const fn lacks(&self, units: u32) -> u32 {
        units.saturating_sub(self.units)
    }

    /// Adds borrowed units.
    #[inline(always)]
    pub const fn add(&mut self, loan: Loan) {
        self.units = self.units.wrapping_add(loan.units);
        self.congested = loan.congested as u32;
    }

    /// Takes the units of a packet, for which there are enough.
    #[inline(always)]
    pub const fn spend(&mut self, units: u32) -> Verdict {
        self.units = self.units.wrapping_sub(units);
        Verdict::Green { congested: self.congested != 0 }
    }
}

/// Borrows credit for this CPU; tells whether there was as much.
///
/// A function of its own, off the path of most packets, so that the verifier meets it once.
///
/// # Safety
/// `spent` must be a limiter's word, which is written here and by [`take`] only.
#[inline(never)]
pub unsafe fn borrow<M: Machine>(
    machine: &M,
    limit: &Limit,
    borrowed: &mut Borrowed,
    spent: *mut u64,
    need: u32,
) -> bool {
    let ticks = machine.ticks();
    // SAFETY: the caller's; all CPUs read and exchange it as a whole.
    let mut known = unsafe { spent.read_volatile() };
    for _ in 0..TRIES {
        let Some(loan) = limit.lend(known, ticks, need) else { return false };
        // SAFETY: the caller's.
        let found = unsafe { machine.exchange(spent, known, loan.spent) };
        if found == known {
            borrowed.add(loan);
            return true;
        }
        known = found;
    }
    false
}

/// Takes a unit; tells whether there was one.
///
/// # Safety
/// As for [`borrow`].
#[inline(always)]
pub unsafe fn take<M: Machine>(machine: &M, limit: &Limit, spent: *mut u64, ticks: u64) -> bool {
    // SAFETY: as in `borrow`.
    let mut known = unsafe { spent.read_volatile() };
    for _ in 0..TRIES {
        let Some(taken) = limit.take(known, ticks << FRACTION, 1) else { return false };
        // SAFETY: the caller's.
        let found = unsafe { machine.exchange(spent, known, taken) };
        if found == known {
            return true;
        }
        known = found;
    }
    false
}
