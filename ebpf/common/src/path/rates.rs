//! The rates of the packet filter's rules. Only packets that a rule with a rate fits come here.

use crate::{
    filter::{
        Header, Numbers, RULES_MAX, Tables, front,
        rates::{Admission, Asked, RATES_MAX, Rate, RuleState, SourceLine, admit, line},
    },
    layout::Address,
    machine::Machine,
    qos::bucket,
    verdict::Reason,
};

/// Where limits are kept.
pub trait Limits: Machine {
    /// The tables of the packet filter in force.
    type Filter: Tables;

    /// Returns the tables of the packet filter, where one is in force.
    fn filter(&self) -> Option<Self::Filter>;

    /// Returns what this CPU has of a rule, by its number.
    fn rule(&self, number: u8) -> Option<*mut RuleState>;

    /// Returns the word that all CPUs share of a rule.
    fn spent(&self, number: u8) -> Option<*mut u64>;

    /// Returns a line of the table of sources.
    fn sources(&self, line: u32) -> Option<*mut SourceLine>;

    /// Returns the seed of the table of sources.
    fn seed(&self) -> u64;
}

/// Takes a packet from the limits of rules, in order.
///
/// Meant for a function that the verifier knows by its arguments alone: there are many ways to it,
/// each of which it would follow through all limits. So the front is looked up anew; a packet that
/// is under way while it is replaced is not limited.
///
/// Returns the bit of the first rule whose limit it exceeds; 0 when it is within all.
///
/// # Errors
/// Returns that the filter contradicts itself.
#[inline(always)]
pub fn exceeded<L: Limits>(limits: &L, asked: &Asked) -> Result<u64, Reason> {
    let Some(tables) = limits.filter() else { return Ok(0) };
    let header: &Header = tables.front(front::HEADER).ok_or(Reason::BrokenConfiguration)?;
    if header.serial != asked.serial {
        return Ok(0);
    }
    let mut left = asked.rates;
    let mut met = 0;
    // No more than validation allows.
    while met < RATES_MAX && left != 0 {
        let place = left.trailing_zeros();
        left &= left - 1;
        met += 1;
        let rate: &Rate = tables.front(front::RATES + place).ok_or(Reason::BrokenConfiguration)?;
        let number = number(&tables, place).ok_or(Reason::BrokenConfiguration)?;
        let state = limits.rule(number).ok_or(Reason::BrokenConfiguration)?;
        // SAFETY: this CPU's, and no other reference to it is held.
        let state = unsafe { &mut *state };
        let is_within = if rate.is_per_source() {
            of_source(limits, &asked.source, rate, state)
        } else {
            of_rule(limits, rate, number, state)
        };
        if !is_within.ok_or(Reason::BrokenConfiguration)? {
            state.dropped += 1;
            return Ok(1 << place);
        }
    }
    Ok(0)
}

/// Takes a packet from the limit of its source; tells whether it is within that.
#[inline(always)]
fn of_source<L: Limits>(
    limits: &L,
    source: &Address,
    rate: &Rate,
    state: &mut RuleState,
) -> Option<bool> {
    let tag = rate.tag(source, limits.seed());
    let line = limits.sources(line(tag))?;
    // SAFETY: the table is written there only.
    Some(match unsafe { admit(limits, line, &rate.limit, tag) } {
        Admission::Within => true,
        Admission::Displacing => {
            state.displaced += 1;
            true
        }
        Admission::Over => false,
    })
}

/// Takes a packet from the limit that all packets of a rule share; tells whether it is within that.
#[inline(always)]
fn of_rule<L: Limits>(limits: &L, rate: &Rate, number: u8, state: &mut RuleState) -> Option<bool> {
    let need = state.borrowed.lacks(1);
    if need > 0 {
        let spent = limits.spent(number)?;
        // SAFETY: the map's words are written there only.
        if !unsafe { bucket::borrow(limits, &rate.limit, &mut state.borrowed, spent, need) } {
            return Some(false);
        }
    }
    state.borrowed.spend(1);
    Some(true)
}

/// Returns the number of the rule at a place.
#[inline(always)]
pub(super) fn number<T: Tables>(tables: &T, place: u32) -> Option<u8> {
    let numbers: &Numbers = tables.front(front::NUMBERS)?;
    // The compiler knows that a bit has a place below 64, the verifier does not.
    let place = core::hint::black_box(place as usize) & (RULES_MAX - 1);
    // SAFETY: the mask keeps the place within the array.
    Some(unsafe { *numbers.numbers.as_ptr().add(place) })
}
