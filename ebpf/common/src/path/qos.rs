//! Limits and marks: what is done to a packet before it goes on.
//!
//! A service without either costs a comparison. The one place where a packet is found to be over
//! its limit is [`treat`].

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

/// Treats a packet to a service's endpoints.
///
/// # Errors
/// Returns why it does not go on.
#[inline(always)]
pub(super) fn ingress<const V6: bool, K: Kernel>(
    kernel: &K,
    packet: &mut Packet,
    config: &Config<'_, K>,
    treatment: &Treatment,
) -> Result<(), Reason> {
    if treatment.flags == 0 {
        return Ok(());
    }
    treat::<V6, K>(kernel, packet, config, treatment, Way::Ingress)
}

/// Treats a packet from an endpoint of the service in a slot.
///
/// # Errors
/// Returns why it does not go on.
#[inline(always)]
pub(super) fn egress<const V6: bool, K: Kernel>(
    kernel: &K,
    packet: &mut Packet,
    config: &Config<'_, K>,
    slot: u32,
) -> Result<(), Reason> {
    match config.egress(slot) {
        Some(treatment) if treatment.flags != 0 => {
            treat::<V6, K>(kernel, packet, config, &treatment, Way::Egress)
        }
        _ => Ok(()),
    }
}

#[inline(always)]
fn treat<const V6: bool, K: Kernel>(
    kernel: &K,
    packet: &mut Packet,
    config: &Config<'_, K>,
    treatment: &Treatment,
    way: Way,
) -> Result<(), Reason> {
    let entry = way.entry(treatment.limiter);
    let credit = kernel.credit(entry).ok_or(Reason::BrokenConfiguration)?;
    // SAFETY: this CPU's, and no other reference to it is held.
    let credit = unsafe { &mut *credit };
    let bytes = u64::from(packet.length);
    let verdict = judge(kernel, config, treatment, way, credit, packet.length);
    let congested = match verdict {
        Verdict::Green { congested } => congested,
        Verdict::Over => {
            credit.words[counter::OVER_PACKETS] += 1;
            credit.words[counter::OVER_BYTES] += bytes;
            return Err(Reason::OverLimit);
        }
    };
    credit.words[counter::PASSED_PACKETS] += 1;
    credit.words[counter::PASSED_BYTES] += bytes;
    let before = packet.traffic_class;
    let after = mark::class(before, treatment, congested);
    if before == after {
        return Ok(());
    }
    if mark::recodes(before, after) {
        credit.words[counter::DSCP_PACKETS] += 1;
    }
    if mark::notifies(before, after) {
        credit.words[counter::CE_PACKETS] += 1;
    }
    // SAFETY: the kernel gives these as the bounds of the frame.
    unsafe { mark::write_class::<V6>(kernel.start(), kernel.end(), packet, after) }
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
