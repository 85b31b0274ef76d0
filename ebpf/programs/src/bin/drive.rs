//! Measures another XDP program under `BPF_PROG_TEST_RUN`: restores the frame that the run before
//! has changed, makes it one of the next flow, and calls the program.
//!
//! The kernel does not restore a frame between the repeats of a run; without this a program that
//! encapsulates or translates could not be measured.

#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, ProgramArray},
    helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use ebpf_common::drive::{BEFORE_WORDS, RESTORED_V4, RESTORED_V6, STRIDE, State, source};

#[btf_map(name = "drive_state")]
static STATE: Array<State, 1> = Array::new();

#[btf_map(name = "drive_next")]
static NEXT: ProgramArray<1> = ProgramArray::new();

/// Prepares a frame and calls the program that is measured.
#[xdp]
pub fn drive(context: XdpContext) -> u32 {
    let prepared = prepare(&context);
    if prepared.is_some() {
        // It returns only where there is no such program.
        // SAFETY: the map holds XDP programs only; the kernel sees to that.
        unsafe { NEXT.tail_call(&context, 0) };
    }
    xdp_action::XDP_ABORTED
}

/// Does nothing.
#[xdp]
pub fn floor(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[inline(always)]
fn prepare(context: &XdpContext) -> Option<()> {
    // SAFETY: the map has one entry; runs on other CPUs would only change the order of flows.
    let state = unsafe { &mut *STATE.get_ptr_mut(0)? };
    // The difference of two pointers is a number only as a whole: 32-bit arithmetic is refused.
    let length = core::hint::black_box(context.data_end() - context.data());
    let grown = length as i32 - state.length as i32;
    // Also where there is nothing to restore, so that the floor has the helper's cost too and what
    // encapsulates pays for its own call only.
    // SAFETY: the context is the kernel's.
    let refused = unsafe {
        if state.tail == 1 {
            bpf_xdp_adjust_tail(context.ctx, -grown)
        } else {
            bpf_xdp_adjust_head(context.ctx, grown)
        }
    };
    if refused != 0 {
        return None;
    }
    state.counter = state.counter.wrapping_add(1);
    let flow = state.counter.wrapping_mul(STRIDE) & state.flows_mask;
    if state.v6 == 1 {
        restore::<RESTORED_V6, 34, 54>(context, state, flow)
    } else {
        restore::<RESTORED_V4, 26, 34>(context, state, flow)
    }
}

#[inline(always)]
fn restore<const LENGTH: usize, const ADDRESS: usize, const PORT: usize>(
    context: &XdpContext,
    state: &State,
    flow: u64,
) -> Option<()> {
    let start = context.data();
    if start + LENGTH > context.data_end() {
        return None;
    }
    // SAFETY: the comparison above; the state has as many words.
    unsafe {
        (start as *mut u32).write_volatile(state.first);
        ((start + 4) as *mut u16).write_volatile(state.second);
        let mut word = 0;
        while word < (LENGTH - BEFORE_WORDS) / 8 {
            let value = *state.words.as_ptr().add(word);
            ((start + BEFORE_WORDS + word * 8) as *mut u64).write_volatile(value);
            word += 1;
        }
    }
    let (address, port) = source(flow);
    // SAFETY: the comparison above.
    unsafe {
        ((start + ADDRESS) as *mut u32).write_volatile(address);
        ((start + PORT) as *mut u16).write_volatile(port);
    }
    Some(())
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
