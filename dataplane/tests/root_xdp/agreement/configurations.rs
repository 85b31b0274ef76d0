//! Generated configurations: listeners of every way of forwarding, with endpoints near and far, out
//! of reach, behind a gateway and behind a narrow link; packet filters, also with rates; marks.

use std::fmt::Write as _;

use dataplane::Desired;
use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::support::objects;

pub(super) struct Configuration {
    pub(super) text: String,
    pub(super) desired: Desired,
}

/// Name, protocol, address (`*` for any local one) and port of what may be a listener.
pub(super) const LISTENERS: [(&str, &str, &str, u16); 8] = [
    ("any-tcp", "TCP", "*", 8080),
    ("any-udp", "UDP", "*", 53),
    ("v4-tcp", "TCP", "192.0.2.10", 80),
    ("v4-udp", "UDP", "192.0.2.10", 80),
    ("v6-tcp", "TCP", "2001:db8::10", 80),
    ("v6-udp", "UDP", "2001:db8::10", 80),
    ("node-tcp", "TCP", "10.0.0.1", 443),
    ("node-udp", "UDP", "fd00::1", 443),
];
const GOOD: [&str; 12] = [
    "10.7.0.21",
    "fd07::21",
    "10.0.0.21",
    "10.0.0.22",
    "10.0.0.23",
    "10.0.0.24",
    "10.8.0.21",
    "fd00::21",
    "fd00::22",
    "fd00::23",
    "fd00::24",
    "fd08::21",
];
/// Without a neighbour, without a route, behind a gateway.
const OTHER: [&str; 6] =
    ["10.0.0.29", "203.0.113.9", "10.9.0.5", "fd00::29", "2001:db8:99::9", "fd09::5"];
const MODES: [&str; 5] = ["NAT", "NAT", "L2", "IPIP", "GUE"];

/// Makes a configuration. The listeners' ways of forwarding and the rates are the sequence's.
pub(super) fn configuration(
    random: &mut StdRng,
    modes: &[&str],
    rates: &[String],
) -> Configuration {
    let mut text = String::new();
    let mut carried = Vec::new();
    for ((name, protocol, address, port), mode) in LISTENERS.into_iter().zip(modes) {
        if random.random_bool(0.15) {
            continue;
        }
        // Now and then a listener changes its way.
        let mode = if random.random_bool(0.1) { way(random, address) } else { mode };
        let cookies = match random.random_range(0..5) {
            0 | 1 if protocol == "TCP" && mode == "NAT" => ", synCookies: Always",
            2 if protocol == "TCP" && mode == "NAT" => ", synCookies: Never",
            _ => "",
        };
        let route = if protocol == "TCP" { "TCPRoute" } else { "UDPRoute" };
        let endpoints = endpoints(random, address, (mode != "NAT").then_some(port));
        write!(
            text,
            "kind: Listener\nmetadata: {{ name: {name} }}\nspec: {{ protocol: {protocol}, \
             address: '{address}', port: {port}, engine: xdp, forwarding: {mode}{cookies} }}\n---\n\
             kind: {route}\nmetadata: {{ name: {name} }}\nspec:\n  listeners: [{{ name: {name} }}]\n  \
             backends: [{{ service: {{ name: {name} }} }}]\n---\n\
             kind: Service\nmetadata: {{ name: {name} }}\nspec:\n  endpoints: [{endpoints}]\n---\n"
        )
        .unwrap();
        carried.push(name);
    }
    if random.random_bool(0.5) {
        marks(random, &carried, &mut text);
    }
    if random.random_bool(0.3) {
        filter(random, &mut text);
    }
    for filter in rates.iter().filter(|_| random.random_bool(0.8)) {
        text.push_str(filter);
    }
    let desired = objects::desired_with(1, &[], &text);
    Configuration { text, desired }
}

/// Chooses a way of forwarding; a listener of any local address has full NAT.
pub(super) fn way(random: &mut StdRng, address: &str) -> &'static str {
    if address == "*" { "NAT" } else { MODES.choose(random).unwrap() }
}

