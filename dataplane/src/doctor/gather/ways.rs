//! The ways to endpoints: routes and neighbours, as the kernel would answer the program.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use super::{Wishes, links::Links};
use crate::{
    doctor::facts::{Fact, Gap, Neighbour, Plane, Route, Way},
    netlink::{Netlink, wire},
    xdp::neighbours::Neighbours,
};

/// Endpoints that are looked at: as many as one burst of questions for neighbours holds.
const WAYS_MAX: usize = 340;
/// How long the kernel may look for neighbours: it gives up some 3 s after the first of three
/// questions (`mcast_solicit`, `retrans_time_ms`).
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Bytes of `struct rtmsg` and `struct ndmsg`.
const ROUTE_HEADER: usize = 12;
const NEIGHBOUR_HEADER: usize = 12;
/// States in which a neighbour's link address may be used (`NUD_VALID`, include/net/neighbour.h).
const VALID: u16 = libc::NUD_PERMANENT
    | libc::NUD_NOARP
    | libc::NUD_REACHABLE
    | libc::NUD_PROBE
    | libc::NUD_STALE
    | libc::NUD_DELAY;

/// Looks for the ways to what was asked about, and to the endpoints of the accepted configuration.
pub(super) fn read(wishes: &Wishes, plane: &Plane, links: &Links) -> Vec<Way> {
    let mut all: BTreeMap<IpAddr, Vec<_>> =
        wishes.to.iter().map(|address| (*address, Vec::new())).collect();
    if let Ok(Some(accepted)) = &plane.accepted {
        let endpoints = accepted.endpoints.iter();
        let room = WAYS_MAX.saturating_sub(all.len());
        all.extend(endpoints.take(room).map(|(to, ways)| (*to, ways.clone())));
    }
    if all.is_empty() {
        return Vec::new();
    }
    // As the data plane does before it sends.
    Neighbours::new().resolve_new(&all.keys().copied().collect());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ways: Vec<Way> = all
            .iter()
            .map(|(to, ways)| Way { to: *to, forwarding: ways.clone(), route: route(*to, links) })
            .collect();
        if Instant::now() >= deadline || !ways.iter().any(is_open) {
            return ways;
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// Whether the kernel is still looking for the neighbour.
fn is_open(way: &Way) -> bool {
    let Ok(Route::Leaves { neighbour: Ok(neighbour), .. }) = &way.route else { return false };
    matches!(neighbour, Neighbour::Asked | Neighbour::Unasked)
}

/// Asks for the route to an address.
pub(super) fn route(to: IpAddr, links: &Links) -> Fact<Route> {
    let netlink = Netlink::route().map_err(|error| Gap::of(&error))?;
    let (family, octets) = octets(to);
    let mut header = [0; ROUTE_HEADER];
    header[0] = family;
    header[1] = octets.len() as u8 * 8;
    let body = match netlink.get(libc::RTM_GETROUTE, &header, &[(libc::RTA_DST, &octets)]) {
        Ok(body) => body,
        // Where the kernel answers with an error, that is the answer.
        Err(error) => return missing(&error),
    };
    let Some(told) = parse_route(&body) else {
        return Err(Gap::Failed("the kernel's answer is not understood".to_owned()));
    };
    if told.local {
        return Ok(Route::Local);
    }
    let Some(link) = told.interface.and_then(|index| links.by_index(index)) else {
        return Ok(Route::Missing("it leaves by no interface".to_owned()));
    };
    let neighbour = if link.link.no_arp || link.link.loopback {
        Ok(Neighbour::NotNeeded)
    } else {
        neighbour(&netlink, told.gateway.unwrap_or(to), link.link.index)
    };
    Ok(Route::Leaves { interface: link.name.clone(), gateway: told.gateway, neighbour })
}

fn missing(error: &io::Error) -> Fact<Route> {
    match error.raw_os_error() {
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL) => {
            Ok(Route::Missing(error.to_string()))
        }
        _ => Err(Gap::of(error)),
    }
}

fn neighbour(netlink: &Netlink, next: IpAddr, index: u32) -> Fact<Neighbour> {
    let (family, octets) = octets(next);
    let mut header = [0; NEIGHBOUR_HEADER];
    header[0] = family;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    match netlink.get(libc::RTM_GETNEIGH, &header, &[(libc::NDA_DST, &octets)]) {
        Ok(body) => Ok(state(wire::u16_at(&body, 8).unwrap_or(0))),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Neighbour::Unasked),
        Err(error) => Err(Gap::of(&error)),
    }
}

