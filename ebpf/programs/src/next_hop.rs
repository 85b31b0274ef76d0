//! The next hop of a translated packet, from the kernel's routes and neighbours.

use aya_ebpf::{
    bindings::{
        BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS,
        bpf_fib_lookup as FibParameters, xdp_md,
    },
    helpers::generated::bpf_fib_lookup,
};
use ebpf_common::{
    layout::{Connection, Hop},
    verdict::Reason,
};

/// `AF_INET` and `AF_INET6` (include/linux/socket.h).
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// The loopback interface of every network namespace. Lookups are made as if packets came from
/// there, as the node's own packets do, so that only its forwarding switch must be on and no
/// real interface becomes a router.
const LOOPBACK: u32 = 1;

/// Looks up where a translated packet goes.
///
/// # Errors
/// Returns why there is no next hop.
#[inline(always)]
pub fn find(context: *mut xdp_md, connection: &Connection, protocol: u8) -> Result<Hop, Reason> {
    // SAFETY: all fields are integers, for which zero is a value.
    let mut fib: FibParameters = unsafe { core::mem::zeroed() };
    fib.l4_protocol = protocol;
    fib.sport = connection.source_port_be;
    fib.dport = connection.destination_port_be;
    fib.ifindex = LOOPBACK;
    if connection.destination.is_v4() {
        fib.family = AF_INET;
        fib.__bindgen_anon_3.ipv4_src = connection.source.words[3];
        fib.__bindgen_anon_4.ipv4_dst = connection.destination.words[3];
    } else {
        fib.family = AF_INET6;
        fib.__bindgen_anon_3.ipv6_src = connection.source.words;
        fib.__bindgen_anon_4.ipv6_dst = connection.destination.words;
    }
    // SAFETY: the context is the kernel's, the parameters live on the stack.
    let answer = unsafe {
        bpf_fib_lookup(context.cast(), &raw mut fib, size_of::<FibParameters>() as i32, 0)
    };
    match answer as u32 {
        BPF_FIB_LKUP_RET_SUCCESS => Ok(Hop {
            ifindex: fib.ifindex,
            // SAFETY: the kernel stores the route's MTU there on success.
            mtu: unsafe { fib.__bindgen_anon_1.mtu_result },
            destination: words(fib.dmac),
            source: words(fib.smac),
            padding: [0; 2],
        }),
        BPF_FIB_LKUP_RET_NO_NEIGH => Err(Reason::NoNeighbour),
        BPF_FIB_LKUP_RET_FWD_DISABLED => Err(Reason::ForwardingOff),
        _ => Err(Reason::NoRoute),
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
