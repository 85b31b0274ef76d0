//! Tells a sender that its packet is larger than the way takes.

use super::{
    kernel::Kernel,
    send::Sent,
    task::{Stop, Task},
    vlan,
};
use crate::{
    flows::hop_time,
    icmp::{QUOTED, headers, write_too_big},
    layout::stat,
    parse::ETHERNET,
    verdict::Reason,
};

/// Messages of a CPU in a unit of [`hop_time`], 0.26 to 2.6 s. A sender that goes on regardless
/// would otherwise have one for each packet; Linux allows 1,000 a second (`icmp_msgs_per_sec`).
const TOLD_MAX: u32 = 1_000;

/// Leaves it for [`tell`], with what the way takes.
#[inline(always)]
pub(super) fn later(kernel: &impl Kernel, mtu: u16) -> Stop {
    if let Some(scratch) = kernel.scratch() {
        // SAFETY: this CPU's.
        unsafe { (*scratch).mtu = mtu };
    }
    Stop::Later(Task::TooBig)
}

/// Turns the frame into a message to its sender and sends it back.
///
/// # Errors
/// Returns [`Reason::TooBig`] where too many were told, or the frame cannot be turned into one.
#[inline(always)]
pub(super) fn tell<const V6: bool>(kernel: &impl Kernel) -> Result<Sent, Reason> {
    // SAFETY: this CPU's, and asked for once a frame.
    let mtu = kernel.scratch().map_or(0, |scratch| unsafe { (*scratch).mtu });
    if !may_tell(kernel) {
        return Err(Reason::TooBig);
    }
    // The difference of two pointers is a number only as a whole: 32-bit arithmetic is refused.
    let length = core::hint::black_box(kernel.end() - kernel.start());
    let cut = (ETHERNET + QUOTED) as i32 - length as i32;
    let grown = const { headers(V6) as i32 };
    if !kernel.grow_tail(cut) || !kernel.grow_head(grown) {
        return Err(Reason::TooBig);
    }
    let (start, end) = (kernel.start(), kernel.end());
    if start + ETHERNET + const { headers(V6) } + QUOTED > end {
        return Err(Reason::TooBig);
    }
    // SAFETY: the comparison above.
    unsafe { write_too_big::<V6>(start, mtu) };
    vlan::put_back(kernel)?;
    kernel.count(stat::TOO_BIG_TOLD);
    Ok(Sent::Back)
}

#[inline(always)]
fn may_tell(kernel: &impl Kernel) -> bool {
    let Some(told) = kernel.told() else { return false };
    // SAFETY: this CPU's, and asked for once a frame.
    let told = unsafe { &mut *told };
    let now = hop_time(kernel.ticks());
    if told.since != now {
        told.since = now;
        told.messages = 0;
    }
    told.messages += 1;
    told.messages <= TOLD_MAX
}
