//! The XDP programs: run the path of [`ebpf_common::path`] in the kernel.
//!
//! What is decided stands there; here are the maps ([`maps`]), the helpers ([`kernel`],
//! [`machine`], [`next_hop`]), functions for limits, places and IPv6 prefixes ([`rates`], [`taking`],
//! [`find_v6`]), the way to workers ([`wait`]), a program a task, and the one `match` from what was
//! decided to an action.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod find_v6;
mod kernel;
mod machine;
mod maps;
mod next_hop;
mod rates;
mod taking;
mod wait;

use aya_ebpf::{
    bindings::xdp_action, helpers::generated::bpf_redirect, macros::xdp, programs::XdpContext,
};
use ebpf_common::{
    layout::{EVENT_TASK, note},
    path::{Kernel, Sent, Stop, Task, is_wanted, resume, steer, take_off, tell},
    verdict::{Action, Reason},
};

use crate::kernel::Xdp;

/// Handles one frame.
#[xdp]
#[inline(always)]
pub fn marchproxy_l4(context: XdpContext) -> u32 {
    let Some(kernel) = Xdp::of(&context) else { return xdp_action::XDP_PASS };
    act(&kernel, steer(&kernel))
}

/// Goes on with a frame whose connection begins, ends, or must be refreshed.
#[xdp]
#[inline(always)]
pub fn mp_connection(context: XdpContext) -> u32 {
    let Some(kernel) = Xdp::of_task(&context) else { return xdp_action::XDP_PASS };
    act(&kernel, resume(&kernel, Task::Connection))
}

/// Goes on with an ICMP error.
#[xdp]
#[inline(always)]
pub fn mp_error(context: XdpContext) -> u32 {
    let Some(kernel) = Xdp::of_task(&context) else { return xdp_action::XDP_PASS };
    act(&kernel, resume(&kernel, Task::Error))
}

/// Goes on with a packet that is too big.
#[xdp]
#[inline(always)]
pub fn mp_too_big(context: XdpContext) -> u32 {
    let Some(kernel) = Xdp::of_task(&context) else { return xdp_action::XDP_PASS };
    act(&kernel, resume(&kernel, Task::TooBig))
}

/// Goes on with a packet to an endpoint that answers directly, which has to wait.
#[xdp]
#[inline(always)]
pub fn mp_direct(context: XdpContext) -> u32 {
    let Some(kernel) = Xdp::of_task(&context) else { return xdp_action::XDP_PASS };
    act(&kernel, resume(&kernel, Task::Direct))
}

/// Answers a SYN by a cookie, or begins the connection of a client that answers one.
#[xdp]
#[inline(always)]
pub fn mp_cookie(context: XdpContext) -> u32 {
    let Some(kernel) = Xdp::of_task(&context) else { return xdp_action::XDP_PASS };
    act(&kernel, resume(&kernel, Task::Cookie))
}

/// Goes on with a packet of a connection that began by a SYN cookie.
#[xdp]
#[inline(always)]
pub fn mp_spliced(context: XdpContext) -> u32 {
    let Some(kernel) = Xdp::of_task(&context) else { return xdp_action::XDP_PASS };
    act(&kernel, resume(&kernel, Task::Spliced))
}

/// Takes a VLAN tag off, and handles the frame as one without.
#[xdp]
#[inline(always)]
pub fn mp_tagged(context: XdpContext) -> u32 {
    let Some(kernel) = Xdp::of(&context) else { return xdp_action::XDP_PASS };
    match take_off(&kernel) {
        Ok(tag) => {
            let kernel = kernel.with_tag(tag);
            act(&kernel, resume(&kernel, Task::Tagged))
        }
        Err(reason) => act(&kernel, Err(Stop::For(reason))),
    }
}

/// Tells of a frame about which all is decided.
#[xdp]
#[inline(always)]
pub fn mp_event(context: XdpContext) -> u32 {
    let Some(kernel) = Xdp::of(&context) else { return xdp_action::XDP_PASS };
    tell(&kernel)
}

/// Does what was decided, and leaves telling of the frame to a program of its own.
#[inline(always)]
fn act(kernel: &Xdp<'_>, decided: Result<Sent, Stop>) -> u32 {
    let mut waits = 0;
    let (action, reason, egress) = match decided {
        Ok(Sent::Back) => (xdp_action::XDP_TX, 0, 0),
        // SAFETY: the helper has no precondition.
        Ok(Sent::On(ifindex)) => (unsafe { bpf_redirect(ifindex, 0) as u32 }, 0, ifindex),
        Ok(Sent::Later) => match wait::hand_over(kernel.context.ctx) {
            0 => {
                kernel.count(Reason::OverLimit as usize);
                (xdp_action::XDP_DROP, Reason::OverLimit as u32 + 1, 0)
            }
            action => {
                waits = note::WAITS;
                (action, 0, wait::egress())
            }
        },
        Err(stop) => {
            let reason = match stop {
                Stop::Later(task) => {
                    // It returns only where there is no such program.
                    // SAFETY: the map holds XDP programs only; the kernel sees to that.
                    unsafe { maps::TASKS.tail_call(kernel.context, task as u32) };
                    task.undone()
                }
                Stop::For(reason) => reason,
            };
            // The compiler knows the greatest reason and would leave out the comparison with the
            // number of words, which the verifier wants to see where a reason comes from a function
            // of its own.
            kernel.count(core::hint::black_box(reason as usize));
            let action = match reason.action() {
                Action::Pass => xdp_action::XDP_PASS,
                Action::Drop => xdp_action::XDP_DROP,
            };
            (action, reason as u32 + 1, 0)
        }
    };
    if is_wanted(kernel, action == xdp_action::XDP_DROP) {
        let verdict = u64::from(action | reason << 8) | waits | u64::from(egress) << 32;
        kernel.set(note::VERDICT, verdict);
        // As above.
        // SAFETY: as above.
        unsafe { maps::TASKS.tail_call(kernel.context, EVENT_TASK) };
    }
    action
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// `bpf_fib_lookup` is offered to GPL-compatible programs only, so this object is under either
/// Apache-2.0 or GPL-2.0 (see `Cargo.toml`), in the kernel's spelling.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
