//! What XDP a driver can do, as the kernel's family `netdev` tells since Linux 6.3
//! (<https://docs.kernel.org/networking/netlink_spec/netdev.html>).

use std::io;

use crate::{
    doctor::facts::Native,
    netlink::{Netlink, wire},
};

/// Bytes of `struct genlmsghdr`: command, version, two reserved.
const HEADER: usize = 4;
/// The controller's command and attributes (include/uapi/linux/genetlink.h).
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// The family's command and attributes (include/uapi/linux/netdev.h).
const FAMILY: &[u8] = b"netdev\0";
const DEV_GET: u8 = 1;
const DEV_IFINDEX: u16 = 1;
const DEV_XDP_FEATURES: u16 = 3;

/// Asks about an interface; `None` where the kernel does not have the family.
pub(super) fn read(index: u32) -> io::Result<Option<Native>> {
    let netlink = Netlink::generic()?;
    let get_family = [libc::CTRL_CMD_GETFAMILY as u8, 1, 0, 0];
    let asked = [(CTRL_ATTR_FAMILY_NAME, FAMILY)];
    let family = match netlink.get(libc::GENL_ID_CTRL as u16, &get_family, &asked) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        answer => attributes(&answer?)
            .and_then(|bytes| wire::u16_at(wire::attribute(bytes, CTRL_ATTR_FAMILY_ID)?, 0)),
    };
    let Some(family) = family else { return Ok(None) };
    let asked = [(DEV_IFINDEX, &index.to_ne_bytes()[..])];
    let answer = netlink.get(family, &[DEV_GET, 1, 0, 0], &asked)?;
    let bits = attributes(&answer)
        .and_then(|bytes| wire::u64_at(wire::attribute(bytes, DEV_XDP_FEATURES)?, 0));
    Ok(bits.map(Native))
}

fn attributes(body: &[u8]) -> Option<&[u8]> {
    body.get(HEADER..)
}
