//! From a backend back to the client.

use aya_ebpf::programs::XdpContext;
use ebpf_common::{layout::Connection, parse::Packet, verdict::Reason};

use crate::connection::{self, Refresh};

/// Brings the connection of a backend's packet up to date.
///
/// # Errors
/// Returns why the packet cannot go on.
#[inline(always)]
pub fn connection(
    context: &XdpContext,
    packet: &Packet,
    connection: &'static mut Connection,
) -> Result<&'static Connection, Reason> {
    connection::check(packet)?;
    let now = connection::now_s();
    if connection::is_due(connection, packet, now)
        && let Refresh::Lost = connection::refresh(context.ctx, packet, connection, now)?
    {
        connection::remove(&packet.tuple);
        return Err(Reason::NotService);
    }
    Ok(connection)
}
