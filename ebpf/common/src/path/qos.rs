//! Limits and marks: what is done to a packet before it goes on.
//!
//! A service without either costs a comparison. The one place where a packet is found to be over
//! its limit is [`treat`]: it is dropped, or goes the rest of its path in a task and then waits. As
//! long as packets of a limiter wait, the others wait behind them, in their order.

use super::{config::Config, kernel::Kernel};
use crate::{
    parse::Packet,
    qos::{
        Credit, Limits, Treatment, Way,
        bucket::{self, Verdict},
        counter, flag, mark,
    },
    verdict::Reason,
};

/// Treats a packet to a service's endpoints; tells whether it has to wait.
///
/// # Errors
/// Returns why it does not go on.
#[inline(always)]
pub(super) fn ingress<const V6: bool, K: Kernel>(
    kernel: &K,
    packet: &mut Packet,
    config: &Config<'_, K>,
    treatment: &Treatment,
) -> Result<bool, Reason> {
    if treatment.flags == 0 {
        return Ok(false);
    }
    treat::<V6, K>(kernel, packet, config, treatment, Way::Ingress)
}

/// Treats a packet from an endpoint of the service in a slot; tells whether it has to wait.
///
/// # Errors
/// Returns why it does not go on.
#[inline(always)]
pub(super) fn egress<const V6: bool, K: Kernel>(
    kernel: &K,
    packet: &mut Packet,
    config: &Config<'_, K>,
    slot: u32,
) -> Result<bool, Reason> {
    match config.egress(slot) {
        Some(treatment) if treatment.flags != 0 => {
            treat::<V6, K>(kernel, packet, config, &treatment, Way::Egress)
        }
        _ => Ok(false),
    }
}

#[inline(always)]
fn treat<const V6: bool, K: Kernel>(
    kernel: &K,
    packet: &mut Packet,
    config: &Config<'_, K>,
    treatment: &Treatment,
    way: Way,
) -> Result<bool, Reason> {
    let entry = way.entry(treatment.limiter);
    let credit = kernel.credit(entry).ok_or(Reason::BrokenConfiguration)?;
    // SAFETY: this CPU's, and no other reference to it is held.
    let credit = unsafe { &mut *credit };
    let bytes = u64::from(packet.length);
    let verdict = judge(kernel, config, treatment, way, credit, packet.length);
    let mut waits = false;
    let congested = match verdict {
        Verdict::Green { congested } => {
            credit.words[counter::PASSED_PACKETS] += 1;
            credit.words[counter::PASSED_BYTES] += bytes;
            congested
        }
        Verdict::Over if treatment.has(flag::WAIT) => {
            credit.words[counter::WAITING_PACKETS] += 1;
            let scratch = kernel.scratch().ok_or(Reason::OverLimit)?;
            // SAFETY: this CPU's, and no other reference to it is held.
            let ticket = unsafe { &mut (*scratch).ticket };
            ticket.entry = entry as u16;
            ticket.length = packet.length;
            waits = true;
            // The worker marks, by how long the packet has waited.
            false
        }
        Verdict::Over => {
            credit.words[counter::OVER_PACKETS] += 1;
            credit.words[counter::OVER_BYTES] += bytes;
            return Err(Reason::OverLimit);
        }
    };
    let before = packet.traffic_class;
    let after = mark::class(before, treatment, congested);
    if before == after {
        return Ok(waits);
    }
    if mark::recodes(before, after) {
        credit.words[counter::DSCP_PACKETS] += 1;
    }
    if mark::notifies(before, after) {
        credit.words[counter::CE_PACKETS] += 1;
    }
    // SAFETY: the kernel gives these as the bounds of the frame.
    unsafe { mark::write_class::<V6>(kernel.start(), kernel.end(), packet, after) }?;
    Ok(waits)
}

/// Takes a packet's bytes from this CPU's credit.
#[inline(always)]
fn judge<K: Kernel>(
    kernel: &K,
    config: &Config<'_, K>,
    treatment: &Treatment,
    way: Way,
    credit: &mut Credit,
    length: u16,
) -> Verdict {
    if !treatment.has(flag::LIMITED) {
        return Verdict::Green { congested: false };
    }
    if treatment.has(flag::WAIT) && some_wait(kernel, way.entry(treatment.limiter)) {
        return Verdict::Over;
    }
    let length = u32::from(length);
    let need = credit.borrowed.lacks(length);
    if need > 0 {
        let Some(limits) = config.record::<Limits>(treatment.limits) else { return Verdict::Over };
        let [ingress, egress] = &limits.ways;
        let limit = match way {
            Way::Ingress => ingress,
            Way::Egress => egress,
        };
        let Some(spent) = kernel.spent(way.entry(treatment.limiter)) else { return Verdict::Over };
        // SAFETY: the map's, whose words are written there only.
        if !unsafe { bucket::borrow(kernel, limit, &mut credit.borrowed, spent, need) } {
            return Verdict::Over;
        }
    }
    credit.borrowed.spend(length)
}

/// Tells whether packets of a limiter are with workers: others of their flows must not overtake them,
/// also by credit that this CPU has in hand.
#[inline(always)]
fn some_wait<K: Kernel>(kernel: &K, entry: u32) -> bool {
    // SAFETY: the second word of the entry, a [`Spent`](crate::qos::Spent).
    kernel.spent(entry).is_some_and(|spent| unsafe { spent.add(1).read_volatile() } != 0)
}
