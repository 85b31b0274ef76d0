//! The node's own addresses, read from the kernel.

use std::{collections::BTreeSet, io, net::IpAddr};

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};

use super::plan::NodeView;

/// What the operator fixes of the node's addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fixed {
    /// The IPv4 address that connections to endpoints leave from.
    pub source_v4: Option<IpAddr>,
    /// The IPv6 address that connections to endpoints leave from.
    pub source_v6: Option<IpAddr>,
    /// The address that listeners on `*` take.
    pub listen: Option<IpAddr>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Assigned {
    interface: String,
    address: IpAddr,
    /// Whether it is a host address (/32, /128), as floating ones are.
    host: bool,
}

/// Reads the node's addresses and chooses the ones that connections leave from. Those that are
/// announced are another node's tomorrow, and none of its own.
///
/// # Errors
/// Returns what the kernel refused.
pub fn read(
    interfaces: &[String],
    fixed: Fixed,
    announced: &BTreeSet<IpAddr>,
) -> io::Result<NodeView> {
    let mut assigned = Vec::new();
    for entry in getifaddrs()? {
        if entry.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
            continue;
        }
        let Some(address) = entry.address.as_ref().and_then(to_ip) else { continue };
        if announced.contains(&address) {
            continue;
        }
        let mask = entry.netmask.as_ref().and_then(to_ip);
        let host = mask.is_some_and(|mask| match mask {
            IpAddr::V4(v4) => v4.to_bits() == u32::MAX,
            IpAddr::V6(v6) => v6.to_bits() == u128::MAX,
        });
        assigned.push(Assigned { interface: entry.interface_name, address, host });
    }
    Ok(view(&assigned, interfaces, fixed))
}

fn to_ip(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    address
        .as_sockaddr_in()
        .map(|v4| IpAddr::V4(v4.ip()))
        .or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

fn view(assigned: &[Assigned], interfaces: &[String], fixed: Fixed) -> NodeView {
    let local: BTreeSet<IpAddr> = assigned.iter().map(|assigned| assigned.address).collect();
    let source = |v4: bool| {
        let usable = |assigned: &&Assigned| {
            assigned.address.is_ipv4() == v4
                && match assigned.address {
                    IpAddr::V4(ip) => !ip.is_link_local(),
                    IpAddr::V6(ip) => !ip.is_unicast_link_local(),
                }
        };
        // The program's own interfaces first, in the order given, and floating addresses last.
        assigned
            .iter()
            .filter(usable)
            .filter_map(|assigned| {
                let order = interfaces.iter().position(|name| *name == assigned.interface)?;
                Some((assigned.host, order, assigned.address))
            })
            .min()
            .map(|(_, _, address)| address)
    };
    NodeView {
        source_v4: fixed.source_v4.or_else(|| source(true)),
        source_v6: fixed.source_v6.or_else(|| source(false)),
        listen: fixed.listen,
        local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(interface: &str, address: &str, host: bool) -> Assigned {
        Assigned {
            interface: interface.to_owned(),
            address: address.parse().expect("an address"),
            host,
        }
    }

    #[test]
    fn a_source_is_a_lasting_address_of_an_own_interface() {
        let all = [
            assigned("eth0", "10.0.0.9", true),
            assigned("eth0", "10.0.0.7", false),
            assigned("eth1", "10.1.0.1", false),
            assigned("eth0", "fe80::1", false),
            assigned("eth0", "fd00::7", false),
            assigned("eth2", "192.0.2.1", false),
        ];
        let view = view(&all, &["eth0".to_owned(), "eth1".to_owned()], Fixed::default());
        assert_eq!(view.source_v4, Some("10.0.0.7".parse().unwrap()));
        assert_eq!(view.source_v6, Some("fd00::7".parse().unwrap()));
        assert_eq!(view.local.len(), 6);
    }

    #[test]
    fn what_the_operator_fixes_wins() {
        let fixed = Fixed { source_v4: Some("10.0.0.9".parse().unwrap()), ..Fixed::default() };
        let view = view(&[assigned("eth0", "10.0.0.7", false)], &["eth0".to_owned()], fixed);
        assert_eq!(view.source_v4, fixed.source_v4);
    }
}
