//! The limits of the packet filter's rules, as a function that the verifier checks once by itself:
//! a global one (Documentation/bpf/bpf_design_QA.rst), whose arguments are numbers.

use ebpf_common::{
    filter::rates::{Asked, RuleState, SourceLine},
    layout::Address,
    path::{self, Limits},
    qos::Spent,
    verdict::Reason,
};

use crate::{kernel::InForce, machine::Maps, maps};

/// What the function returns where the filter contradicts itself: more than one rule.
const BROKEN: u64 = u64::MAX;

/// Takes a packet from the limits of rules; returns the bit of the first that it exceeds.
///
/// # Errors
/// Returns that the filter contradicts itself.
#[inline(always)]
pub fn exceeded(asked: &Asked) -> Result<u64, Reason> {
    let [a, b, c, d] = asked.source.words;
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    match mp_rates(asked.rates, pair(a, b), pair(c, d), asked.serial) {
        BROKEN => Err(Reason::BrokenConfiguration),
        rule => Ok(rule),
    }
}

/// [`path::exceeded`], by numbers: the rules, the source's words in two halves, the front's number.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mp_rates(rates: u64, first: u64, last: u64, serial: u32) -> u64 {
    let words = [first as u32, (first >> 32) as u32, last as u32, (last >> 32) as u32];
    let asked = Asked { rates, serial, source: Address { words } };
    path::exceeded(&Maps, &asked).unwrap_or(BROKEN)
}

impl Limits for Maps {
    type Filter = InForce;

    #[inline(always)]
    fn filter(&self) -> Option<InForce> {
        InForce::now()
    }

    #[inline(always)]
    fn rule(&self, number: u8) -> Option<*mut RuleState> {
        maps::FILTER_RULES.get_ptr_mut(u32::from(number))
    }

    #[inline(always)]
    fn spent(&self, number: u8) -> Option<*mut u64> {
        maps::FILTER_SPENT.get_ptr_mut(u32::from(number)).map(<*mut Spent>::cast)
    }

    #[inline(always)]
    fn sources(&self, line: u32) -> Option<*mut SourceLine> {
        maps::SOURCES.get_ptr_mut(line)
    }

    #[inline(always)]
    fn seed(&self) -> u64 {
        maps::connection_seed()
    }
}
