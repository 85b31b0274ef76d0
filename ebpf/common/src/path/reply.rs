//! From a backend back to the client.

use super::{
    connection::{self, Found},
    kernel::Kernel,
    task::{Stop, Task},
};
use crate::{
    layout::{Connection, splice},
    parse::Packet,
    verdict::Reason,
};

/// Brings the connection of a backend's packet up to date.
///
/// # Errors
/// Returns why the packet cannot go on, or the task that is left.
#[inline(always)]
pub(super) fn connection<'k>(
    kernel: &'k impl Kernel,
    packet: &Packet,
    mut found: Found<'k>,
    ways: u32,
) -> Result<&'k Connection, Stop> {
    connection::check(packet)?;
    if found.connection.splice != splice::NONE {
        return Err(Stop::Later(Task::Spliced));
    }
    let clock = connection::clock(kernel);
    if found.is_due(packet, clock, ways) {
        if !connection::refresh(kernel, packet, &mut found, clock) {
            return Err(Reason::NotService.into());
        }
        connection::look_up(kernel, found.connection, ways)?;
    }
    Ok(found.connection)
}
