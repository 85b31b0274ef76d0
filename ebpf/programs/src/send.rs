//! The end of the packet paths: rewrite, count, and send.

use aya_ebpf::{bindings::xdp_action, helpers::generated::bpf_redirect, programs::XdpContext};
use ebpf_common::{
    layout::{Connection, counter, stat},
    parse::Packet,
    rewrite::rewrite,
    verdict::Reason,
};

use crate::{
    maps::{self, Stats},
    too_big,
};

/// Rewrites the packet for its connection and sends it to the next hop.
///
/// # Errors
/// Returns why it cannot.
#[inline(always)]
pub fn send<const V6: bool>(
    context: &XdpContext,
    stats: Stats,
    packet: &Packet,
    connection: &Connection,
) -> Result<u32, Reason> {
    let hop = &connection.hop;
    if hop.mtu != 0 && packet.length > hop.mtu {
        return too_big::tell::<V6>(context, stats, hop.mtu);
    }
    // SAFETY: the kernel gives these as the bounds of the frame.
    unsafe { rewrite(context.data(), context.data_end(), packet, connection) }?;
    if let Some(counters) = maps::counters(connection.slot) {
        let (packets, bytes) = if connection.reply == 1 {
            (counter::PACKETS_OUT, counter::BYTES_OUT)
        } else {
            (counter::PACKETS_IN, counter::BYTES_IN)
        };
        counters[packets] += 1;
        counters[bytes] += u64::from(packet.length);
    }
    leave(context, stats, hop.ifindex)
}

/// Sends the frame out of an interface.
#[inline(always)]
pub fn leave(context: &XdpContext, stats: Stats, ifindex: u32) -> Result<u32, Reason> {
    if ifindex == context.ingress_ifindex() as u32 {
        stats.count(stat::TRANSMITTED);
        Ok(xdp_action::XDP_TX)
    } else {
        stats.count(stat::REDIRECTED);
        // SAFETY: the helper has no precondition.
        Ok(unsafe { bpf_redirect(ifindex, 0) } as u32)
    }
}
