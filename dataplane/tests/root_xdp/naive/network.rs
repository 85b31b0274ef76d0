//! The node's network, as the test has set it up.

use std::{collections::BTreeSet, net::IpAddr};

use ebpf_common::verdict::Reason;

/// What the way to the narrow endpoint takes.
pub(crate) const NARROW_MTU: u16 = 1_400;
const MTU: u16 = 1_500;

/// Where a frame goes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NextHop {
    pub(crate) interface: u32,
    pub(crate) to: [u8; 6],
    pub(crate) from: [u8; 6],
    /// What the way takes, where it is known.
    pub(crate) mtu: Option<u16>,
    pub(crate) gateway: bool,
    /// The VLAN that it leads into.
    pub(crate) vlan: Option<u16>,
}

/// What the node's `v0.200` stands for: VLAN 200 on `v0`, with 10.7.0.1/24 and fd07::1/64.
pub(crate) const VLAN: u16 = 200;

/// The interfaces and addresses.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// Interface `v0`, with 10.0.0.1/24 and fd00::1/64.
    pub(crate) near: u32,
    /// Interface `w0`, with 10.8.0.1/24 and fd08::1/64.
    pub(crate) far: u32,
    /// The addresses of the node.
    pub(crate) local: BTreeSet<IpAddr>,
}

/// The neighbours on `v0` by the last byte of their IPv4 address, which is the last byte of their
/// Ethernet address too.
pub(crate) const NEIGHBOURS: [u8; 5] = [21, 22, 23, 24, 100];

impl Network {
    /// What the node's network lacks beside what every bench has.
    pub(crate) fn lines() -> Vec<String> {
        let mut lines: Vec<String> = [
            "ip link add w0 address 02:00:00:00:01:01 type veth peer name w1",
            "ip link set w0 up",
            "ip link set w1 up",
            "ip addr add 10.8.0.1/24 dev w0",
            "ip addr add fd08::1/64 dev w0 nodad",
            "ip neigh replace 10.8.0.21 lladdr 02:00:00:00:01:15 dev w0 nud permanent",
            "ip neigh replace fd08::21 lladdr 02:00:00:00:01:15 dev w0 nud permanent",
            "ip link add v0.200 address 02:00:00:00:00:01 type veth peer name u1",
            "ip link set v0.200 up",
            "ip link set u1 up",
            "ip addr add 10.7.0.1/24 dev v0.200",
            "ip addr add fd07::1/64 dev v0.200 nodad",
            "ip neigh replace 10.7.0.21 lladdr 02:00:00:00:02:15 dev v0.200 nud permanent",
            "ip neigh replace fd07::21 lladdr 02:00:00:00:02:15 dev v0.200 nud permanent",
            "ip route add 10.9.0.0/24 via 10.0.0.24",
            "ip route add fd09::/64 via fd00::24",
        ]
        .map(str::to_owned)
        .to_vec();
        for narrow in ["10.0.0.23/32", "fd00::23/128"] {
            lines.push(format!("ip route add {narrow} dev v0 mtu lock {NARROW_MTU}"));
        }
        lines
    }

    /// Returns the way to an address.
    pub(crate) fn way(&self, to: IpAddr) -> Result<NextHop, Reason> {
        let near = |last: u8, mtu: u16, gateway| {
            Ok(NextHop {
                interface: self.near,
                to: [2, 0, 0, 0, 0, last],
                from: [2, 0, 0, 0, 0, 1],
                mtu: Some(mtu),
                gateway,
                vlan: None,
            })
        };
        let neighbour = |last: u8| match last {
            _ if !NEIGHBOURS.contains(&last) => Err(Reason::NoNeighbour),
            23 => near(last, NARROW_MTU, false),
            _ => near(last, MTU, false),
        };
        let far = NextHop {
            interface: self.far,
            to: [2, 0, 0, 0, 1, 0x15],
            from: [2, 0, 0, 0, 1, 1],
            mtu: Some(MTU),
            gateway: false,
            vlan: None,
        };
        let tagged = NextHop {
            interface: self.near,
            to: [2, 0, 0, 0, 2, 0x15],
            from: [2, 0, 0, 0, 0, 1],
            vlan: Some(VLAN),
            ..far.clone()
        };
        if self.local.contains(&to) {
            return Err(Reason::NoRoute);
        }
        match to {
            IpAddr::V4(v4) => match v4.octets() {
                [10, 0, 0, last] => neighbour(last),
                [10, 8, 0, 21] => Ok(far),
                [10, 7, 0, 21] => Ok(tagged),
                [10, 9, 0, _] => near(24, MTU, true),
                _ => Err(Reason::NoRoute),
            },
            IpAddr::V6(v6) => match v6.segments() {
                // Written as they are in decimal: fd00::21 is the neighbour 21.
                [0xfd00, 0, 0, 0, 0, 0, 0, last] => match format!("{last:x}").parse() {
                    Ok(last) => neighbour(last),
                    Err(_) => Err(Reason::NoNeighbour),
                },
                [0xfd08, 0, 0, 0, 0, 0, 0, 0x21] => Ok(far),
                [0xfd07, 0, 0, 0, 0, 0, 0, 0x21] => Ok(tagged),
                [0xfd09, 0, 0, 0, ..] => near(24, MTU, true),
                _ => Err(Reason::NoRoute),
            },
        }
    }
}
