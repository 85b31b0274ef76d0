//! What filters mean: the first rule that fits decides.

use std::net::IpAddr;

use model::{
    Prefix, Prefixes,
    packet_filter::{FilteredPacket, Transport, decide, ordered_rules, rate::RatePer},
};
use proptest::{collection::vec, prelude::*};

use crate::checking::snapshot;

const FILTERS: &str = "
kind: PrefixList
metadata: { name: bad }
spec: { prefixes: [192.0.2.0/24, '2001:db8:bad::/48'] }
---
kind: PacketFilter
metadata: { name: a-late }
spec:
  priority: 500
  rules: [{ action: Deny, protocol: UDP }]
---
kind: PacketFilter
metadata: { name: edge }
spec:
  rules:
    - { action: Allow, sources: [192.0.2.7], protocol: TCP, ports: [22, 8000-8999] }
    - { action: Deny, sourceLists: [{ name: bad }], sources: [198.51.100.0/24] }
    - { action: Deny, destinations: [10.0.0.1], ports: [25] }
";

#[test]
fn the_first_rule_that_fits_decides() {
    let config = snapshot(FILTERS);
    let rules = ordered_rules(&config);
    let check = |source: &str, transport, expected: Option<(&str, usize, bool)>| {
        let source: IpAddr = source.parse().expect("an address");
        let destination = if source.is_ipv4() { "10.0.0.1" } else { "fd00::1" };
        let destination = destination.parse().expect("an address");
        let found = decide(&rules, &config, &FilteredPacket { source, destination, transport });
        assert_eq!(found.rates, [], "no rule has a rate");
        let is_denied = found.is_denied;
        let found = found.rule.map(|(key, index)| (key.name.as_str(), index, is_denied));
        assert_eq!(found, expected, "{source} {transport:?}");
    };
    let (tcp, udp) = (Transport::Tcp, Transport::Udp);
    let (allow, deny) = (false, true);
    check("192.0.2.7", Some((tcp, 22)), Some(("edge", 0, allow)));
    check("192.0.2.7", Some((tcp, 8999)), Some(("edge", 0, allow)));
    check("192.0.2.7", Some((tcp, 9000)), Some(("edge", 1, deny)));
    check("192.0.2.7", None, Some(("edge", 1, deny)));
    check("192.0.2.8", Some((tcp, 22)), Some(("edge", 1, deny)));
    check("198.51.100.255", Some((udp, 53)), Some(("edge", 1, deny)));
    check("2001:db8:bad:1::1", Some((udp, 53)), Some(("edge", 1, deny)));
    check("203.0.113.1", Some((tcp, 25)), Some(("edge", 2, deny)));
    check("2001:db8::1", Some((tcp, 25)), None);
    check("203.0.113.1", Some((tcp, 26)), None);
    check("203.0.113.1", None, None);
    check("203.0.113.1", Some((udp, 26)), Some(("a-late", 0, deny)));
}

#[test]
fn limits_are_met_in_order_up_to_the_rule_that_decides() {
    let config = snapshot(
        "
kind: PacketFilter
metadata: { name: edge }
spec:
  rules:
    - { action: Rate, rate: { packetsPerSecond: 1000, per: Source } }
    - { action: Rate, rate: { packetsPerSecond: 50, per: Rule }, protocol: UDP, ports: [53] }
    - { action: Allow, sources: [192.0.2.0/24] }
    - { action: Rate, rate: { packetsPerSecond: 70, per: Rule } }
    - { action: Deny, ports: [53] }
",
    );
    let rules = ordered_rules(&config);
    let check = |source: &str, port, expected: (&[usize], Option<usize>, bool)| {
        let (source, destination) =
            (source.parse().expect("an address"), "10.0.0.1".parse().expect("an address"));
        let packet =
            FilteredPacket { source, destination, transport: Some((Transport::Udp, port)) };
        let found = decide(&rules, &config, &packet);
        let rates: Vec<usize> = found.rates.iter().map(|((_, index), _)| *index).collect();
        let rule = found.rule.map(|(_, index)| index);
        assert_eq!((&*rates, rule, found.is_denied), expected, "{source} {port}");
    };
    check("192.0.2.7", 53, (&[0, 1], Some(2), false));
    check("192.0.2.7", 54, (&[0], Some(2), false));
    check("192.0.3.7", 53, (&[0, 1, 3], Some(4), true));
    check("192.0.3.7", 54, (&[0, 3], None, false));
}

#[test]
fn a_source_is_the_addresses_of_a_prefix() {
    let per = RatePer::Source { prefix_length_v4: 24, prefix_length_v6: 56 };
    let check = |per: RatePer, address: &str, expected: Option<&str>| {
        let address: IpAddr = address.parse().expect("an address");
        let expected = expected.map(|first| first.parse::<IpAddr>().expect("an address"));
        assert_eq!(per.source(address), expected, "{address}");
    };
    check(per, "192.0.2.255", Some("192.0.2.0"));
    check(per, "2001:db8:1:2ff::1", Some("2001:db8:1:200::"));
    let whole = RatePer::Source { prefix_length_v4: 32, prefix_length_v6: 128 };
    check(whole, "192.0.2.255", Some("192.0.2.255"));
    check(whole, "2001:db8::1", Some("2001:db8::1"));
    check(RatePer::Rule, "192.0.2.255", None);
}

fn prefix() -> impl Strategy<Value = Prefix> {
    // Few bits that differ, so that prefixes are within each other.
    let v4 = (0..8u32, 24..=32u8).prop_map(|(bits, length)| {
        let cut = (0x0a00_0000 | bits << 5) & (u32::MAX << (32 - u32::from(length)));
        Prefix::new(IpAddr::from(cut.to_be_bytes()), length).expect("a prefix")
    });
    let v6 = (0..8u128, 120..=128u8).prop_map(|(bits, length)| {
        let cut = (0x2001 << 112 | bits << 3) & (u128::MAX << (128 - u32::from(length)));
        Prefix::new(IpAddr::from(cut.to_be_bytes()), length).expect("a prefix")
    });
    prop_oneof![v4, v6]
}

proptest! {
    #[test]
    fn a_set_of_prefixes_has_the_addresses_of_its_members(
        all in vec(prefix(), 0..12), low in 0..256u32, v6: bool
    ) {
        let address = if v6 {
            IpAddr::from((0x2001u128 << 112 | u128::from(low)).to_be_bytes())
        } else {
            IpAddr::from((0x0a00_0000 | low).to_be_bytes())
        };
        let set = Prefixes::new(all.clone());
        let expected = all.iter().any(|prefix| prefix.contains(address));
        prop_assert_eq!(set.contains(address), expected);
        for pair in set.as_slice().windows(2) {
            prop_assert!(pair[0] < pair[1] && !pair[0].covers(&pair[1]));
        }
    }
}
