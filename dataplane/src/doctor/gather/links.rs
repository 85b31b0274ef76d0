//! The host's interfaces, as `RTM_GETLINK` tells them (rtnetlink(7)).

use std::{collections::BTreeMap, io};

use crate::{
    doctor::facts::{Joined, Link, XdpMode},
    netlink::{Netlink, wire},
};

/// Bytes of `struct ifinfomsg`.
const HEADER: usize = 16;
/// Attributes of `IFLA_XDP`, and what stands in the first (include/uapi/linux/if_link.h).
const XDP_ATTACHED: u16 = 2;
const XDP_PROGRAM: u16 = 4;
const XDP_DRIVER_PROGRAM: u16 = 5;
const XDP_GENERIC_PROGRAM: u16 = 6;
const XDP_HARDWARE_PROGRAM: u16 = 7;
/// `IFLA_INFO_DATA`, and `IFLA_BOND_MODE` in it.
const INFO_DATA: u16 = 2;
const BOND_MODE: u16 = 1;

/// All interfaces by their numbers.
#[derive(Debug, Default)]
pub(super) struct Links(BTreeMap<u32, Told>);

/// An interface as it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Its name.
    pub(super) name: String,
    /// What needs no other interface to be known.
    pub(super) link: Link,
    /// The number of what it is a port of.
    master: Option<u32>,
    /// The number of what it stands on, or of a veth's far end.
    below: Option<u32>,
    /// Whether that is in another network namespace.
    elsewhere: bool,
    /// The XDP program: mode and number.
    pub(super) xdp: Option<(XdpMode, u32)>,
}

/// The far end of a veth pair.
#[derive(Debug)]
pub(super) enum FarEnd<'a> {
    /// In another network namespace.
    Elsewhere,
    /// In this one.
    Here(&'a Told),
}

impl Links {
    /// Reads all interfaces of the calling thread's network namespace.
    pub(super) fn read() -> io::Result<Self> {
        let all = Netlink::route()?.dump(libc::RTM_GETLINK, &[0; HEADER])?;
        Ok(Self::of(all.iter().filter_map(|body| parse(body))))
    }

    fn of(all: impl Iterator<Item = Told>) -> Self {
        Self(all.map(|told| (told.link.index, told)).collect())
    }

    /// Returns an interface by its number.
    pub(super) fn by_index(&self, index: u32) -> Option<&Told> {
        self.0.get(&index)
    }

    /// Returns an interface by its name.
    pub(super) fn by_name(&self, name: &str) -> Option<&Told> {
        self.0.values().find(|told| told.name == name)
    }

    /// Returns how an interface stands among the others.
    pub(super) fn link(&self, told: &Told) -> Link {
        let index = told.link.index;
        let joined = |told: &Told| Joined { name: told.name.clone(), kind: told.link.kind.clone() };
        let master = told.master.and_then(|index| self.by_index(index)).map(joined);
        let ports =
            self.0.values().filter(|other| other.master == Some(index)).map(|o| o.name.clone());
        let on_top = self.0.values().filter(|other| {
            // The far end of a veth pair is not on top of this one.
            other.below == Some(index)
                && !other.elsewhere
                && other.link.index != index
                && !other.is_veth()
        });
        Link {
            master,
            ports: ports.collect(),
            on_top: on_top.map(joined).collect(),
            ..told.link.clone()
        }
    }

    /// Returns the far end of a veth pair.
    pub(super) fn far_end(&self, told: &Told) -> Option<FarEnd<'_>> {
        if !told.is_veth() {
            return None;
        }
        let here = told.below.filter(|_| !told.elsewhere).and_then(|index| self.by_index(index));
        Some(here.map_or(FarEnd::Elsewhere, FarEnd::Here))
    }
}

impl Told {
    fn is_veth(&self) -> bool {
        self.link.kind.as_deref() == Some("veth")
    }
}

fn parse(body: &[u8]) -> Option<Told> {
    let flags = wire::u32_at(body, 8)?;
    let is = |flag: i32| flags & flag as u32 != 0;
    let mut told = Told::default();
    told.link.index = wire::u32_at(body, 4)?;
    told.link.up = is(libc::IFF_UP);
    told.link.carrier = is(libc::IFF_LOWER_UP);
    told.link.loopback = is(libc::IFF_LOOPBACK);
    told.link.no_arp = is(libc::IFF_NOARP);
    for (kind, value) in wire::attributes(body.get(HEADER..)?) {
        let number = wire::u32_at(value, 0);
        match kind {
            libc::IFLA_IFNAME => told.name = wire::text(value),
            libc::IFLA_MTU => told.link.mtu = number?,
            libc::IFLA_MAX_MTU => told.link.mtu_max = number?,
            libc::IFLA_MASTER => told.master = number,
            libc::IFLA_LINK => told.below = number.filter(|index| *index != 0),
            libc::IFLA_LINK_NETNSID => told.elsewhere = true,
            libc::IFLA_LINKINFO => read_info(value, &mut told.link),
            libc::IFLA_XDP => told.xdp = read_xdp(value),
            _ => {}
        }
    }
    Some(told)
}

fn read_info(value: &[u8], link: &mut Link) {
    link.kind = wire::attribute(value, libc::IFLA_INFO_KIND).map(wire::text);
    if link.kind.as_deref() == Some("bond") {
        let data = wire::attribute(value, INFO_DATA).unwrap_or_default();
        link.bond_mode = wire::attribute(data, BOND_MODE).and_then(|mode| mode.first().copied());
    }
}

