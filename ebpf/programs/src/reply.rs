//! From a backend back to the client.

use aya_ebpf::programs::XdpContext;
use ebpf_common::{layout::Connection, parse::Packet, verdict::Reason};

use crate::{
    connection::{self, Refresh},
    send,
};

/// Forwards a packet of a connection's backend to its client.
///
/// # Errors
/// Returns why it cannot.
#[inline(always)]
pub fn handle(
    context: &XdpContext,
    packet: &Packet,
    connection: &mut Connection,
) -> Result<u32, Reason> {
    if packet.hop_limit <= 1 {
        return Err(Reason::HopLimit);
    }
    if packet.v6 && !packet.has_checksum {
        return Err(Reason::NoChecksum);
    }
    let now = connection::now_s();
    if connection::is_due(connection, packet, now)
        && let Refresh::Lost = connection::refresh(context.ctx, packet, connection, now)?
    {
        connection::remove(&packet.tuple);
        return Err(Reason::NotService);
    }
    send::send(context, packet, connection)
}
