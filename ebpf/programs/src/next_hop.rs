//! The next hop of a translated packet, from the kernel's routes and neighbours.

use aya_ebpf::{
    bindings::{
        BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS,
        bpf_fib_lookup as FibParameters, xdp_md,
    },
    helpers::generated::bpf_fib_lookup,
};
use ebpf_common::{
    layout::{Address, Hop, Tuple, link},
    verdict::Reason,
};

use crate::maps;

/// `AF_INET` and `AF_INET6` (include/linux/socket.h).
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// The loopback interface of every network namespace. Lookups are made as if packets came from
/// there, as the node's own packets do, so that only its forwarding switch must be on and no
/// real interface becomes a router.
const LOOPBACK: u32 = 1;

/// Looks up where packets of a flow go.
///
/// A function of its own: off the path of most packets, its parameters would crowd the path's stack.
///
/// # Errors
/// Returns why there is no next hop.
#[inline(never)]
pub fn find(context: *mut xdp_md, flow: &Tuple) -> Result<Hop, Reason> {
    // SAFETY: all fields are integers, for which zero is a value.
    let mut fib: FibParameters = unsafe { core::mem::zeroed() };
    fib.l4_protocol = flow.protocol;
    fib.sport = flow.source_port_be;
    fib.dport = flow.destination_port_be;
    fib.ifindex = LOOPBACK;
    if flow.destination.is_v4() {
        fib.family = AF_INET;
        fib.__bindgen_anon_3.ipv4_src = flow.source.words[3];
        fib.__bindgen_anon_4.ipv4_dst = flow.destination.words[3];
    } else {
        fib.family = AF_INET6;
        fib.__bindgen_anon_3.ipv6_src = flow.source.words;
        fib.__bindgen_anon_4.ipv6_dst = flow.destination.words;
    }
    // SAFETY: the context is the kernel's, the parameters live on the stack.
    let answer = unsafe {
        bpf_fib_lookup(context.cast(), &raw mut fib, size_of::<FibParameters>() as i32, 0)
    };
    match answer as u32 {
        BPF_FIB_LKUP_RET_SUCCESS => {
            let vlan = maps::vlan(fib.ifindex);
            let gateway = if leads_to(&fib, flow) { 0 } else { link::GATEWAY };
            Ok(Hop {
                ifindex: vlan.map_or(fib.ifindex, |vlan| vlan.ifindex),
                // SAFETY: the kernel stores the route's MTU there on success.
                mtu: unsafe { fib.__bindgen_anon_1.mtu_result },
                destination: words(fib.dmac),
                source: words(fib.smac),
                link: gateway | vlan.map_or(0, |vlan| vlan.link),
            })
        }
        BPF_FIB_LKUP_RET_NO_NEIGH => Err(Reason::NoNeighbour),
        BPF_FIB_LKUP_RET_FWD_DISABLED => Err(Reason::ForwardingOff),
        _ => Err(Reason::NoRoute),
    }
}

/// Tells whether the next hop is the destination itself: the kernel puts the next hop there.
#[inline(always)]
fn leads_to(fib: &FibParameters, flow: &Tuple) -> bool {
    // SAFETY: all fields are integers, of which the kernel has written those of the family.
    unsafe {
        if flow.destination.is_v4() {
            fib.__bindgen_anon_4.ipv4_dst == flow.destination.words[3]
        } else {
            Address { words: fib.__bindgen_anon_4.ipv6_dst }.same(&flow.destination)
        }
    }
}

#[inline(always)]
fn words(address: [u8; 6]) -> [u16; 3] {
    [
        u16::from_ne_bytes([address[0], address[1]]),
        u16::from_ne_bytes([address[2], address[3]]),
        u16::from_ne_bytes([address[4], address[5]]),
    ]
}
