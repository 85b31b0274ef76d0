//! From a backend back to the client.

use super::{
    connection::{self, Refresh},
    kernel::Kernel,
};
use crate::{layout::Connection, parse::Packet, verdict::Reason};

/// Brings the connection of a backend's packet up to date.
///
/// # Errors
/// Returns why the packet cannot go on.
#[inline(always)]
pub(super) fn connection<'k>(
    kernel: &'k impl Kernel,
    packet: &Packet,
    connection: &'k mut Connection,
) -> Result<&'k Connection, Reason> {
    connection::check(packet)?;
    let now = kernel.seconds();
    if connection::is_due(connection, packet, now)
        && let Refresh::Lost = connection::refresh(kernel, packet, connection, now)?
    {
        kernel.remove(&packet.tuple);
        return Err(Reason::NotService);
    }
    Ok(connection)
}
