//! The host's interfaces and addresses, as the kernel tells them, and the changes asked of it
//! (rtnetlink(7)).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use crate::netlink::{Netlink, wire};

/// Bytes of `struct ifinfomsg` and of `struct ifaddrmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
/// `IFA_PROTO` (include/uapi/linux/if_addr.h; since Linux 5.18): who an address comes from.
const IFA_PROTO: u16 = 11;
/// The value that marks an address as this program's; the kernel's own end at 3.
const MARK: u8 = 0x6d;

/// An interface that neighbours can be on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) ethernet: [u8; 6],
    /// Whether frames go out and come in.
    pub(super) running: bool,
    /// The interface that a VLAN is on.
    pub(super) vlan_on: Option<u32>,
}

/// An address of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    pub(super) link: u32,
    pub(super) address: IpAddr,
    pub(super) prefix: u8,
    /// Whether this program put it there.
    pub(super) marked: bool,
}

/// What the host has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Links {
    pub(super) links: Vec<Link>,
    pub(super) assigned: Vec<Assigned>,
}

impl Links {
    /// Reads interfaces and addresses of the calling thread's network namespace.
    pub(super) fn read() -> io::Result<Self> {
        let netlink = Netlink::route()?;
        let links = netlink.dump(libc::RTM_GETLINK, &[0; LINK_HEADER])?;
        let assigned = netlink.dump(libc::RTM_GETADDR, &[0; ADDRESS_HEADER])?;
        Ok(Self {
            links: links.iter().filter_map(|body| parse_link(body)).collect(),
            assigned: assigned.iter().filter_map(|body| parse_address(body)).collect(),
        })
    }

    /// Tells whether clients come in by an interface: one that is named, or a VLAN on it; any when
    /// none is named.
    pub(super) fn is_named(&self, link: &Link, named: &[String]) -> bool {
        let below = link.vlan_on.and_then(|index| self.by_index(index));
        named.is_empty()
            || named.contains(&link.name)
            || below.is_some_and(|below| named.contains(&below.name))
    }

    pub(super) fn by_index(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }
}

fn parse_link(body: &[u8]) -> Option<Link> {
    let flags = wire::u32_at(body, 8)?;
    let is = |flag: i32| flags & flag as u32 != 0;
    if is(libc::IFF_LOOPBACK) || is(libc::IFF_NOARP) {
        return None;
    }
    let attributes = body.get(LINK_HEADER..)?;
    Some(Link {
        index: wire::u32_at(body, 4)?,
        name: wire::text(wire::attribute(attributes, libc::IFLA_IFNAME)?),
        ethernet: wire::attribute(attributes, libc::IFLA_ADDRESS)?.try_into().ok()?,
        running: is(libc::IFF_UP) && is(libc::IFF_LOWER_UP),
        vlan_on: wire::attribute(attributes, libc::IFLA_LINKINFO)
            .and_then(|info| wire::attribute(info, libc::IFLA_INFO_KIND))
            .filter(|kind| wire::text(kind) == "vlan")
            .and_then(|_| wire::u32_at(wire::attribute(attributes, libc::IFLA_LINK)?, 0)),
    })
}

fn parse_address(body: &[u8]) -> Option<Assigned> {
    let attributes = body.get(ADDRESS_HEADER..)?;
    // On a point-to-point link the other one is the peer's.
    let value = wire::attribute(attributes, libc::IFA_LOCAL)
        .or_else(|| wire::attribute(attributes, libc::IFA_ADDRESS))?;
    let address = match value.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?)),
        _ => return None,
    };
    let mark = wire::attribute(attributes, IFA_PROTO).and_then(|value| value.first());
    Some(Assigned {
        link: wire::u32_at(body, 4)?,
        address,
        prefix: *body.get(1)?,
        marked: mark == Some(&MARK),
    })
}

/// Gives an interface an address for a time, or gives it more time.
///
/// The address is deprecated from the first: the kernel prefers others for its own connections.
pub(super) fn assign(link: u32, address: IpAddr, lifetime: Duration) -> io::Result<()> {
    let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX).max(1);
    // `struct ifa_cacheinfo`: preferred and valid lifetimes, then times of the kernel's.
    let mut lifetimes = [0; 16];
    lifetimes[4..8].copy_from_slice(&seconds.to_ne_bytes());
    // Nobody else is asked whether the address is free: its last owner may not know yet.
    let flags = libc::IFA_F_NODAD;
    let octets = octets(address);
    Netlink::route()?.change(
        libc::RTM_NEWADDR,
        libc::NLM_F_CREATE | libc::NLM_F_REPLACE,
        &header(link, address),
        &[
            (libc::IFA_LOCAL, &octets),
            (libc::IFA_ADDRESS, &octets),
            (libc::IFA_FLAGS, &flags.to_ne_bytes()),
            (libc::IFA_CACHEINFO, &lifetimes),
            (IFA_PROTO, &[MARK]),
        ],
    )
}

/// Takes an address off an interface; one that is not there is no error.
pub(super) fn unassign(link: u32, address: IpAddr) -> io::Result<()> {
    let octets = octets(address);
    let with = [(libc::IFA_LOCAL, &octets[..]), (libc::IFA_ADDRESS, &octets[..])];
    match Netlink::route()?.change(libc::RTM_DELADDR, 0, &header(link, address), &with) {
        Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(()),
        other => other,
    }
}

/// `struct ifaddrmsg` of a host address.
fn header(link: u32, address: IpAddr) -> [u8; ADDRESS_HEADER] {
    let (family, prefix) = match address {
        IpAddr::V4(_) => (libc::AF_INET, 32),
        IpAddr::V6(_) => (libc::AF_INET6, 128),
    };
    let mut header = [0; ADDRESS_HEADER];
    header[0] = family as u8;
    header[1] = prefix;
    header[4..].copy_from_slice(&link.to_ne_bytes());
    header
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
