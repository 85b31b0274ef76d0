//! Keeps the link addresses of endpoints, or of the gateways to them, known to the kernel.
//!
//! The XDP program can only use neighbours that the kernel has resolved, and its own packets do
//! not make the kernel resolve any. So an empty datagram goes to the discard port (RFC 863) of
//! endpoints: the kernel must find the way to send it.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

const DISCARD_PORT: u16 = 9;
/// Datagrams at a time: bounds the burst. With one burst in five seconds, 2,000 endpoints have
/// their turn within the 30 s for which Linux trusts a confirmed neighbour
/// (`base_reachable_time`).
const BURST_MAX: usize = 340;

/// The sender of the datagrams.
#[derive(Debug)]
pub struct Neighbours {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    last: Option<IpAddr>,
}

impl Neighbours {
    /// Opens the sockets; a node without one of the families goes without it.
    #[must_use]
    pub fn new() -> Self {
        let open = |ip: IpAddr| -> io::Result<UdpSocket> {
            let socket = UdpSocket::bind(SocketAddr::new(ip, 0))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        Self {
            v4: open(Ipv4Addr::UNSPECIFIED.into()).ok(),
            v6: open(Ipv6Addr::UNSPECIFIED.into()).ok(),
            last: None,
        }
    }

    /// Makes the kernel look for addresses that are new, as many as one burst holds; the rest have
    /// their turn.
    pub fn resolve_new(&self, addresses: &BTreeSet<IpAddr>) {
        addresses.iter().take(BURST_MAX).for_each(|address| self.ask(*address));
    }

    /// Makes the kernel look for those of all addresses whose turn it is: the longest ones not
    /// asked for.
    pub fn resolve_in_turn(&mut self, addresses: &BTreeSet<IpAddr>) {
        let after = |address: &&IpAddr| self.last.is_none_or(|last| **address > last);
        let turn: Vec<IpAddr> = addresses
            .iter()
            .filter(after)
            .chain(addresses.iter().filter(|address| !after(address)))
            .take(BURST_MAX)
            .copied()
            .collect();
        turn.iter().for_each(|address| self.ask(*address));
        self.last = turn.last().copied();
    }

    fn ask(&self, address: IpAddr) {
        let socket = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        if let Some(socket) = socket {
            // An error says that there is no way or no room: the next turn tries again.
            let _unsent = socket.send_to(&[], SocketAddr::new(address, DISCARD_PORT));
        }
    }
}

impl Default for Neighbours {
    fn default() -> Self {
        Self::new()
    }
}
