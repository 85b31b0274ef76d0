//! A token bucket for all CPUs in one word, by the kernel's tick counter.
//!
//! The word is the time until which the limiter's rate is spent (the "theoretical arrival time" of
//! the generic cell rate algorithm, ITU-T I.371). What lies between it and the present is saved up,
//! at most a burst; taking bytes moves it on by what they cost, never beyond the present. So one
//! exchange takes from the bucket, nobody refills it, and a new rate or burst simply holds from
//! the next time on.
//!
//! A CPU takes [`Limit::credit`] bytes at once and spends them alone. **Bounds**, over any span of
//! time and all CPUs: what goes through is at most rate x time + burst + CPUs x credit, and under
//! constant demand at least rate x (time - a tick) - CPUs x credit - a packet. [`Limit::new`] makes
//! CPUs x credit a quarter of the burst at most. Rounding adds less than a byte a loan, and takes
//! less than a millionth of the rate.

use super::{Credit, Limit};

/// Bits of a tick in the units of time: a hundred thousandth of the time that 64 KiB take at
/// 100 Gbit/s. The other 40 bits are ticks for 34 years at 1,000 a second.
pub const FRACTION: u32 = 24;
/// Bits of such a unit in [`Limit::cost`].
pub const COST_FRACTION: u32 = 24;
/// The most that a CPU borrows at once: some 40 packets, so that the shared word costs little.
pub const CREDIT_MAX: u32 = 1 << 16;
/// The share of the burst that all CPUs together may have borrowed.
#[cfg(not(target_arch = "bpf"))]
const CREDIT_SHARE: u64 = 4;
/// The share of the burst below which packets are marked.
const CONGESTED_SHARE: u64 = 4;

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

/// Bytes that a CPU may borrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loan {
    /// The word of the limiter, if they are borrowed.
    pub spent: u64,
    /// The bytes.
    pub bytes: u32,
    /// Whether less than a quarter of the burst is left then.
    pub congested: bool,
}

impl Limit {
    /// Makes the limit of a rate above zero, where there are `ticks_per_s` ticks a second.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn new(bytes_per_s: u64, burst_bytes: u64, ticks_per_s: u32, cpus: u32) -> Self {
        let second = u128::from(ticks_per_s) << (FRACTION + COST_FRACTION);
        let cost = second.div_ceil(u128::from(bytes_per_s));
        // Rounded up, so that the burst goes whole.
        let burst = (u128::from(burst_bytes) * cost).div_ceil(1 << COST_FRACTION);
        let credit = burst_bytes / (CREDIT_SHARE * u64::from(cpus.max(1)));
        Self {
            cost: u64::try_from(cost).unwrap_or(u64::MAX),
            burst: u64::try_from(burst).unwrap_or(u64::MAX),
            credit: credit.min(CREDIT_MAX.into()) as u32,
            padding: 0,
        }
    }

    /// Returns the time that bytes take.
    ///
    /// At 1 Mbit/s and 1,000 ticks a second 128 KiB come to 2^58 before the shift.
    #[inline(always)]
    const fn price(&self, bytes: u32) -> u64 {
        (bytes as u64).wrapping_mul(self.cost) >> COST_FRACTION
    }

    /// Returns the time that is saved up at a moment, in the units of time.
    #[inline(always)]
    const fn saved(&self, spent: u64, now: u64) -> u64 {
        let since = now.wrapping_sub(spent);
        if (since as i64) < 0 {
            // Spent by one who has seen a later moment.
            0
        } else if since > self.burst {
            self.burst
        } else {
            since
        }
    }

    /// Tells whether bytes can ever go: no more than the burst can be saved up.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub const fn ever(&self, bytes: u32) -> bool {
        self.price(bytes) <= self.burst
    }

    /// Takes bytes at a moment in the units of time, which is finer than ticks; returns the limiter's
    /// word then, or nothing where there are not as many.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub const fn take(&self, spent: u64, now: u64, bytes: u32) -> Option<u64> {
        let (saved, price) = (self.saved(spent, now), self.price(bytes));
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
        let mut bytes = if need > self.credit { need } else { self.credit };
        let mut price = self.price(bytes);
        if price > saved {
            bytes = need;
            price = self.price(need);
            if price > saved {
                return None;
            }
        }
        let left = saved - price;
        let congested = left < self.burst / CONGESTED_SHARE;
        Some(Loan { spent: now.wrapping_sub(left), bytes, congested })
    }
}

impl Credit {
    /// Returns the bytes that must be borrowed for a packet to go; 0 when it may.
    #[inline(always)]
    #[must_use]
    pub const fn lacks(&self, length: u16) -> u32 {
        (length as u32).saturating_sub(self.bytes)
    }

    /// Adds borrowed bytes.
    #[inline(always)]
    pub const fn borrow(&mut self, loan: Loan) {
        self.bytes = self.bytes.wrapping_add(loan.bytes);
        self.congested = loan.congested as u32;
    }

    /// Takes the bytes of a packet, for which there are enough.
    #[inline(always)]
    pub const fn spend(&mut self, length: u16) -> Verdict {
        self.bytes = self.bytes.wrapping_sub(length as u32);
        Verdict::Green { congested: self.congested != 0 }
    }
}
