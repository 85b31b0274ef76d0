//! Follows routes, links and neighbours, so that next hops that the program knows from before are
//! looked up anew as soon as they may be others, and not only once they have aged.
//!
//! `Seen` decides what matters (pure); [`follow`] waits for it on a netlink socket.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    time::Duration,
};

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::unix::AsyncFd;

use crate::netlink::{self, wire};

/// Groups of messages (include/uapi/linux/rtnetlink.h).
const GROUPS: i32 =
    libc::RTMGRP_LINK | libc::RTMGRP_NEIGH | libc::RTMGRP_IPV4_ROUTE | libc::RTMGRP_IPV6_ROUTE;
/// How long one change waits for others: a routing daemon makes many at once, and each makes every
/// flow look its next hop up once.
const TOGETHER: Duration = Duration::from_millis(50);
/// Neighbours and links that are remembered. Past it all are forgotten, and that counts as a change.
const SEEN_MAX: usize = 65_536;
/// The largest datagram of the kernel.
const DATAGRAM_MAX: usize = 64 * 1024;

/// Bytes of `struct ifinfomsg`, `struct ndmsg` and `struct rtmsg`, and where the flags stand.
const LINK_HEADER: usize = 16;
const LINK_FLAGS: usize = 8;
const NEIGHBOUR_HEADER: usize = 12;
const ROUTE_HEADER: usize = 12;
const ROUTE_FLAGS: usize = 8;
/// A route's copy in a cache, such as an exception to its MTU.
const CLONED: u32 = libc::RTM_F_CLONED;

/// What was told of links and neighbours.
#[derive(Debug, Default)]
struct Seen {
    /// Of a link by its number: Ethernet address, MTU, and whether it is up.
    links: BTreeMap<u32, (Vec<u8>, u32, bool)>,
    /// Link addresses of neighbours by interface and address.
    neighbours: BTreeMap<(u32, Vec<u8>), Vec<u8>>,
}

impl Seen {
    /// Tells whether a message may mean another next hop for packets that have one.
    ///
    /// A neighbour that becomes known changes nothing: without it there was no next hop. Its state
    /// is told all the time and does not matter while its address stays.
    fn matters(&mut self, kind: u16, body: &[u8]) -> bool {
        match kind {
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
                body.len() >= ROUTE_HEADER
                    && wire::u32_at(body, ROUTE_FLAGS).is_some_and(|flags| flags & CLONED == 0)
            }
            libc::RTM_NEWLINK => self.link(body).unwrap_or(false),
            libc::RTM_DELLINK => {
                wire::u32_at(body, 4).is_some_and(|index| self.links.remove(&index).is_some())
            }
            libc::RTM_NEWNEIGH => self.neighbour(body).unwrap_or(false),
            _ => false,
        }
    }

    fn link(&mut self, body: &[u8]) -> Option<bool> {
        let index = wire::u32_at(body, 4)?;
        let flags = wire::u32_at(body, LINK_FLAGS)?;
        let up = libc::IFF_UP | libc::IFF_LOWER_UP;
        let attributes = body.get(LINK_HEADER..)?;
        let address = wire::attribute(attributes, libc::IFLA_ADDRESS).unwrap_or_default();
        let mtu = wire::attribute(attributes, libc::IFLA_MTU).and_then(|mtu| wire::u32_at(mtu, 0));
        let link = (address.to_vec(), mtu.unwrap_or(0), flags & up as u32 == up as u32);
        let before = self.links.insert(index, link.clone());
        // A new link makes routes, which are told as such; a VLAN's may be one of those waited for.
        Some(before.is_none_or(|before| before != link) | self.bound())
    }

    fn neighbour(&mut self, body: &[u8]) -> Option<bool> {
        let index = wire::u32_at(body, 4)?;
        let attributes = body.get(NEIGHBOUR_HEADER..)?;
        let address = wire::attribute(attributes, libc::NDA_DST)?.to_vec();
        let link_address = wire::attribute(attributes, libc::NDA_LLADDR)?.to_vec();
        let before = self.neighbours.insert((index, address), link_address.clone());
        Some(before.is_some_and(|before| before != link_address) | self.bound())
    }

    /// Keeps the bound; tells whether all was forgotten.
    fn bound(&mut self) -> bool {
        let full = self.neighbours.len() > SEEN_MAX || self.links.len() > SEEN_MAX;
        if full {
            self.neighbours.clear();
            self.links.clear();
        }
        full
    }
}

/// Calls `on_change` after each change, and after several that come together once, for as long as
/// it returns true.
///
/// # Errors
/// Returns why the kernel's messages cannot be had; then nothing follows them any more.
pub async fn follow(mut on_change: impl FnMut() -> bool) -> io::Result<()> {
    let socket = netlink::listen(GROUPS as u32)?;
    // SAFETY: the descriptor is owned by what it is given to, and nobody else has it.
    let socket = unsafe { AsyncFd::register(socket) }?;
    let mut seen = Seen::default();
    loop {
        if read(&socket, &mut seen).await? {
            tokio::time::sleep(TOGETHER).await;
            if !on_change() {
                return Ok(());
            }
        }
    }
}

