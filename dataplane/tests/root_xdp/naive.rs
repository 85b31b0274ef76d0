//! A model of the L4 data plane that shares no decision with it: written from the documentation and
//! the RFCs, by slices, maps and checksums over whole packets.
//!
//! ```text
//! read ─┬─ not whole TCP or UDP ─▶ filter ─▶ ICMP error? ─▶ errors
//!       ├─ from a backend to a port of the node's ─▶ mark ─▶ nat (back)
//!       └─ filter ─▶ service ─▶ mark ─┬─▶ nat (there)
//!                                     └─▶ direct
//! ```
//! What the documentation leaves open is taken from what was seen, if it is one of what is allowed:
//! the port of a new connection (any that the backend does not have from the node already), a SYN
//! cookie, and when a UDP flow leaves an endpoint that left.

pub(crate) mod cookies;
mod direct;
mod errors;
mod nat;
pub(crate) mod network;
mod rates;
mod reading;
mod too_big;
mod writing;

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

use dataplane::xdp::{
    maglev::{self, Weighted},
    plan::{Frontend, L4Plan},
};
use ebpf_common::verdict::{Action, Reason};
use model::{
    Snapshot,
    listener::{Forwarding, SynCookies},
    packet_filter::{FilteredPacket, Transport, decide, ordered_rules},
};

use self::{network::Network, rates::Rates, reading::Packet};

/// IP protocol numbers.
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
/// Ports that connections to backends leave from (README, Limits).
pub(crate) const NODE_PORTS: std::ops::RangeInclusive<u16> = 61_000..=65_535;

/// What becomes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// The control information of the VLAN tag that it goes out with.
    pub(crate) tag: Option<u16>,
    /// The frame as it is then, without that tag; of no account when it is dropped.
    pub(crate) frame: Vec<u8>,
}

impl Outcome {
    /// Takes a frame that goes out apart from its tag.
    pub(crate) fn of(verdict: Verdict, frame: &[u8]) -> Self {
        match reading::untagged(frame) {
            Some((tag, frame)) if matches!(verdict, Verdict::Out(_)) => {
                Self { verdict, tag: Some(tag), frame }
            }
            _ => Self { verdict, tag: None, frame: frame.to_vec() },
        }
    }
}

/// How a frame came in.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    interface: u32,
    /// The control information of its VLAN tag, which is taken off.
    tag: Option<u16>,
}

/// Where a frame goes, or why nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// To the network stack.
    Pass(Reason),
    /// Nowhere.
    Drop(Reason),
    /// Out of an interface.
    Out(u32),
}

impl Verdict {
    pub(crate) fn of(reason: Reason) -> Self {
        match reason.action() {
            Action::Pass => Self::Pass(reason),
            Action::Drop => Self::Drop(reason),
        }
    }
}

/// Tells whether a decision led to what was seen.
fn led_to(decided: &Result<Outcome, Reason>, seen: &Outcome) -> bool {
    match decided {
        Ok(outcome) => outcome == seen,
        Err(reason) => seen.verdict == Verdict::of(*reason),
    }
}

/// A flow: protocol, source and destination.
pub(crate) type Flow = (u8, SocketAddr, SocketAddr);

/// A connection with full NAT.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) frontend: Frontend,
    pub(crate) backend: SocketAddr,
    /// Where it leaves the node from; the port is not known before a packet was seen with it.
    pub(crate) node: IpAddr,
    pub(crate) port: Option<u16>,
    /// The way that its last answer took.
    pub(crate) back: network::NextHop,
    /// Of one that began by a SYN cookie.
    pub(crate) splice: Option<cookies::Splice>,
    /// TCP flags that the client and the backend have sent, and whether they have sent anything.
    sent: [Option<u8>; 2],
    /// Whether one of them has sent a segment that is no SYN.
    acked: bool,
}

/// A listener that is carried, or whose connections go on.
#[derive(Clone, Debug)]
struct Service {
    carried: bool,
    forwarding: Forwarding,
    cookies: SynCookies,
    v4: Pool,
    v6: Pool,
    /// The endpoints before the last change, where flows may still be led by them.
    before: Pool,
    /// The code point that packets get.
    dscp: Option<u8>,
}

/// Endpoints, and their published Maglev table.
#[derive(Clone, Debug, Default)]
struct Pool {
    endpoints: Vec<Weighted>,
    table: Vec<u16>,
}

