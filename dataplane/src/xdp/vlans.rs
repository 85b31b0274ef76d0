//! The interfaces of VLANs: the program sends what is routed to one by the interface below it, with
//! the VLAN's tag. XDP itself knows real interfaces only.

use std::{collections::BTreeMap, io};

use aya::maps::{HashMap, MapData, MapError};
use ebpf_common::layout::{VLANS_MAX, link};

use crate::netlink::{Netlink, wire};

/// Bytes of `struct ifinfomsg`.
const HEADER: usize = 16;
/// `IFLA_INFO_DATA`, and the attributes of a VLAN in it (include/uapi/linux/if_link.h).
const INFO_DATA: u16 = 2;
const VLAN_ID: u16 = 1;
const VLAN_PROTOCOL: u16 = 5;
/// IEEE 802.1Q; 802.1ad is another.
const DOT1Q: u16 = 0x8100u16.to_be();

/// A VLAN's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// Its name.
    pub name: String,
    /// The number of the interface that it stands on, which is no VLAN's.
    pub below: u32,
    /// The name of that.
    pub below_name: String,
    /// The VLAN's number, 0 to 4095.
    pub number: u16,
}

/// The interfaces of VLANs by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vlans(BTreeMap<u32, Vlan>);

impl FromIterator<(u32, Vlan)> for Vlans {
    fn from_iter<I: IntoIterator<Item = (u32, Vlan)>>(all: I) -> Self {
        Self(all.into_iter().take(VLANS_MAX).collect())
    }
}

/// An interface as it is told.
#[derive(Debug)]
struct Told {
    index: u32,
    name: String,
    below: Option<u32>,
    number: Option<u16>,
}

impl Vlans {
    /// Reads those of the network namespace.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn read() -> io::Result<Self> {
        let all = Netlink::route()?.dump(libc::RTM_GETLINK, &[0; HEADER])?;
        Ok(Self::of(&all.iter().filter_map(|body| parse(body)).collect::<Vec<_>>()))
    }

    fn of(all: &[Told]) -> Self {
        let plain = |index| all.iter().find(|told| told.index == index && told.number.is_none());
        let vlan = |told: &Told| {
            // One on another would need two tags.
            let below = plain(told.below?)?;
            let vlan = Vlan {
                name: told.name.clone(),
                below: below.index,
                below_name: below.name.clone(),
                number: told.number?,
            };
            Some((told.index, vlan))
        };
        all.iter().filter_map(vlan).collect()
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the names of interfaces together with those of VLANs on them.
    #[must_use]
    pub fn with_those_on(&self, interfaces: &[String]) -> Vec<String> {
        let on_them = self.0.values().filter(|vlan| interfaces.contains(&vlan.below_name));
        interfaces.iter().cloned().chain(on_them.map(|vlan| vlan.name.clone())).collect()
    }

    /// Brings the program's map in line.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn write(&self, mut map: HashMap<&mut MapData, u32, [u8; 8]>) -> Result<(), MapError> {
        let known = map.iter().collect::<Result<BTreeMap<_, _>, _>>()?;
        for index in known.keys().filter(|index| !self.0.contains_key(index)) {
            map.remove(index)?;
        }
        for (index, vlan) in &self.0 {
            let value = value(vlan);
            if known.get(index) != Some(&value) {
                map.insert(index, value, 0)?;
            }
        }
        Ok(())
    }
}

/// Returns an entry of the map: an [`ebpf_common::layout::Vlan`].
fn value(vlan: &Vlan) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&vlan.below.to_ne_bytes());
    bytes[4..6].copy_from_slice(&(link::TAGGED | vlan.number).to_ne_bytes());
    bytes
}

fn parse(body: &[u8]) -> Option<Told> {
    let attributes = body.get(HEADER..)?;
    let info = wire::attribute(attributes, libc::IFLA_LINKINFO).unwrap_or_default();
    let number = |kind| wire::u32_at(wire::attribute(attributes, kind)?, 0);
    // The interface below may be in another network namespace.
    let elsewhere = wire::attribute(attributes, libc::IFLA_LINK_NETNSID).is_some();
    Some(Told {
        index: wire::u32_at(body, 4)?,
        name: wire::text(wire::attribute(attributes, libc::IFLA_IFNAME)?),
        below: number(libc::IFLA_LINK).filter(|_| !elsewhere),
        number: vlan_number(info),
    })
}

fn vlan_number(info: &[u8]) -> Option<u16> {
    let kind = wire::attribute(info, libc::IFLA_INFO_KIND).map(wire::text);
    if kind.as_deref() != Some("vlan") {
        return None;
    }
    let data = wire::attribute(info, INFO_DATA)?;
    let word = |kind| wire::u16_at(wire::attribute(data, kind)?, 0);
    let number = word(VLAN_ID).filter(|number| *number <= link::VLAN)?;
    (word(VLAN_PROTOCOL)? == DOT1Q).then_some(number)
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

    fn told(index: u32, name: &str, below: u32, info: &[u8]) -> Told {
        let mut body = vec![0; HEADER];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        body.extend_from_slice(&nested(&[
            (libc::IFLA_IFNAME, name.as_bytes()),
            (libc::IFLA_LINK, &below.to_ne_bytes()),
            (libc::IFLA_LINKINFO, info),
        ]));
        parse(&body).expect("an interface")
    }

    fn vlan(number: u16, protocol: u16) -> Vec<u8> {
        let data =
            nested(&[(VLAN_ID, &number.to_ne_bytes()), (VLAN_PROTOCOL, &protocol.to_be_bytes())]);
        nested(&[(libc::IFLA_INFO_KIND, b"vlan\0"), (INFO_DATA, &data)])
    }

    #[test]
    fn vlans_on_real_interfaces_are_told_with_their_numbers() {
        let veth = nested(&[(libc::IFLA_INFO_KIND, b"veth\0")]);
        let vlans = Vlans::of(&[
            told(2, "eth0\0", 9, &veth),
            told(3, "eth0.100\0", 2, &vlan(100, 0x8100)),
            told(4, "eth0.ad\0", 2, &vlan(7, 0x88a8)),
            told(5, "eth0.100.5\0", 3, &vlan(5, 0x8100)),
            told(6, "lost\0", 77, &vlan(6, 0x8100)),
        ]);
        let found: Vec<_> = vlans.0.iter().map(|(index, vlan)| (*index, vlan.number)).collect();
        assert_eq!(found, [(3, 100)]);
        let names = vlans.with_those_on(&["eth0".to_owned(), "eth1".to_owned()]);
        assert_eq!(names, ["eth0", "eth1", "eth0.100"]);
        assert_eq!(vlans.with_those_on(&["eth1".to_owned()]), ["eth1"]);
    }
}
