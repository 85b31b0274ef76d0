//! The tick counter and the atomic instructions; the machine without a frame.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_jiffies64;
use ebpf_common::machine::Machine;

/// Returns the kernel's tick counter.
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_jiffies64() }
}

/// Replaces a word where it is the old one, and returns what it was.
///
/// # Safety
/// The word must be one of a map.
#[inline(always)]
pub unsafe fn exchange(word: *mut u64, old: u64, new: u64) -> u64 {
    let seen: u64;
    // SAFETY: the caller's word; the instruction is an atomic one of 64 bits.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            word = in(reg) word,
            new = in(reg) new,
            inlateout("r0") old => seen,
        );
    }
    seen
}

/// Replaces a word.
///
/// # Safety
/// As for [`exchange`].
#[inline(always)]
pub unsafe fn publish(word: *mut u64, new: u64) {
    // SAFETY: as above.
    unsafe {
        asm!(
            "{new} = xchg_64({word} + 0, {new})",
            word = in(reg) word,
            new = inout(reg) new => _,
        );
    }
}

/// The maps, where there is no frame.
pub struct Maps;

impl Machine for Maps {
    #[inline(always)]
    fn ticks(&self) -> u64 {
        ticks()
    }

    #[inline(always)]
    unsafe fn exchange(&self, word: *mut u64, old: u64, new: u64) -> u64 {
        // SAFETY: the caller's.
        unsafe { exchange(word, old, new) }
    }

    #[inline(always)]
    unsafe fn publish(&self, word: *mut u64, new: u64) {
        // SAFETY: the caller's.
        unsafe { publish(word, new) };
    }
}
