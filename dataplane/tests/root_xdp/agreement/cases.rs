//! A sequence: its flows, and the next of its frames.

use std::net::{IpAddr, SocketAddr};

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{
    configurations::{self, Configuration, LISTENERS},
    frames::{Segment, framed, icmp},
    kernels::Ingress,
    mutations::mutate,
};
use crate::naive::{Connection, Flow, Model, TCP, UDP, network::VLAN};

const CLIENTS: [&str; 8] = [
    "10.0.0.100",
    "198.51.100.7",
    "198.51.100.70",
    "10.0.0.50",
    "fd00::100",
    "2001:db8:c::7",
    "2001:db8:c::9",
    "fd00::50",
];
/// What no listener is for.
const ELSEWHERE: [(u8, &str); 8] = [
    (TCP, "10.0.0.1:81"),
    (UDP, "10.0.0.1:61005"),
    (TCP, "192.0.2.99:80"),
    (TCP, "10.0.0.1:62000"),
    (UDP, "[fd00::1]:81"),
    (TCP, "[fd00::1]:61005"),
    (UDP, "[2001:db8::99]:80"),
    (TCP, "[fd00::1]:22"),
];
const ROUTERS: [&str; 4] = ["192.0.2.254", "10.0.0.22", "2001:db8:ffff::1", "fd00::22"];
/// TCP flags, the common ones more often.
const FLAGS: [u8; 14] =
    [0x02, 0x02, 0x02, 0x10, 0x10, 0x10, 0x18, 0x18, 0x11, 0x04, 0x12, 0x14, 0x00, 0xc2];

pub(super) struct Case {
    /// Configurations, one after the other.
    pub(super) parts: u32,
    /// Frames under each.
    pub(super) frames: u32,
    modes: Vec<&'static str>,
    /// Filters that limit rates.
    rates: Vec<String>,
    flows: Vec<Flow>,
}

impl Case {
    pub(super) fn new(random: &mut StdRng) -> Self {
        let modes = LISTENERS.iter().map(|(_, _, address, _)| configurations::way(random, address));
        let modes = modes.collect();
        let flows = (0..random.random_range(8..30)).map(|_| flow(random)).collect();
        Self {
            parts: random.random_range(1..4),
            frames: random.random_range(100..300),
            modes,
            rates: configurations::rates(random),
            flows,
        }
    }

    pub(super) fn configuration(&self, random: &mut StdRng) -> Configuration {
        configurations::configuration(random, &self.modes, &self.rates)
    }

    /// Makes the next frame, of which some follow from the connections that there are.
    pub(super) fn frame(&self, random: &mut StdRng, model: &Model) -> (Vec<u8>, Ingress) {
        let (mut frame, ingress) = match random.random_range(0..100) {
            0..50 => (self.request(random), Ingress::Near),
            50..60 => match acknowledgement(random, model) {
                Some(frame) => (frame, Ingress::Near),
                None => (self.request(random), Ingress::Near),
            },
            60..82 => match connection(random, model) {
                Some((_, connection)) => answer(random, &connection),
                None => (self.request(random), Ingress::Near),
            },
            82..92 => (self.error(random, model), Ingress::Near),
            92..96 => (other(random), Ingress::Near),
            _ => {
                let flow = elsewhere(random);
                (segment(random, flow).bytes(), Ingress::Near)
            }
        };
        if random.random_bool(0.15) {
            mutate(random, &mut frame);
        }
        if random.random_bool(0.06) {
            let vlan = *[100, 200, 0, 0x2064, 0xffff].choose(random).unwrap();
            frame = tagged(&frame, vlan);
        }
        // By the other interface, now and then.
        let ingress = if random.random_bool(0.03) { Ingress::Far } else { ingress };
        (frame, ingress)
    }

    fn request(&self, random: &mut StdRng) -> Vec<u8> {
        let flow = *self.flows.choose(random).unwrap();
        segment(random, flow).bytes()
    }