/// Reads all messages that are there, and tells whether one mattered.
async fn read(socket: &AsyncFd<OwnedFd>, seen: &mut Seen) -> io::Result<bool> {
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut ready = socket.readable().await?;
    let mut matters = false;
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => {
                for (kind, body) in wire::messages(&buffer[..length]) {
                    matters |= seen.matters(kind, body);
                }
            }
            Err(nix::Error::EAGAIN) => {
                ready.clear_ready();
                return Ok(matters);
            }
            // Messages were lost: anything may have changed.
            Err(nix::Error::ENOBUFS) => matters = true,
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::wire::Request;

    fn body(header: &[u8], all: &[(u16, &[u8])]) -> Vec<u8> {
        let empty = Request::new(0, 0, header);
        let request = all.iter().fold(empty, |request, (kind, value)| request.with(*kind, value));
        request.bytes()[16..].to_vec()
    }

    fn link(index: u32, flags: i32, mtu: u32, address: &[u8]) -> Vec<u8> {
        let mut header = vec![0; 4];
        header.extend_from_slice(&index.to_ne_bytes());
        header.extend_from_slice(&(flags as u32).to_ne_bytes());
        header.extend_from_slice(&[0; 4]);
        body(&header, &[(libc::IFLA_ADDRESS, address), (libc::IFLA_MTU, &mtu.to_ne_bytes())])
    }

    fn neighbour(index: u32, to: &[u8], link_address: Option<&[u8]>) -> Vec<u8> {
        let mut header = vec![0; 4];
        header.extend_from_slice(&index.to_ne_bytes());
        header.extend_from_slice(&[0; 4]);
        let mut all = vec![(libc::NDA_DST, to)];
        all.extend(link_address.map(|address| (libc::NDA_LLADDR, address)));
        body(&header, &all)
    }

    #[test]
    fn a_neighbour_matters_when_its_link_address_is_another() {
        let mut seen = Seen::default();
        let mut told =
            |index, to: &[u8], at| seen.matters(libc::RTM_NEWNEIGH, &neighbour(index, to, at));
        assert!(!told(3, &[10, 0, 0, 1], Some(&[2; 6])), "not known before");
        assert!(!told(3, &[10, 0, 0, 1], Some(&[2; 6])), "only its state");
        assert!(!told(3, &[10, 0, 0, 1], None), "being asked for");
        assert!(!told(4, &[10, 0, 0, 1], Some(&[5; 6])), "on another interface");
        assert!(told(3, &[10, 0, 0, 1], Some(&[4; 6])));
        assert!(!told(3, &[10, 0, 0, 1], Some(&[4; 6])));
    }

    #[test]
    fn a_link_matters_when_it_comes_goes_or_is_changed() {
        let up = libc::IFF_UP | libc::IFF_LOWER_UP;
        let mut seen = Seen::default();
        let mut told = |flags, mtu, address: &[u8]| {
            seen.matters(libc::RTM_NEWLINK, &link(7, flags, mtu, address))
        };
        assert!(told(up, 1500, &[1; 6]));
        assert!(!told(up | libc::IFF_PROMISC, 1500, &[1; 6]));
        assert!(told(up, 9000, &[1; 6]));
        assert!(told(up, 9000, &[2; 6]));
        assert!(told(libc::IFF_UP, 9000, &[2; 6]));
        let gone = link(7, up, 1500, &[1; 6]);
        assert!(seen.matters(libc::RTM_DELLINK, &gone));
        assert!(!seen.matters(libc::RTM_DELLINK, &gone), "gone already");
    }

    #[test]
    fn routes_matter_but_for_copies_in_a_cache() {
        let route = |flags: u32| {
            let mut header = vec![0; 8];
            header.extend_from_slice(&flags.to_ne_bytes());
            header
        };
        let mut seen = Seen::default();
        for kind in [libc::RTM_NEWROUTE, libc::RTM_DELROUTE] {
            assert!(seen.matters(kind, &route(0)));
            assert!(!seen.matters(kind, &route(CLONED)));
            assert!(!seen.matters(kind, &[]), "cut off");
        }
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let mut seen = Seen::default();
        let mut told = |number: u32| {
            let to = number.to_be_bytes();
            seen.matters(libc::RTM_NEWNEIGH, &neighbour(1, &to, Some(&[1; 6])))
        };
        let forgotten = (0..=SEEN_MAX as u32).filter(|number| told(*number)).count();
        assert_eq!(forgotten, 1);
        assert!(seen.neighbours.is_empty());
    }
}
