//! The node's ports, taken before anything is formed or joined, so that a port in use leaves
//! nothing half done.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
};

use crate::settings::Settings;

/// A port that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Something else has it.
    #[error(
        "port {} of {} ({what}) is in use: see who has it with `ss {ss} 'sport = :{}'`, or give \
         another with {flag}", .address.port(), .address.ip(), .address.port()
    )]
    InUse {
        /// The address.
        address: SocketAddr,
        /// What for.
        what: &'static str,
        /// The flag that changes it.
        flag: &'static str,
        /// Options of `ss` that show it.
        ss: &'static str,
    },
    /// The address is not this host's.
    #[error("{} is not an address of this host: give --address with one that is", .address.ip())]
    NotHere {
        /// The address.
        address: SocketAddr,
    },
    /// Another reason.
    #[error("cannot bind {address} ({what})")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What for.
        what: &'static str,
        /// The operating system's words.
        #[source]
        source: io::Error,
    },
}

/// The sockets that are held; that of Raft is bound by consensus itself.
pub(super) struct Ports {
    pub(super) api: TcpListener,
    pub(super) push: UdpSocket,
}

impl Ports {
    pub(super) fn bind(settings: &Settings) -> Result<Self, PortError> {
        let addresses = settings.addresses();
        let at = |address, what, flag, ss| {
            move |source: io::Error| match source.kind() {
                io::ErrorKind::AddrInUse => PortError::InUse { address, what, flag, ss },
                io::ErrorKind::AddrNotAvailable => PortError::NotHere { address },
                _ => PortError::Bind { address, what, source },
            }
        };
        let api = TcpListener::bind(addresses.api)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(at(addresses.api, "API", "--api-port", "-ltnp"))?;
        // Bound and given back: consensus binds it again in a moment.
        TcpListener::bind(addresses.raft).map_err(at(
            addresses.raft,
            "Raft",
            "--raft-port",
            "-ltnp",
        ))?;
        let push = UdpSocket::bind(addresses.push).map_err(at(
            addresses.push,
            "push",
            "--push-port",
            "-lunp",
        ))?;
        Ok(Self { api, push })
    }
}
