//! Tells a sender that its packet is larger than the way takes.

use aya_ebpf::{
    bindings::xdp_action,
    helpers::generated::{bpf_jiffies64, bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use ebpf_common::{
    flows::hop_time,
    icmp::{QUOTED, headers, write_too_big},
    layout::stat,
    parse::ETHERNET,
    verdict::Reason,
};

use crate::maps::{self, Stats};

/// Messages of a CPU in a unit of [`hop_time`], 0.26 to 2.6 s. A sender that goes on regardless
/// would otherwise have one for each packet; Linux allows 1,000 a second (`icmp_msgs_per_sec`).
const TOLD_MAX: u32 = 1_000;

/// Turns the frame into a message to its sender and sends it back.
///
/// # Errors
/// Returns [`Reason::TooBig`] where too many were told, or the frame cannot be turned into one.
#[inline(always)]
pub fn tell<const V6: bool>(context: &XdpContext, stats: Stats, mtu: u16) -> Result<u32, Reason> {
    if !may_tell() {
        return Err(Reason::TooBig);
    }
    // The difference of two pointers is a number only as a whole: 32-bit arithmetic is refused.
    let length = core::hint::black_box(context.data_end() - context.data());
    let cut = (ETHERNET + QUOTED) as i32 - length as i32;
    let grown = const { headers(V6) as i32 };
    // SAFETY: the context is the kernel's.
    if unsafe { bpf_xdp_adjust_tail(context.ctx, cut) } != 0
        || unsafe { bpf_xdp_adjust_head(context.ctx, -grown) } != 0
    {
        return Err(Reason::TooBig);
    }
    let (start, end) = (context.data(), context.data_end());
    if start + ETHERNET + const { headers(V6) } + QUOTED > end {
        return Err(Reason::TooBig);
    }
    // SAFETY: the comparison above.
    unsafe { write_too_big::<V6>(start, mtu) };
    stats.count(stat::TOO_BIG_TOLD);
    Ok(xdp_action::XDP_TX)
}

#[inline(always)]
fn may_tell() -> bool {
    let Some(told) = maps::told() else { return false };
    // SAFETY: the helper has no precondition.
    let now = hop_time(unsafe { bpf_jiffies64() });
    if told.since != now {
        told.since = now;
        told.messages = 0;
    }
    told.messages += 1;
    told.messages <= TOLD_MAX
}
