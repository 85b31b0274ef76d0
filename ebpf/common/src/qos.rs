//! Limits and marks for the packets of a service: their layout in the maps, and their meaning.
//!
//! A direction of a service has a [`Treatment`]: that from clients stands in the service's
//! [`crate::layout::Entry`], that to clients in [`Treatments`], by the service's slot. Limits and
//! treatments are records of the configuration, so one packet sees one generation of them; what a
//! limiter has let through lies in maps of its own and lives through changes.
//!
//! A limit is kept over all CPUs by one word ([`bucket`]): each CPU borrows credit from it and
//! spends that alone, so the hit path touches no shared line.

pub mod bucket;
pub mod mark;
pub mod wait;

#[cfg(test)]
mod tests;

use crate::layout::{Layout, layouts};

/// Array of [`Spent`]s, one a limiter and [`Way`].
pub const SPENT_MAP: &str = "mp_spent_v3";
/// Per-CPU array of [`Credit`]s, one a limiter and [`Way`].
pub const CREDIT_MAP: &str = "mp_credit_v2";
/// Numbers of limiters. Number 0 is none.
pub const LIMITERS_MAX: usize = 1 << 10;
/// Entries of the limiters' maps.
pub const LIMITER_WAYS: usize = LIMITERS_MAX * Way::ALL.len();

/// A direction.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From clients to endpoints.
    Ingress = 0,
    /// From endpoints to clients.
    Egress = 1,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// Returns the entry of a limiter's number in the limiters' maps.
    #[inline(always)]
    #[must_use]
    pub const fn entry(self, limiter: u16) -> u32 {
        limiter as u32 * 2 + self as u32
    }
}

/// What is done to packets: [`Treatment::flags`].
pub mod flag {
    /// They are limited.
    pub const LIMITED: u8 = 1;
    /// They get a code point.
    pub const DSCP: u8 = 2;
    /// Those that come near the limit are marked, where their sender understands it.
    pub const ECN: u8 = 4;
    /// What is over the limit waits, where a worker takes it.
    pub const WAIT: u8 = 8;
}

/// What is done to the packets of a direction; all zero for nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Treatment {
    /// Record of the [`Limits`], where they are limited.
    pub limits: u32,
    /// Number of the limiter, which also counts what is only marked.
    pub limiter: u16,
    /// Of [`flag`].
    pub flags: u8,
    /// The code point.
    pub dscp: u8,
}

impl Treatment {
    /// Tells whether a flag is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Treatments in one [`Treatments`].
pub const TREATMENTS_PER_RECORD: u32 = 8;

/// What is done to packets to clients, by service slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Treatments {
    /// Of slots in a row.
    pub slots: [Treatment; TREATMENTS_PER_RECORD as usize],
}

/// A limit, in the units of [`bucket`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Time that a unit takes; zero where nothing is limited.
    pub cost: u64,
    /// Time that may be saved up.
    pub burst: u64,
    /// Units that a CPU borrows at once.
    pub credit: u32,
    /// Zero.
    pub padding: u32,
}

/// The limits of a service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// By [`Way`].
    pub ways: [Limit; 2],
    /// Zero.
    pub padding: [u64; 2],
}

layouts!(Treatments, Limits);

/// What all CPUs share of a limiter, in a line of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// The time until which it is spent.
    pub until: u64,
    /// Packets that were handed to workers and have not come out. Never wrong for long: where there
    /// is no worker XDP sets it to zero, and user space does when it holds none of them.
    pub pending: u64,
    /// The tick from which on packets may begin to wait again, by [`wait::gate`]: before, the worker
    /// of such a queue has no room for more. Left alone it comes by itself.
    pub shut: [u64; wait::GATES],
    /// Zero.
    pub padding: [u64; 2],
}

/// Credit that a CPU has borrowed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Borrowed {
    /// Units borrowed and not spent.
    pub units: u32,
    /// 1 when little was left as they were borrowed.
    pub congested: u32,
}

/// What a CPU has of a limiter: borrowed credit, and counters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    /// Bytes.
    pub borrowed: Borrowed,
    /// By [`counter`].
    pub words: [u64; CREDIT_COUNTERS],
}

/// Counters of a [`Credit`].
pub const CREDIT_COUNTERS: usize = 7;
/// Words of a [`Credit`] as user space reads it: the credit, then the counters.
pub const CREDIT_WORDS: usize = 1 + CREDIT_COUNTERS;
/// Indices into [`Credit::words`].
pub mod counter {
    /// Packets let through.
    pub const PASSED_PACKETS: usize = 0;
    /// IP bytes let through.
    pub const PASSED_BYTES: usize = 1;
    /// Packets over the limit that were dropped.
    pub const OVER_PACKETS: usize = 2;
    /// Their IP bytes.
    pub const OVER_BYTES: usize = 3;
    /// Packets whose code point was changed.
    pub const DSCP_PACKETS: usize = 4;
    /// Packets marked as having met congestion.
    pub const CE_PACKETS: usize = 5;
    /// Packets over the limit, or behind such ones, that were to wait.
    pub const WAITING_PACKETS: usize = 6;
}

const _: () = {
    assert!(size_of::<Treatment>() == 8 && size_of::<Limit>() == 24);
    assert!(core::mem::offset_of!(Spent, shut) == 16);
    assert!(size_of::<Spent>() == 64 && size_of::<Credit>() == 8 * CREDIT_WORDS);
};
