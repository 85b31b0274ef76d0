//! From a backend back to the client.

use super::{
    connection::{self, Found},
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
    mut found: Found<'k>,
    ways: u32,
) -> Result<&'k Connection, Reason> {
    connection::check(packet)?;
    let clock = connection::clock(kernel);
    if found.is_due(packet, clock, ways) {
        if !connection::refresh(kernel, packet, &mut found, clock) {
            return Err(Reason::NotService);
        }
        connection::look_up(kernel, found.connection, ways)?;
    }
    Ok(found.connection)
}