    /// An error about what a listener or the node has sent.
    fn error(&self, random: &mut StdRng, model: &Model) -> Vec<u8> {
        let known = connection(random, model).filter(|_| random.random_bool(0.7));
        let (protocol, sender, receiver) = match known {
            // What the node has sent to a backend, or to a client.
            Some((_, connection)) if random.random_bool(0.5) => {
                let port = connection.port.expect("a known one");
                let protocol = connection.frontend.protocol;
                (protocol, SocketAddr::new(connection.node, port), connection.backend)
            }
            Some((flow, _)) => (flow.0, flow.2, flow.1),
            None => {
                let flow = *self.flows.choose(random).unwrap();
                // What the model does not know the port of, it cannot say.
                match model.connections.get(&flow) {
                    Some(Connection { port: None, .. }) => elsewhere(random),
                    _ => (flow.0, flow.2, flow.1),
                }
            }
        };
        let quoted = segment(random, (protocol, sender, receiver)).bytes()[14..].to_vec();
        let least = if sender.is_ipv6() { 48 } else { 28 };
        let length = random.random_range(least..=quoted.len().max(least));
        let v6 = sender.is_ipv6();
        let kinds: &[(u8, u8)] = if v6 {
            &[(1, 4), (2, 0), (3, 0), (4, 1)]
        } else {
            &[(3, 4), (3, 1), (11, 0), (12, 0)]
        };
        let mut rest = random.random_range(0..1_500u32).to_be_bytes().to_vec();
        rest.extend(&quoted[..length.min(quoted.len())]);
        let routers: Vec<&str> = ROUTERS.into_iter().filter(|ip| ip.contains(':') == v6).collect();
        let router: IpAddr = routers.choose(random).unwrap().parse().unwrap();
        let from = [2, 0, 0, 0, 0, random.random()];
        icmp(from, (router, sender.ip()), *kinds.choose(random).unwrap(), &rest, traits(random))
    }
}

/// Traffic class and hop limit.
fn traits(random: &mut StdRng) -> (u8, u8) {
    let class = if random.random_bool(0.6) { 0 } else { random.random() };
    let hops = *[64, 64, 64, 64, 255, 2, 1, 0].choose(random).unwrap();
    (class, if random.random_bool(0.8) { 64 } else { hops })
}

fn client(random: &mut StdRng, v6: bool) -> SocketAddr {
    let all: Vec<&str> = CLIENTS.into_iter().filter(|ip| ip.contains(':') == v6).collect();
    SocketAddr::new(
        all.choose(random).unwrap().parse().unwrap(),
        random.random_range(1_024..65_535),
    )
}

fn flow(random: &mut StdRng) -> Flow {
    let (_, protocol, address, port) = *LISTENERS.choose(random).unwrap();
    let address = match address {
        "*" => *["10.0.0.1", "10.8.0.1", "fd00::1", "fd08::1"].choose(random).unwrap(),
        address => address,
    };
    let destination = SocketAddr::new(address.parse().unwrap(), port);
    let protocol = if protocol == "TCP" { TCP } else { UDP };
    (protocol, client(random, destination.is_ipv6()), destination)
}

fn elsewhere(random: &mut StdRng) -> Flow {
    let (protocol, destination) = *ELSEWHERE.choose(random).unwrap();
    let destination: SocketAddr = destination.parse().unwrap();
    (protocol, client(random, destination.is_ipv6()), destination)
}

fn segment(random: &mut StdRng, (protocol, source, destination): Flow) -> Segment {
    let (class, hops) = traits(random);
    let length = match random.random_range(0..50) {
        // Around what ways take.
        0 => random.random_range(1_330..1_475),
        _ => random.random_range(0..70),
    };
    let flags = if protocol != TCP {
        0
    } else if random.random_bool(0.9) {
        *FLAGS.choose(random).unwrap()
    } else {
        random.random()
    };
    Segment {
        protocol,
        source,
        destination,
        class,
        hops,
        flags,
        // Of few, so that some SYNs come again.
        label: if random.random_bool(0.5) { random.random_range(0..4) } else { random.random() },
        numbers: None,
        options: if flags & 0x02 != 0 { options(random) } else { Vec::new() },
        payload: (0..length).map(|_| random.random()).collect(),
        from: [2, 0, 0, 0, 0, *[0x64, 0x64, 0xcc, 0xfe].choose(random).unwrap()],
        checked: random.random_bool(0.9),
    }
}