fn read_xdp(value: &[u8]) -> Option<(XdpMode, u32)> {
    let (mode, program) = match *wire::attribute(value, XDP_ATTACHED)?.first()? {
        0 => return None,
        1 => (XdpMode::Native, XDP_PROGRAM),
        2 => (XdpMode::Generic, XDP_PROGRAM),
        3 => (XdpMode::Offloaded, XDP_PROGRAM),
        _ => (XdpMode::Several, XDP_DRIVER_PROGRAM),
    };
    // Of several, the first that is there.
    let id = [program, XDP_DRIVER_PROGRAM, XDP_GENERIC_PROGRAM, XDP_HARDWARE_PROGRAM]
        .into_iter()
        .find_map(|kind| wire::u32_at(wire::attribute(value, kind)?, 0));
    Some((mode, id.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::wire::Request;

    fn nested(all: &[(u16, &[u8])]) -> Vec<u8> {
        let empty = Request::new(0, 0, &[]);
        let request = all.iter().fold(empty, |request, (kind, value)| request.with(*kind, value));
        request.bytes()[16..].to_vec()
    }

    fn message(index: u32, flags: i32, all: &[(u16, &[u8])]) -> Told {
        let mut body = vec![0; 4];
        body.extend_from_slice(&index.to_ne_bytes());
        body.extend_from_slice(&(flags as u32).to_ne_bytes());
        body.extend_from_slice(&[0; 4]);
        body.extend_from_slice(&nested(all));
        parse(&body).unwrap()
    }

    fn number(number: u32) -> [u8; 4] {
        number.to_ne_bytes()
    }

    #[test]
    fn an_interface_is_read_with_its_kind_and_its_program() {
        let bond = nested(&[(1, b"bond\0"), (0x8002, &nested(&[(1, &[4])]))]);
        let xdp = nested(&[(2, &[2]), (4, &number(7)), (6, &number(7))]);
        let flags = libc::IFF_UP | libc::IFF_LOWER_UP;
        let told = message(
            3,
            flags,
            &[
                (libc::IFLA_IFNAME, b"bond0\0"),
                (libc::IFLA_MTU, &number(9000)),
                (libc::IFLA_MAX_MTU, &number(65_535)),
                (libc::IFLA_LINKINFO, &bond),
                (libc::IFLA_XDP, &xdp),
            ],
        );
        assert_eq!(told.name, "bond0");
        let link = &told.link;
        assert_eq!((link.index, link.mtu, link.mtu_max), (3, 9000, 65_535));
        assert!(link.up && link.carrier && !link.loopback && !link.no_arp);
        assert_eq!((link.kind.as_deref(), link.bond_mode), (Some("bond"), Some(4)));
        assert_eq!(told.xdp, Some((XdpMode::Generic, 7)));
    }

    #[test]
    fn the_mode_of_a_program_is_read() {
        let check = |all: &[(u16, &[u8])], wanted| assert_eq!(read_xdp(&nested(all)), wanted);
        check(&[(2, &[0])], None);
        check(&[], None);
        check(&[(2, &[1]), (4, &number(5))], Some((XdpMode::Native, 5)));
        check(&[(2, &[3]), (4, &number(6))], Some((XdpMode::Offloaded, 6)));
        let several: &[(u16, &[u8])] = &[(2, &[4]), (6, &number(9)), (5, &number(8))];
        check(several, Some((XdpMode::Several, 8)));
    }

    #[test]
    fn interfaces_are_told_by_how_they_are_joined() {
        let kind = |kind: &[u8]| nested(&[(1, kind)]);
        let named = |index, name: &[u8], more: &[(u16, &[u8])]| {
            let mut all = vec![(libc::IFLA_IFNAME, name)];
            all.extend_from_slice(more);
            message(index, 0, &all)
        };
        let veth = kind(b"veth\0");
        let pair = |index, name: &[u8], far| {
            named(index, name, &[(libc::IFLA_LINK, &number(far)), (libc::IFLA_LINKINFO, &veth)])
        };
        let links = Links::of(
            [
                named(1, b"br0\0", &[(libc::IFLA_LINKINFO, &kind(b"bridge\0"))]),
                named(2, b"eth0\0", &[(libc::IFLA_MASTER, &number(1))]),
                named(
                    3,
                    b"eth0.5\0",
                    &[(libc::IFLA_LINK, &number(2)), (libc::IFLA_LINKINFO, &kind(b"vlan\0"))],
                ),
                pair(4, b"v0\0", 5),
                pair(5, b"v1\0", 4),
                named(
                    6,
                    b"v2\0",
                    &[
                        (libc::IFLA_LINK, &number(2)),
                        (libc::IFLA_LINK_NETNSID, &number(0)),
                        (libc::IFLA_LINKINFO, &veth),
                    ],
                ),
            ]
            .into_iter(),
        );
        let link = |name| links.link(links.by_name(name).unwrap());
        let joined =
            |name: &str, kind: &str| Joined { name: name.to_owned(), kind: Some(kind.to_owned()) };
        assert_eq!(link("br0").ports, ["eth0"]);
        assert_eq!(link("eth0").master, Some(joined("br0", "bridge")));
        assert_eq!(link("eth0").on_top, [joined("eth0.5", "vlan")]);
        assert_eq!(link("v0").on_top, []);
        let far_end = |name| match links.far_end(links.by_name(name).unwrap()) {
            None => "none",
            Some(FarEnd::Elsewhere) => "elsewhere",
            Some(FarEnd::Here(told)) => told.name.as_str(),
        };
        assert_eq!(["eth0", "v0", "v1", "v2"].map(far_end), ["none", "v1", "v0", "elsewhere"]);
    }
}
