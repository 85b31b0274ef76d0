//! VLAN tags (IEEE 802.1Q clause 9.6): taken off before anything looks at a frame, and put on for
//! where it goes. What the kernel gets has the tag that it came with.
//!
//! A frame with two tags, or with one of another type, is none that the path takes.

use super::kernel::Kernel;
use crate::{
    layout::{Hop, link},
    parse::{ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, read},
    rewrite::write,
    verdict::{Action, Reason},
};

const ETHERTYPE_VLAN: u16 = 0x8100u16.to_be();
/// Length of a tag.
pub(super) const TAG: usize = 4;
/// The number of the VLAN in a tag's control information.
const NUMBER: u32 = 0x0fff;

/// What [`Kernel::tag`] returns for a frame that came with a tag of this control information.
const fn came_with(control: u16) -> u32 {
    1 << 16 | control as u32
}

/// Tells whether the frame has a tag that [`take_off`] would take off.
#[inline(always)]
pub(super) fn is_tagged(kernel: &impl Kernel) -> bool {
    // SAFETY: the kernel gives these as the bounds of the frame.
    unsafe { has_tag(kernel.start(), kernel.end()) }
}

/// Tells whether what lies there is a frame with such a tag.
///
/// # Safety
/// The bounds must be those of readable memory.
#[inline(always)]
pub(super) unsafe fn has_tag(start: usize, end: usize) -> bool {
    if start + ETHERNET + TAG > end {
        return false;
    }
    // SAFETY: the comparison above.
    let (outer, inner) = unsafe { (read::<u16>(start + 12), read::<u16>(start + 16)) };
    outer == ETHERTYPE_VLAN && (inner == ETHERTYPE_IPV4 || inner == ETHERTYPE_IPV6)
}

/// Takes the frame's tag off, and returns what [`Kernel::tag`] is from then on.
///
/// # Errors
/// Returns why the frame goes nowhere.
#[inline(always)]
pub fn take_off(kernel: &impl Kernel) -> Result<u32, Reason> {
    if !is_tagged(kernel) {
        return Err(Reason::NotIp);
    }
    let (start, end) = (kernel.start(), kernel.end());
    if start + ETHERNET + TAG > end {
        return Err(Reason::Malformed);
    }
    // SAFETY: the comparison above.
    let control = unsafe {
        let addresses = (read::<u32>(start), read::<u32>(start + 4), read::<u32>(start + 8));
        let control = u16::from_be(read(start + 14));
        write(start + TAG, addresses.0);
        write(start + TAG + 4, addresses.1);
        write(start + TAG + 8, addresses.2);
        control
    };
    if !kernel.grow_head(-(TAG as i32)) {
        return Err(Reason::NoHeadroom);
    }
    Ok(came_with(control))
}

/// Gives the frame the tag of its next hop, if that is in a VLAN.
///
/// # Errors
/// Returns why the frame goes nowhere.
#[inline(always)]
pub(super) fn put_on_for(kernel: &impl Kernel, hop: &Hop) -> Result<(), Reason> {
    if hop.link & link::TAGGED == 0 {
        return Ok(());
    }
    put_on(kernel, hop.link & link::VLAN)
}

/// Gives the frame the tag that it came with, if it came with one.
///
/// # Errors
/// Returns why the frame goes nowhere.
#[inline(always)]
pub(super) fn put_back(kernel: &impl Kernel) -> Result<(), Reason> {
    match kernel.tag() {
        0 => Ok(()),
        tag => put_on(kernel, tag as u16),
    }
}

/// Does what [`put_back`] does where the kernel gets the frame; returns why it goes nowhere then.
#[inline(always)]
pub(super) fn put_back_for_kernel(kernel: &impl Kernel, reason: Reason) -> Reason {
    if matches!(reason.action(), Action::Drop) {
        return reason;
    }
    match put_back(kernel) {
        Ok(()) => reason,
        Err(failed) => failed,
    }
}

/// Returns [`Hop::link`] of the way back to where the frame came from.
#[inline(always)]
pub(super) fn link_back(kernel: &impl Kernel) -> u16 {
    // VLAN 0 is no VLAN: such a tag has a priority only.
    match kernel.tag() & NUMBER {
        0 => 0,
        number => link::TAGGED | number as u16,
    }
}

#[inline(always)]
fn put_on(kernel: &impl Kernel, control: u16) -> Result<(), Reason> {
    if !kernel.grow_head(TAG as i32) {
        return Err(Reason::NoHeadroom);
    }
    let (start, end) = (kernel.start(), kernel.end());
    if start + ETHERNET + TAG > end {
        return Err(Reason::Malformed);
    }
    // SAFETY: the comparison above.
    unsafe {
        let from = start + TAG;
        let addresses = (read::<u32>(from), read::<u32>(from + 4), read::<u32>(from + 8));
        write(start, addresses.0);
        write(start + 4, addresses.1);
        write(start + 8, addresses.2);
        write(start + 12, ETHERTYPE_VLAN);
        write(start + 14, control.to_be());
    }
    Ok(())
}