fn endpoints(random: &mut StdRng, address: &str, direct: Option<u16>) -> String {
    // A listener of any local address takes endpoints of both families.
    let fits = |ip: &str| address == "*" || ip.contains(':') == address.contains(':');
    let mut chosen: Vec<&str> = GOOD.into_iter().filter(|ip| fits(ip)).collect();
    let keep = random.random_range(1..=chosen.len());
    // Of one family only where that is how it comes.
    if address == "*" && random.random_bool(0.3) {
        let v6 = random.random_bool(0.5);
        chosen.retain(|ip| ip.contains(':') == v6);
    }
    while chosen.len() > keep {
        chosen.remove(random.random_range(0..chosen.len()));
    }
    if random.random_bool(0.3) {
        let other = *OTHER.choose(random).unwrap();
        if fits(other) {
            chosen.push(other);
        }
    }
    let endpoint = |ip: &&str| {
        let port = direct.unwrap_or_else(|| random.random_range(8000..8003));
        format!("{{ address: '{ip}', port: {port}, weight: {} }}", random.random_range(1..5))
    };
    chosen.iter().map(endpoint).collect::<Vec<_>>().join(", ")
}

fn marks(random: &mut StdRng, carried: &[&str], text: &mut String) {
    let marked: Vec<String> = carried
        .iter()
        .filter(|_| random.random_bool(0.5))
        .map(|name| format!("{{ name: {name} }}"))
        .collect();
    if marked.is_empty() {
        return;
    }
    // A limit that nothing of a sequence comes near.
    let limit = if random.random_bool(0.5) { ", ingress: { bandwidthMbps: 100000 }" } else { "" };
    let dscp = random.random_range(0..64);
    write!(
        text,
        "kind: QoSPolicy\nmetadata: {{ name: marks }}\nspec: {{ listeners: [{}], dscp: {dscp}{limit} }}\n---\n",
        marked.join(", ")
    )
    .unwrap();
}

/// Makes filters with a rate each, so few packets that a tick brings whole parts of one and no CPU
/// borrows more than it needs.
pub(super) fn rates(random: &mut StdRng) -> Vec<String> {
    if random.random_bool(0.6) {
        return Vec::new();
    }
    (0..random.random_range(1..4)).map(|number| rate(random, number)).collect()
}

fn rate(random: &mut StdRng, number: u32) -> String {
    let per = *[
        "per: Rule",
        "per: Source",
        "per: Source, prefixLengthV4: 24, prefixLengthV6: 48",
        "per: Source, prefixLengthV4: 8, prefixLengthV6: 128",
    ]
    .choose(random)
    .unwrap();
    let (packets, burst) = (*[1, 2, 5, 10].choose(random).unwrap(), random.random_range(1..8));
    let rate = format!("packetsPerSecond: {packets}, burst: {burst}, {per}");
    let some: Vec<&str> = SOURCES.into_iter().filter(|_| random.random_bool(0.3)).collect();
    let sources = format!(", sources: [{}]", some.join(", "));
    let sources = if some.is_empty() { ", protocol: UDP" } else { &sources };
    let priority = random.random_range(0..3);
    format!(
        "kind: PacketFilter\nmetadata: {{ name: limit-{number} }}\nspec:\n  priority: {priority}\n  \
         rules:\n    - {{ action: Rate, rate: {{ {rate} }}{sources} }}\n---\n"
    )
}

/// Sources that filters tell from others.
const SOURCES: [&str; 6] = [
    "198.51.100.0/24",
    "198.51.100.64/26",
    "10.0.0.100/32",
    "'2001:db8:c::/48'",
    "'fd00::100/128'",
    "'2001:db8:c::8/125'",
];

fn filter(random: &mut StdRng, text: &mut String) {
    const DESTINATIONS: [&str; 4] =
        ["192.0.2.10/32", "'2001:db8::/64'", "10.0.0.0/24", "'fd00::1/128'"];
    text.push_str("kind: PacketFilter\nmetadata: { name: edge }\nspec:\n  rules:\n");
    for _ in 0..random.random_range(1..7) {
        let action = if random.random_bool(0.6) { "Deny" } else { "Allow" };
        let mut fields = vec![format!("action: {action}")];
        let mut list = |random: &mut StdRng, name: &str, of: &[&str]| {
            let some: Vec<&str> = of.iter().filter(|_| random.random_bool(0.3)).copied().collect();
            if !some.is_empty() {
                fields.push(format!("{name}: [{}]", some.join(", ")));
            }
        };
        list(random, "sources", &SOURCES);
        list(random, "destinations", &DESTINATIONS);
        if fields.len() == 1 || random.random_bool(0.5) {
            let protocol = if random.random_bool(0.5) { "TCP" } else { "UDP" };
            fields.push(format!("protocol: {protocol}"));
        }
        if random.random_bool(0.3) {
            fields.push("ports: [80, 50-60, 8080-9000]".to_owned());
        }
        writeln!(text, "    - {{ {} }}", fields.join(", ")).unwrap();
    }
    text.push_str("---\n");
}
