//! What a host says of itself: its name, and its address towards others.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, UdpSocket},
};

use super::SettingsError;

/// The host's name.
pub(super) fn name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

/// The source address of the default route: a UDP socket is connected, nothing is sent.
pub(super) fn default_address() -> Result<IpAddr, SettingsError> {
    let probe = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // TEST-NET-1 (RFC 5737): no host has it, so the default route is what answers.
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    };
    match probe() {
        Ok::<_, io::Error>(address) if !address.ip().is_unspecified() => Ok(address.ip()),
        _ => Err(SettingsError::NoAddress),
    }
}
