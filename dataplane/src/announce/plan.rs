//! Whether this node can have an address, and on which interface (pure).

use std::{collections::BTreeMap, net::IpAddr};

use model::{
    AckState, Engine, EngineReport, ObjectKey, Snapshot,
    listener::{EngineChoice, ListenAddress, Listener},
};

use super::links::{Link, Links};
use crate::xdp::{L4Placement, NotCarried, Placement};

/// Finds the interface on whose link an address lies: one with an address of the same network.
///
/// `allowed` are the interfaces that clients come in by; any when empty.
///
/// # Errors
/// Returns why there is none, for people.
pub(super) fn link_of<'a>(
    address: IpAddr,
    links: &'a Links,
    allowed: &[String],
) -> Result<&'a Link, String> {
    let name = |index| links.by_index(index).map_or("an interface", |link| link.name.as_str());
    if let Some(other) = links.assigned.iter().find(|it| it.address == address && !it.marked) {
        return Err(format!(
            "the host has it on {} already: take it off there (ip addr del)",
            name(other.link)
        ));
    }
    let of_the_network = links
        .assigned
        .iter()
        .filter(|it| !it.marked && contains(it.address, it.prefix, address))
        .filter_map(|it| Some((it.prefix, links.by_index(it.link)?)))
        .filter(|(_, link)| links.is_named(link, allowed))
        .max_by_key(|(prefix, link)| (*prefix, std::cmp::Reverse(link.index)));
    match of_the_network {
        Some((_, link)) if link.running => Ok(link),
        Some((_, link)) => Err(format!("{} has no carrier or is down", link.name)),
        None if allowed.is_empty() => Err("no interface has an address of its network".to_owned()),
        None => Err(format!("none of {} has an address of its network", allowed.join(", "))),
    }
}

/// Tells whether two addresses have the same first bits; a host address is no network.
fn contains(own: IpAddr, prefix: u8, address: IpAddr) -> bool {
    let same = |a: u128, b: u128, bits: u8| {
        let differ = a ^ b;
        prefix < bits && differ.checked_shr(u32::from(bits - prefix)).unwrap_or(0) == 0
    };
    match (own, address) {
        (IpAddr::V4(own), IpAddr::V4(other)) => {
            same(own.to_bits().into(), other.to_bits().into(), 32)
        }
        (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), 128),
        _ => false,
    }
}

/// Tells whether what this node gets for an address is carried.
///
/// # Errors
/// Returns the first listener that is not carried, with the reason.
pub(super) fn carried(
    address: IpAddr,
    config: &Snapshot,
    placement: &L4Placement,
    reports: &BTreeMap<Engine, EngineReport>,
) -> Result<(), String> {
    let envoy = match reports.get(&Engine::Envoy).map(|report| &report.ack) {
        Some(AckState::Unavailable { reason }) => Err(reason.as_str()),
        None => Err("Envoy has not started"),
        Some(_) => Ok(()),
    };
    for (key, listener) in config.listeners() {
        if listener.address != ListenAddress::Ip(address) {
            continue;
        }
        let by = match needs_envoy(key, listener, placement) {
            Ok(true) => envoy.map_err(str::to_owned),
            Ok(false) => Ok(()),
            Err(reason) => Err(reason),
        };
        by.map_err(|reason| format!("{key} is not carried: {reason}"))?;
    }
    Ok(())
}