/// Options of a SYN, mostly those that there are.
fn options(random: &mut StdRng) -> Vec<u8> {
    let [high, low] = [0, 215, 536, 1_219, 1_300, 1_400, 1_440, 1_460, 8_960, 65_535]
        .choose(random)
        .map(|size: &u16| size.to_be_bytes())
        .unwrap();
    let size = [2, 4, high, low];
    match random.random_range(0..8) {
        0 | 1 => Vec::new(),
        2 | 3 => size.into(),
        4 => [&[1, 1, 4, 2][..], &size].concat(),
        5 => [&size[..], &[3, 3, 7, 0]].concat(),
        6 => [&[8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1][..], &size].concat(),
        _ => (0..random.random_range(0..=10) * 4).map(|_| random.random_range(0..7)).collect(),
    }
}

/// A client's answer to a SYN cookie, or nearly one.
fn acknowledgement(random: &mut StdRng, model: &Model) -> Option<Vec<u8>> {
    let mut all: Vec<_> =
        model.given.iter().flat_map(|(flow, all)| all.iter().map(move |it| (*flow, *it))).collect();
    // The order of a hash map is another each time.
    all.sort_by_key(|(flow, given)| (*flow, given.first, given.cookie));
    let (flow, given) = *all.choose(random)?;
    let mut segment = segment(random, flow);
    if random.random_bool(0.8) {
        segment.flags = 0x10;
        segment.options.clear();
    }
    let ahead = *[1, 1, 1, 1, 0, 2].choose(random).unwrap();
    let (sequence, mut cookie) = (given.first.wrapping_add(ahead), given.cookie);
    if random.random_bool(0.1) {
        cookie ^= 1 << random.random_range(0..32);
    }
    segment.numbers = Some((sequence, cookie.wrapping_add(1)));
    Some(segment.bytes())
}

/// Chooses a connection of which the port is known.
fn connection(random: &mut StdRng, model: &Model) -> Option<(Flow, Connection)> {
    let mut all: Vec<_> = model.connections.iter().filter(|(_, it)| it.port.is_some()).collect();
    // The order of a hash map is another each time.
    all.sort_by_key(|(flow, _)| **flow);
    all.choose(random).map(|(flow, connection)| (**flow, (*connection).clone()))
}

fn answer(random: &mut StdRng, connection: &Connection) -> (Vec<u8>, Ingress) {
    let port = connection.port.expect("a known one");
    let node = SocketAddr::new(connection.node, port);
    let mut segment = segment(random, (connection.frontend.protocol, connection.backend, node));
    segment.from = [2, 0, 0, 0, 0, 21];
    if connection.splice.is_some() && random.random_bool(0.3) {
        segment.flags = 0x12;
    }
    let is_far = ["10.8.0.21", "fd08::21"]
        .iter()
        .any(|far| connection.backend.ip() == far.parse::<IpAddr>().unwrap());
    let is_tagged = ["10.7.0.21", "fd07::21"].contains(&&*connection.backend.ip().to_string());
    let bytes = segment.bytes();
    let bytes = if is_tagged { tagged(&bytes, VLAN) } else { bytes };
    (bytes, if is_far { Ingress::Far } else { Ingress::Near })
}

/// Gives a frame a VLAN tag.
fn tagged(frame: &[u8], control: u16) -> Vec<u8> {
    let at = frame.len().min(12);
    [&frame[..at], &[0x81, 0x00], &control.to_be_bytes(), &frame[at..]].concat()
}

/// Neither TCP nor UDP, or no IP at all.
fn other(random: &mut StdRng) -> Vec<u8> {
    let (_, source, destination) = flow(random);
    let ends = (source.ip(), destination.ip());
    let mut rest: Vec<u8> = (0..random.random_range(4..60)).map(|_| random.random()).collect();
    match random.random_range(0..4) {
        0 => icmp([2, 0, 0, 0, 0, 9], ends, (8, 0), &rest, traits(random)),
        1 => icmp([2, 0, 0, 0, 0, 9], ends, (random.random(), 0), &rest, traits(random)),
        2 => {
            rest.resize(46, 0);
            let mut frame = framed([2, 0, 0, 0, 0, 9], false, &rest);
            frame[12..14].copy_from_slice(&[0x08, 0x06]);
            frame
        }
        _ => {
            let protocol = *[2, 47, 50, 89, 132, 255].choose(random).unwrap();
            let packet = super::frames::packet(ends, protocol, 0, 64, 0, &rest);
            framed([2, 0, 0, 0, 0, 9], source.is_ipv6(), &packet)
        }
    }
}
