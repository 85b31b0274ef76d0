//! Limits of packets a second that rules set, and the table of the sources that they tell apart.
//!
//! All packets of a rule share a limiter as QoS policies have one: CPUs borrow credit from one word.
//! A limit for each source has a word a source, in a table of lines of [`SOURCES_PER_LINE`]; a line
//! is a cache line, and a source has one line only.
//!
//! ```text
//! source's prefix, rule ─▶ tag of 64 bits ─▶ line ─▶ the word with the tag
//!                                                └▶ none: takes the word of who has saved up most
//! ```
//! **Bounds.** A source is known by its whole tag, so nobody else spends its limit but who sends
//! with its address. Where a line has room, or somebody there has saved up a whole burst (and so is
//! the same as one who was never there), the limit is exact. Else somebody is displaced and begins
//! with a whole burst when it comes again: who sends more than its rate has saved up least and stays, so
//! displaced are those who need no limit. CPUs that take a word at the same moment may let through
//! one packet more each.

use crate::{
    layout::Address,
    machine::Machine,
    qos::{
        Borrowed, Limit,
        bucket::{self, FRACTION},
    },
};

/// Per-CPU array of [`RuleState`]s, by the rule's number.
pub const FILTER_RULES_MAP: &str = "mp_frules_v1";
/// Array of [`crate::qos::Spent`]s, by the rule's number.
pub const FILTER_SPENT_MAP: &str = "mp_fspent_v1";
/// Array of [`SourceLine`]s.
pub const SOURCES_MAP: &str = "mp_sources_v1";
/// Rules with a rate, of all filters together.
pub const RATES_MAX: u32 = 8;
/// Sources in a line.
pub const SOURCES_PER_LINE: usize = 4;
/// Lines: 262,144 sources in 4 MiB.
pub const SOURCE_LINES: usize = 1 << 16;

/// What is asked of limits: whether a packet is within them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The rules whose limits they are, a bit each.
    pub rates: u64,
    /// [`super::Header::serial`] of the front that says so.
    pub serial: u32,
    /// Where the packet comes from.
    pub source: Address,
}

/// The rate of a rule.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// The limit, of packets; without credit where it is for each source.
    pub limit: Limit,
    /// Tells the sources of this rule from those of others; 0 where all packets share the limit.
    pub salt: u64,
    /// The bits of an IPv6 address that tell sources apart, as they lie in a packet.
    pub mask_v6: [u32; 4],
    /// The bits of an IPv4 address that tell sources apart, as they lie in a packet.
    pub mask_v4: u32,
    /// Zero.
    pub padding: [u32; 3],
}

/// What a CPU has of a rule.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleState {
    /// Packets that it may let through.
    pub borrowed: Borrowed,
    /// Packets that the rule has dropped.
    pub dropped: u64,
    /// Sources that were displaced before they had saved up a whole burst.
    pub displaced: u64,
}

/// Words of a [`RuleState`] as user space reads it.
pub const RULE_WORDS: usize = 3;

/// Sources with what they have spent.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceLine {
    /// Their tags; 0 where there is none.
    pub tags: [u64; SOURCES_PER_LINE],
    /// The times until which their limits are spent.
    pub spent: [u64; SOURCES_PER_LINE],
}

/// Whether a packet is within its source's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Within,
    /// It is, and its source has displaced another one before that had saved up a whole burst.
    Displacing,
    /// It is not.
    Over,
}

impl Rate {
    /// Tells whether the limit is for each source.
    #[inline(always)]
    #[must_use]
    pub const fn is_per_source(&self) -> bool {
        self.salt != 0
    }

    /// Returns the tag of a source, never 0.
    #[inline(always)]
    #[must_use]
    pub const fn tag(&self, source: &Address, seed: u64) -> u64 {
        let mut source = *source;
        if source.is_v4() {
            source.words[3] &= self.mask_v4;
        } else {
            let mask = &self.mask_v6;
            source.words[0] &= mask[0];
            source.words[1] &= mask[1];
            source.words[2] &= mask[2];
            source.words[3] &= mask[3];
        }
        crate::hash::address(&source, self.salt ^ seed) | 1
    }
}

/// Returns the line of a tag.
#[inline(always)]
#[must_use]
pub const fn line(tag: u64) -> u32 {
    (tag >> 32) as u32 & (SOURCE_LINES as u32 - 1)
}

/// Takes a packet from the limit of the source with a tag.
///
/// # Safety
/// `line` must be the tag's line of the table, which is written here only.
#[inline(always)]
pub unsafe fn admit<M: Machine>(
    machine: &M,
    line: *mut SourceLine,
    limit: &Limit,
    tag: u64,
) -> Admission {
    let ticks = machine.ticks();
    let now = ticks << FRACTION;
    // SAFETY: the caller's line; places are below its lengths.
    let (tags, spent) =
        unsafe { ((&raw mut (*line).tags).cast::<u64>(), (&raw mut (*line).spent).cast::<u64>()) };
    let mut oldest = 0;
    let mut place = 0;
    while place < SOURCES_PER_LINE {
        // SAFETY: as above.
        let (held, until) =
            unsafe { (tags.add(place).read_volatile(), spent.add(place).read_volatile()) };
        if held == tag {
            // Plus zero, which the verifier does not know: to it all places are the same then.
            let place = place + (core::hint::black_box(held) ^ tag) as usize;
            // SAFETY: as above.
            let word = unsafe { spent.add(place & (SOURCES_PER_LINE - 1)) };
            // SAFETY: the caller's.
            let is_within = unsafe { bucket::take(machine, limit, word, ticks) };
            return if is_within { Admission::Within } else { Admission::Over };
        }
        // What was spent last by a CPU that has seen a later tick counts as now. The place takes the
        // bits of a few parts of a tick.
        let age = now.saturating_sub(until) & !(SOURCES_PER_LINE as u64 - 1) | place as u64;
        if age > oldest {
            oldest = age;
        }
        place += 1;
    }
    let place = oldest as usize & (SOURCES_PER_LINE - 1);
    // SAFETY: as above.
    unsafe {
        let (holder, spent) = (tags.add(place), spent.add(place));
        let old = holder.read_volatile();
        // Who was faster has it; this packet is one that neither of them is charged for.
        if machine.exchange(holder, old, tag) != old {
            return Admission::Within;
        }
        machine.publish(spent, limit.begun(ticks));
        if old != 0 && oldest < limit.burst { Admission::Displacing } else { Admission::Within }
    }
}

const _: () = assert!(size_of::<RuleState>() == 8 * RULE_WORDS && size_of::<SourceLine>() == 64);