impl Pool {
    fn new(endpoints: &[Weighted]) -> Self {
        let table = if endpoints.is_empty() { Vec::new() } else { maglev::table(endpoints) };
        Self { endpoints: endpoints.to_vec(), table }
    }

    /// Chooses an endpoint for a flow.
    fn choose(&self, flow: &Flow) -> Option<SocketAddr> {
        let upper = (flow_hash(flow) >> 32) as usize;
        let number = self.table.get((upper * self.table.len()) >> 32)?;
        Some(self.endpoints[usize::from(*number)].address)
    }
}

impl Service {
    fn has(&self, endpoint: SocketAddr) -> bool {
        self.v4.endpoints.iter().chain(&self.v6.endpoints).any(|it| it.address == endpoint)
    }
}

/// The model.
pub(crate) struct Model {
    pub(crate) network: Network,
    config: Snapshot,
    services: BTreeMap<Frontend, Service>,
    /// Connections by the client's packets.
    pub(crate) connections: HashMap<Flow, Connection>,
    /// Endpoints of flows that are forwarded as they are.
    flows: HashMap<Flow, SocketAddr>,
    /// SYN cookies.
    pub(crate) given: HashMap<Flow, Vec<cookies::Given>>,
    rates: Rates,
    /// The tick at which the present frame came.
    at: u64,
}

impl Model {
    pub(crate) fn new(network: Network, ticks_per_second: u32) -> Self {
        Self {
            network,
            config: Snapshot::default(),
            services: BTreeMap::new(),
            connections: HashMap::new(),
            flows: HashMap::new(),
            given: HashMap::new(),
            rates: Rates::new(ticks_per_second),
            at: 0,
        }
    }

    /// Follows a change of the configuration, of which the planner says what is carried.
    pub(crate) fn apply(&mut self, config: &Snapshot, plan: &L4Plan) {
        self.config = config.clone();
        let rules = ordered_rules(config);
        self.rates.keep(|filter, rule| rules.iter().any(|(id, _)| *id == (filter, rule)));
        for service in self.services.values_mut() {
            service.carried = false;
        }
        for (frontend, carried) in &plan.carried {
            let mut service = Service {
                carried: true,
                forwarding: carried.forwarding,
                cookies: carried.syn_cookies,
                v4: Pool::new(&carried.v4),
                v6: Pool::new(&carried.v6),
                before: Pool::default(),
                dscp: carried
                    .policy
                    .as_ref()
                    .and_then(|policy| policy.spec.dscp)
                    .map(|d| d.value()),
            };
            if let Some(old) = self.services.remove(frontend)
                && old.forwarding != Forwarding::Nat
                && service.forwarding != Forwarding::Nat
            {
                // They are of one family, and have endpoints while they are carried.
                let old_pool = if old.v4.endpoints.is_empty() { &old.v6 } else { &old.v4 };
                let same = old.v4.endpoints == service.v4.endpoints
                    && old.v6.endpoints == service.v6.endpoints;
                service.before = if same { old.before } else { old_pool.clone() };
            }
            self.services.insert(*frontend, service);
        }
        for service in self.services.values_mut().filter(|service| !service.carried) {
            service.v4 = Pool::default();
            service.v6 = Pool::default();
            service.before = Pool::default();
            service.dscp = None;
        }
    }

    /// Forgets all connections and flows.
    pub(crate) fn forget(&mut self) {
        self.connections.clear();
        self.flows.clear();
        self.given.clear();
        self.rates.forget();
    }

    /// Says what becomes of a frame that came in by an interface at a tick; `seen` is what became of
    /// it.
    pub(crate) fn predict(
        &mut self,
        frame: &[u8],
        interface: u32,
        at: u64,
        seen: &Outcome,
    ) -> Outcome {
        self.at = at;
        self.outcome(frame, interface, seen)
    }

    fn outcome(&mut self, frame: &[u8], interface: u32, seen: &Outcome) -> Outcome {
        let decided = match reading::untagged(frame) {
            Some((tag, untagged)) => {
                self.decide(&untagged, Arrival { interface, tag: Some(tag) }, seen)
            }
            None => self.decide(frame, Arrival { interface, tag: None }, seen),
        };
        match decided {
            Ok(outcome) => outcome,
            // What is not forwarded stays as it came, with its tag.
            Err(reason) => {
                Outcome { verdict: Verdict::of(reason), tag: None, frame: frame.to_vec() }
            }
        }
    }