fn needs_envoy(
    key: &ObjectKey,
    listener: &Listener,
    placement: &L4Placement,
) -> Result<bool, String> {
    if !listener.protocol.is_l4() || listener.engine == EngineChoice::Envoy {
        return Ok(true);
    }
    match placement.listeners.get(key) {
        Some(Placement::Carried) => Ok(false),
        Some(Placement::NotCarried(NotCarried::NoRoute)) => Ok(false),
        Some(Placement::NotCarried(reason)) if listener.engine == EngineChoice::Xdp => {
            Err(reason.to_string())
        }
        None if placement.is_undecided(key) => Err("XDP is yet to decide".to_owned()),
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use imbl::OrdMap;
    use model::Revision;

    use super::*;
    use crate::announce::links::Assigned;

    fn links() -> Links {
        let link = |index, name: &str, running| Link {
            index,
            name: name.to_owned(),
            ethernet: [2, 0, 0, 0, 0, index as u8],
            running,
            vlan_on: (index == 5).then_some(4),
        };
        let assigned = |link, address: &str, prefix, marked| Assigned {
            link,
            address: address.parse().unwrap(),
            prefix,
            marked,
        };
        Links {
            links: vec![
                link(2, "eth0", true),
                link(3, "eth1", true),
                link(4, "eth2", false),
                link(5, "eth2.7", true),
            ],
            assigned: vec![
                assigned(5, "198.51.100.1", 24, false),
                assigned(2, "10.0.0.1", 8, false),
                assigned(3, "10.1.0.1", 16, false),
                assigned(3, "fd00::1", 64, false),
                assigned(4, "192.0.2.1", 24, false),
                assigned(2, "10.9.9.9", 32, true),
                assigned(2, "10.8.8.8", 32, false),
            ],
        }
    }

    #[test]
    fn an_address_lies_on_the_link_of_the_longest_network() {
        let found = |address: &str, allowed: &[&str]| {
            let allowed: Vec<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
            let links = links();
            link_of(address.parse().unwrap(), &links, &allowed).map(|link| link.name.clone())
        };
        assert_eq!(found("10.0.0.9", &[]).unwrap(), "eth0");
        assert_eq!(found("10.1.0.9", &[]).unwrap(), "eth1");
        assert_eq!(found("10.1.0.9", &["eth0"]).unwrap(), "eth0");
        assert_eq!(found("10.9.9.9", &[]).unwrap(), "eth0", "its own mark is no obstacle");
        assert_eq!(found("fd00::9", &[]).unwrap(), "eth1");
        assert_eq!(found("198.51.100.9", &["eth2"]).unwrap(), "eth2.7", "a VLAN on it");
        assert!(found("198.51.100.9", &["eth0"]).is_err());
        assert!(found("fd00::9", &["eth0"]).unwrap_err().contains("none of eth0"));
        assert!(found("203.0.113.1", &[]).unwrap_err().contains("no interface has"));
        assert!(found("192.0.2.9", &[]).unwrap_err().contains("eth2 has no carrier"));
        assert!(found("10.8.8.8", &[]).unwrap_err().contains("on eth0 already"));
    }

    #[test]
    fn a_node_is_fit_for_what_it_carries() {
        let config = |spec: &str| {
            let yaml = format!(
                "kind: Listener\nmetadata: {{ name: l }}\nspec: {{ port: 80, address: 192.0.2.1, \
                 announce: L2, {spec} }}\n"
            );
            let mut config = Snapshot::default();
            for object in model::parse::parse_documents(&yaml).unwrap() {
                config.put(Arc::new(object));
            }
            config
        };
        let report = |ack| EngineReport::new(Engine::Envoy, Revision(1), ack);
        let lost = AckState::Unavailable { reason: "no Envoy".to_owned() };
        let check = |spec: &str, placed: Option<Placement>, up: bool, problem: Option<&str>| {
            let key: ObjectKey = "Listener/default/l".parse().unwrap();
            let listeners: OrdMap<ObjectKey, Placement> =
                placed.into_iter().map(|placed| (key.clone(), placed)).collect();
            let placement = L4Placement { listeners, ..L4Placement::default() };
            let ack = if up { AckState::Applied } else { lost.clone() };
            let reports = BTreeMap::from([(Engine::Envoy, report(ack))]);
            let found = carried("192.0.2.1".parse().unwrap(), &config(spec), &placement, &reports);
            match problem {
                None => assert_eq!(found, Ok(())),
                Some(words) => assert!(found.unwrap_err().contains(words)),
            }
        };
        let refused = || Placement::NotCarried(NotCarried::NoEndpoint);
        check("protocol: HTTP", None, true, None);
        check("protocol: HTTP", None, false, Some("no Envoy"));
        check("protocol: TCP", Some(Placement::Carried), false, None);
        check("protocol: TCP", Some(refused()), true, None);
        check("protocol: TCP", Some(refused()), false, Some("no Envoy"));
        check("protocol: TCP, engine: xdp", Some(refused()), true, Some("no endpoint"));
        check("protocol: TCP", Some(Placement::NotCarried(NotCarried::NoRoute)), false, None);
        let undecided = L4Placement::undecided();
        let reports = BTreeMap::new();
        let address = "192.0.2.1".parse().unwrap();
        assert!(carried(address, &config("protocol: TCP"), &undecided, &reports).is_err());
        assert!(
            carried("192.0.2.2".parse().unwrap(), &config("protocol: HTTP"), &undecided, &reports)
                .is_ok()
        );
    }
}
