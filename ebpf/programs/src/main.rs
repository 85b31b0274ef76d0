//! The XDP program: runs the path of [`ebpf_common::path`] in the kernel.
//!
//! What is decided stands there; here are the maps ([`maps`]), the helpers ([`kernel`],
//! [`next_hop`]), and the one `match` from what was decided to an action.

#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "core has no atomic exchange for this target")]

mod kernel;
mod maps;
mod next_hop;

use aya_ebpf::{
    bindings::xdp_action, helpers::generated::bpf_redirect, macros::xdp, programs::XdpContext,
};
use ebpf_common::{
    path::{Kernel, Sent, steer},
    verdict::Action,
};

use crate::kernel::Xdp;

/// Handles one frame.
#[xdp]
#[inline(always)]
pub fn marchproxy_l4(context: XdpContext) -> u32 {
    let Some(stats) = maps::stats() else { return xdp_action::XDP_PASS };
    let kernel = Xdp { context: &context, stats };
    match steer(&kernel) {
        Ok(Sent::Back) => xdp_action::XDP_TX,
        // SAFETY: the helper has no precondition.
        Ok(Sent::On(ifindex)) => unsafe { bpf_redirect(ifindex, 0) as u32 },
        Err(reason) => {
            kernel.count(reason as usize);
            match reason.action() {
                Action::Pass => xdp_action::XDP_PASS,
                Action::Drop => xdp_action::XDP_DROP,
            }
        }
    }
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