    fn decide(
        &mut self,
        frame: &[u8],
        arrival: Arrival,
        seen: &Outcome,
    ) -> Result<Outcome, Reason> {
        let packet = match reading::read(frame) {
            Ok(packet) => packet,
            Err(other) => {
                if let Some(ends) = other.ends.filter(|_| other.is_filtered()) {
                    self.filter(ends, None)?;
                }
                return match other.reason {
                    Reason::NotTransport => self.forward_error(frame, seen),
                    reason => Err(reason),
                };
            }
        };
        if let Some(client) = self.client_of(&packet) {
            return self.send_back(frame, &packet, client, arrival, seen);
        }
        let transport = if packet.protocol == TCP { Transport::Tcp } else { Transport::Udp };
        let ends = (packet.source.ip(), packet.destination.ip());
        self.filter(ends, Some((transport, packet.destination.port())))?;
        let frontend =
            self.frontend(packet.protocol, packet.destination).ok_or(Reason::NotService)?;
        let service = self.services[&frontend].clone();
        let marked = writing::marked(frame, &packet, service.dscp, seen);
        if service.forwarding == Forwarding::Nat {
            self.send_there(frame, &marked, &packet, frontend, &service, arrival, seen)
        } else {
            self.send_direct(&marked, &packet, frontend, &service, arrival, seen)
        }
    }

    fn filter(
        &mut self,
        (source, destination): (IpAddr, IpAddr),
        transport: Option<(Transport, u16)>,
    ) -> Result<(), Reason> {
        let packet = FilteredPacket { source, destination, transport };
        let rules = ordered_rules(&self.config);
        let decision = decide(&rules, &self.config, &packet);
        for (rule, rate) in decision.rates {
            if !self.rates.take(rule, rate, source, self.at) {
                return Err(Reason::RateLimited);
            }
        }
        if decision.is_denied { Err(Reason::Filtered) } else { Ok(()) }
    }

    /// Finds the listener of a destination: one with that address, or else one of any local address.
    fn frontend(&self, protocol: u8, destination: SocketAddr) -> Option<Frontend> {
        let of = |address| Frontend { address, port: destination.port(), protocol };
        let exact = of(Some(destination.ip()));
        if self.services.contains_key(&exact) {
            return Some(exact);
        }
        let any = of(None);
        let local = self.network.local.contains(&destination.ip());
        (local && self.services.contains_key(&any)).then_some(any)
    }

    /// Sends a frame by a way.
    fn out(&self, hop: &network::NextHop, frame: Vec<u8>) -> Outcome {
        // Priority 0.
        Outcome { verdict: Verdict::Out(hop.interface), tag: hop.vlan, frame }
    }

    fn way(&self, to: IpAddr) -> Result<network::NextHop, Reason> {
        self.network.way(to)
    }
}

impl Packet {
    fn flow(&self) -> Flow {
        (self.protocol, self.source, self.destination)
    }
}

/// The hash of a flow: 16-byte addresses (IPv4 ones mapped) as little-endian words, times odd
/// constants, mixed as SplitMix64 does. All nodes must have the same.
fn flow_hash((protocol, source, destination): &Flow) -> u64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    const FIRST: u64 = 0xbf58_476d_1ce4_e5b9;
    const SECOND: u64 = 0x94d0_49bb_1331_11eb;
    const THIRD: u64 = 0xc2b2_ae3d_27d4_eb4f;
    const FOURTH: u64 = 0x1656_67b1_9e37_79f9;
    let halves = |ip: IpAddr| {
        let octets = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let word =
            |at: usize| u64::from(u32::from_le_bytes(octets[at..at + 4].try_into().unwrap()));
        (word(0) | word(4) << 32, word(12) | word(8) << 32)
    };
    let (source_high, source_low) = halves(source.ip());
    let (destination_high, destination_low) = halves(destination.ip());
    let ports = u64::from(source.port().swap_bytes())
        | u64::from(destination.port().swap_bytes()) << 16
        | u64::from(*protocol) << 32;
    let parts = [
        (source_high, GOLDEN),
        (source_low, FIRST),
        (destination_high, SECOND),
        (destination_low, THIRD),
        (ports, FOURTH),
    ];
    let sum = parts.iter().fold(0u64, |sum, (part, by)| sum.wrapping_add(part.wrapping_mul(*by)));
    let mixed = (sum ^ (sum >> 32)).wrapping_mul(FIRST);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(SECOND);
    mixed ^ (mixed >> 32)
}
