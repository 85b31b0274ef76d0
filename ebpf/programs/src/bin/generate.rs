//! Measures a path end to end: a generator of frames, receivers that count them, and the floors.
//!
//! The generator is meant for `BPF_F_TEST_XDP_LIVE_FRAMES`, with which the kernel sends what the
//! program returns. It writes all headers each time, since a frame comes back from wherever it went
//! the way it was left there. It keeps a window of frames under way: a ring that is full all the time
//! costs the node, which then has the generator's CPU for a rival for its locks.

#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, PerCpuArray},
    helpers::generated::{bpf_ktime_get_ns, bpf_redirect},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use ebpf_common::{
    drive::{STRIDE, source},
    generate::{
        CREDIT, HEADER_CHECKSUM, HEADERS, PATIENCE, RECEIVER, Received, SAMPLE_EVERY,
        SOURCE_ADDRESS, SOURCE_PORT, TCP_CHECKSUM, Template, UDP_CHECKSUM, Way,
    },
};

#[btf_map(name = "gen_template")]
static TEMPLATE: Array<Template, 1> = Array::new();

#[btf_map(name = "gen_received")]
static RECEIVED: PerCpuArray<Received, 1> = PerCpuArray::new();

#[btf_map(name = "gen_credit")]
static CREDIT_WORD: Array<u64, 1> = Array::new();

#[btf_map(name = "gen_way")]
static WAY: Array<Way, 1> = Array::new();

/// Makes the frame one of the next flow and sends it out of the interface it is said to come from.
#[xdp]
pub fn generate(context: XdpContext) -> u32 {
    match write(&context) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_ABORTED,
    }
}

/// Counts the frame, if it is for the receiver, and drops it.
#[xdp]
pub fn count(context: XdpContext) -> u32 {
    let start = context.data();
    if let Some(template) = TEMPLATE.get(0)
        && let Some(received) = RECEIVED.get_ptr_mut(0)
        && start + HEADERS <= context.data_end()
        // SAFETY: the comparison above.
        && unsafe { ((start + RECEIVER) as *const u16).read_volatile() } == template.receiver as u16
    {
        // SAFETY: the entry belongs to this CPU.
        let received = unsafe { &mut *received };
        received.frames += 1;
        if received.frames & (CREDIT - 1) == 0
            && let Some(word) = CREDIT_WORD.get_ptr_mut(0)
        {
            // Two CPUs at the same moment would lose some of it, as if frames were lost.
            // SAFETY: the map has one entry.
            unsafe { word.write_volatile(word.read_volatile() + CREDIT) };
        }
        if received.frames & (SAMPLE_EVERY - 1) == 0 {
            let mut word = 0;
            while word < HEADERS / 8 {
                // SAFETY: the comparison above; the sample has as many words.
                unsafe {
                    let value = ((start + word * 8) as *const u64).read_volatile();
                    received.sample.as_mut_ptr().add(word).write_volatile(value);
                }
                word += 1;
            }
        }
    }
    xdp_action::XDP_DROP
}

/// Swaps the Ethernet addresses and sends the frame back.
#[xdp]
pub fn swap(context: XdpContext) -> u32 {
    let start = context.data();
    if start + 12 > context.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: the comparison above.
    unsafe {
        let addresses = (start as *mut u16).cast::<[u16; 6]>();
        let [a, b, c, d, e, f] = addresses.read_volatile();
        addresses.write_volatile([d, e, f, a, b, c]);
    }
    xdp_action::XDP_TX
}

/// Gives the frame other Ethernet addresses and sends it out of another interface.
#[xdp]
pub fn onward(context: XdpContext) -> u32 {
    let start = context.data();
    if start + 12 > context.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    let Some(way) = WAY.get(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: the comparison above; the helper has no precondition.
    unsafe {
        (start as *mut u16).cast::<[u16; 6]>().write_volatile(way.addresses);
        bpf_redirect(way.ifindex, 0) as u32
    }
}

#[inline(always)]
fn write(context: &XdpContext) -> Option<()> {
    // SAFETY: the map has one entry, and one CPU generates.
    let template = unsafe { &mut *TEMPLATE.get_ptr_mut(0)? };
    let start = context.data();
    if start + HEADERS > context.data_end() {
        return None;
    }
    wait(template)?;
    template.counter = template.counter.wrapping_add(1);
    let flow = template.counter.wrapping_mul(STRIDE) & template.flows_mask;
    let mut word = 0;
    while word < HEADERS / 8 {
        // SAFETY: the comparison above; the template has as many words.
        unsafe {
            let value = *template.headers.as_ptr().add(word);
            ((start + word * 8) as *mut u64).write_volatile(value);
        }
        word += 1;
    }
    let (address, port) = source(flow);
    let (header, transport) = template.checksums_from(address, port);
    // SAFETY: the comparison above.
    unsafe {
        ((start + SOURCE_ADDRESS) as *mut u32).write_volatile(address);
        ((start + SOURCE_PORT) as *mut u16).write_volatile(port);
        ((start + HEADER_CHECKSUM) as *mut u16).write_volatile(header);
        if template.tcp == 1 {
            ((start + TCP_CHECKSUM) as *mut u16).write_volatile(transport);
        } else {
            ((start + UDP_CHECKSUM) as *mut u16).write_volatile(transport);
        }
    }
    Some(())
}

/// Waits until fewer frames than the window are under way, or are taken for lost.
#[inline(always)]
fn wait(template: &mut Template) -> Option<()> {
    let word = CREDIT_WORD.get_ptr(0)?;
    // SAFETY: the map has one entry, which receivers write as a whole.
    let credit = || unsafe { word.read_volatile() };
    let late = credit().wrapping_add(template.lost).wrapping_sub(template.counter) as i64;
    if late > 0 {
        // Frames that were taken for lost have come.
        template.lost = template.lost.wrapping_sub(late as u64);
    }
    let mut tries = 0;
    while tries < PATIENCE {
        let back = credit().wrapping_add(template.lost);
        if (template.counter.wrapping_sub(back) as i64) < template.window as i64 {
            return Some(());
        }
        // Takes its time.
        // SAFETY: the helper has no precondition.
        unsafe {
            bpf_ktime_get_ns();
            bpf_ktime_get_ns();
            bpf_ktime_get_ns();
            bpf_ktime_get_ns();
        }
        tries += 1;
    }
    template.lost = template.counter.wrapping_sub(credit());
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