fn state(bits: u16) -> Neighbour {
    match bits {
        bits if bits & VALID != 0 => Neighbour::Known,
        bits if bits & libc::NUD_FAILED != 0 => Neighbour::Silent,
        bits if bits & libc::NUD_INCOMPLETE != 0 => Neighbour::Asked,
        _ => Neighbour::Unasked,
    }
}

/// A route as it is told.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    local: bool,
    interface: Option<u32>,
    gateway: Option<IpAddr>,
}

fn parse_route(body: &[u8]) -> Option<Told> {
    // `struct rtmsg`: the type stands at byte 7.
    let local = *body.get(7)? == libc::RTN_LOCAL;
    let attributes = body.get(ROUTE_HEADER..)?;
    let interface =
        wire::attribute(attributes, libc::RTA_OIF).and_then(|value| wire::u32_at(value, 0));
    // `RTA_VIA` is a gateway of the other family: the family stands before it.
    let gateway = wire::attribute(attributes, libc::RTA_GATEWAY)
        .or_else(|| wire::attribute(attributes, libc::RTA_VIA).and_then(|value| value.get(2..)))
        .and_then(address);
    Some(Told { local, interface, gateway })
}

fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(v4) => (libc::AF_INET as u8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6 as u8, v6.octets().to_vec()),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::wire::Request;

    #[test]
    fn routes_are_read_with_gateways_of_both_families() {
        let check = |kind: u8, all: &[(u16, &[u8])], told| {
            let mut header = [0; ROUTE_HEADER];
            header[7] = kind;
            let request = Request::new(24, 0, &header);
            let request = all.iter().fold(request, |request, (kind, v)| request.with(*kind, v));
            assert_eq!(parse_route(&request.bytes()[16..]), Some(told));
        };
        let told = |interface, gateway: Option<&str>| Told {
            local: false,
            interface,
            gateway: gateway.map(|address| address.parse().unwrap()),
        };
        let oif = 7u32.to_ne_bytes();
        check(1, &[(libc::RTA_OIF, &oif)], told(Some(7), None));
        let via = [(libc::RTA_OIF, &oif[..]), (libc::RTA_GATEWAY, &[10, 0, 0, 1])];
        check(1, &via, told(Some(7), Some("10.0.0.1")));
        let mut other = vec![10, 0];
        other.extend_from_slice(&"fe80::1".parse::<Ipv6Addr>().unwrap().octets());
        let via = [(libc::RTA_OIF, &oif[..]), (libc::RTA_VIA, &other)];
        check(1, &via, told(Some(7), Some("fe80::1")));
        check(libc::RTN_LOCAL, &[], Told { local: true, interface: None, gateway: None });
        assert_eq!(parse_route(&[0; 7]), None);
    }

    #[test]
    fn a_neighbour_is_known_as_long_as_the_kernel_would_use_it() {
        for bits in [libc::NUD_REACHABLE, libc::NUD_STALE, libc::NUD_PERMANENT, libc::NUD_PROBE] {
            assert_eq!(state(bits), Neighbour::Known);
        }
        assert_eq!(state(libc::NUD_FAILED), Neighbour::Silent);
        assert_eq!(state(libc::NUD_INCOMPLETE), Neighbour::Asked);
        assert_eq!(state(libc::NUD_NONE), Neighbour::Unasked);
    }

    #[test]
    fn an_error_of_the_kernel_is_told_from_a_missing_route() {
        let of = |number| missing(&io::Error::from_raw_os_error(number));
        assert!(matches!(of(libc::ENETUNREACH), Ok(Route::Missing(_))));
        assert!(matches!(of(libc::EHOSTUNREACH), Ok(Route::Missing(_))));
        assert!(matches!(of(libc::ENOBUFS), Err(Gap::Failed(_))));
    }
}
