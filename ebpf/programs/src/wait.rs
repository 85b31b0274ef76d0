//! Hands a frame to the worker of its queue.

use core::arch::asm;

use aya_ebpf::{
    bindings::xdp_md,
    helpers::generated::{bpf_jiffies64, bpf_xdp_adjust_head},
};
use ebpf_common::qos::{
    counter,
    wait::{FRAME_MAX, TICKET, Ticket, gate, place},
};

use crate::maps;

/// `XDP_DROP`, where a place of the map is empty.
const DROP: u64 = 1;
/// Words of [`ebpf_common::qos::Spent`] before its count of packets with workers.
const PENDING: usize = 1;
/// Words before its gates.
const SHUT: usize = 2;

/// Puts the ticket of [`ebpf_common::path::Scratch`] before the frame and hands it to the worker of its
/// queue. Returns the action, or 0 where nobody takes it: the packet is over its limit then.
///
/// A function of its own, since few packets come here and the paths' stacks are crowded.
#[inline(never)]
pub fn hand_over(context: *mut xdp_md) -> u32 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's, and no other reference to it is held.
    let (entry, length, ifindex) = unsafe {
        let ticket = &raw const (*scratch).ticket;
        ((*ticket).entry, (*ticket).length, (*ticket).ifindex)
    };
    let action = try_hand_over(context, entry, length, ifindex);
    if action == 0 {
        count_dropped(entry, length);
    }
    action
}

/// Returns the interface that a frame leaves by which was handed over.
#[inline(always)]
pub fn egress() -> u32 {
    // SAFETY: this CPU's, and no other reference to it is held.
    maps::SCRATCH.get_ptr_mut(0).map_or(0, |scratch| unsafe { (*scratch).ticket.ifindex })
}

#[inline(always)]
fn try_hand_over(context: *mut xdp_md, entry: u16, length: u16, ifindex: u32) -> u32 {
    // SAFETY: the context is the kernel's.
    let (ingress, queue) = unsafe { ((*context).ingress_ifindex, (*context).rx_queue_index) };
    let (Some(place), Some(spent)) =
        (place(ingress, queue), maps::SPENT.get_ptr_mut(u32::from(entry)))
    else {
        return 0;
    };
    let gate = gate(core::hint::black_box(queue));
    // SAFETY: a word of the entry just found.
    if unsafe { spent.cast::<u64>().add(SHUT + gate).read_volatile() } > unsafe { bpf_jiffies64() }
    {
        // The worker would drop it: that is for less here.
        return 0;
    }
    // SAFETY: a word of the entry just found.
    let pending = unsafe { spent.cast::<u64>().add(PENDING) };
    // SAFETY: the context is the kernel's; all fields are integers.
    unsafe {
        if bpf_xdp_adjust_head(context, -(TICKET as i32)) != 0 {
            return 0;
        }
        let (start, end) = ((*context).data as usize, (*context).data_end as usize);
        if start + TICKET > end || core::hint::black_box(end - start) > FRAME_MAX {
            return 0;
        }
        let ticket = start as *mut Ticket;
        (&raw mut (*ticket).ticks).write_volatile(bpf_jiffies64());
        (&raw mut (*ticket).ifindex).write_volatile(ifindex);
        (&raw mut (*ticket).entry).write_volatile(entry);
        (&raw mut (*ticket).length).write_volatile(length);
        add(pending, 1);
    }
    match maps::SOCKETS.redirect(place, DROP) {
        Ok(action) => action,
        Err(_) => {
            // No worker, so nothing of what was handed over comes out: XDP limits by itself.
            // SAFETY: as above; a word is written as a whole.
            unsafe { pending.write_volatile(0) };
            0
        }
    }
}

/// Counts a packet as dropped that was counted as one to wait.
#[inline(always)]
fn count_dropped(entry: u16, length: u16) {
    if let Some(credit) = maps::CREDIT.get_ptr_mut(u32::from(entry)) {
        // SAFETY: this CPU's, and no other reference to it is held.
        let words = unsafe { &mut (*credit).words };
        words[counter::WAITING_PACKETS] -= 1;
        words[counter::OVER_PACKETS] += 1;
        words[counter::OVER_BYTES] += u64::from(length);
    }
}

/// Adds to a word that others add to.
///
/// # Safety
/// The word must be a map's.
#[inline(always)]
unsafe fn add(word: *mut u64, count: u64) {
    // SAFETY: the caller's; the instruction is an atomic one of 64 bits.
    unsafe {
        asm!("lock *(u64 *)({word} + 0) += {count}", word = in(reg) word, count = in(reg) count);
    }
}
