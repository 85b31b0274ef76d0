//! What is compared: the frames that go in, where they are counted, and what must come out.

use std::net::{IpAddr, SocketAddr};

use ebpf_common::{
    generate::HEADERS,
    layout::{CONNECTIONS, GUE_PORT, SNAT_PORT_FIRST},
};
use model::listener::Forwarding;

use crate::{
    site,
    support::packets::{ACK, Frame, SYN, TCP, UDP},
};

/// Bytes of a frame as it is sent.
pub(crate) const FRAME: usize = 64;
/// So that a sample holds all that UDP's checksum is over.
const PAYLOAD: usize = HEADERS - 42;
/// Frames under way: three quarters of a veth's ring (`VETH_RING_SIZE` in drivers/net/veth.c).
const WINDOW: u64 = 192;
/// The service's port.
pub(crate) const PORT: u16 = 80;
/// The most flows that the table of connections holds with both their directions, as a power of two
/// that leaves it room.
const NAT_FLOWS: u64 = 1 << 16;
const _: () = assert!(NAT_FLOWS <= CONNECTIONS as u64);
/// IP in IP (RFC 2003).
const IPIP: u8 = 4;

/// What a node does with frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Counts and drops them: what is left is the generator.
    Drop,
    /// Swaps their Ethernet addresses and sends them back.
    Back,
    /// Writes Ethernet addresses and sends them on.
    Onward,
    /// Runs the engine.
    Ours,
    /// Runs an engine that gets more connections than its table holds: what that leaves behind
    /// would slow the others down.
    Overfull,
    /// Runs netfilter.
    Netfilter,
}

impl Place {
    /// All places.
    pub(crate) const ALL: [Self; 6] =
        [Self::Drop, Self::Back, Self::Onward, Self::Ours, Self::Overfull, Self::Netfilter];
}

/// What the receiver must find.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// The frame as it was sent, between these Ethernet addresses.
    Same([u8; 6]),
    /// An outer header of this protocol.
    Tunnel(u8),
    /// Both addresses translated, and source ports from this one up.
    Translated(u16),
}

/// A thing to measure.
#[derive(Debug)]
pub(crate) struct Case {
    /// What it is called in the report.
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    /// The numbers of flows that it is measured with.
    flows_min: u64,
    flows_max: u64,
    vip: &'static str,
    protocol: u8,
    outcome: Outcome,
}

/// A service of the engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    /// Its listeners, for UDP and for TCP.
    pub(crate) names: [&'static str; 2],
    pub(crate) vip: &'static str,
    pub(crate) forwarding: Forwarding,
    /// Whether its endpoints are on the client's side.
    pub(crate) near: bool,
}

/// The services of the engine.
pub(crate) const SERVICES: [Served; 5] = [
    served(["l2-udp", "l2-tcp"], "10.200.1.1", Forwarding::L2, false),
    served(["l2-near-udp", "l2-near-tcp"], "10.200.1.2", Forwarding::L2, true),
    served(["ipip-udp", "ipip-tcp"], "10.200.1.3", Forwarding::Ipip, false),
    served(["gue-udp", "gue-tcp"], "10.200.1.4", Forwarding::Gue, false),
    served(["nat-udp", "nat-tcp"], NAT_VIP, Forwarding::Nat, false),
];
/// The address that full NAT translates, by the engine and by netfilter.
pub(crate) const NAT_VIP: &str = "10.200.1.5";

const fn served(
    names: [&'static str; 2],
    vip: &'static str,
    forwarding: Forwarding,
    near: bool,
) -> Served {
    Served { names, vip, forwarding, near }
}

/// All that is measured.
pub(crate) const CASES: [Case; 12] = {
    use Outcome::{Same, Translated, Tunnel};
    use Place::{Back, Drop, Netfilter, Onward, Ours, Overfull};
    let [l2, l2_back, ipip, gue, nat] = SERVICES;
    let (l2, l2_back, ipip, gue, nat) = (l2.vip, l2_back.vip, ipip.vip, gue.vip, nat.vip);
    let (udp, tcp) = (UDP, TCP);
    let translated = Translated(SNAT_PORT_FIRST);
    [
        case("drop", Drop, l2, udp, Same(site::NEAR_MAC)),
        case("tx", Back, l2, udp, Same(site::CLIENT_MAC)),
        case("redirect", Onward, l2, udp, Same(site::SERVER_MAC)),
        case("l2-tx", Ours, l2_back, udp, Same(site::CLIENT_MAC)),
        case("l2", Ours, l2, udp, Same(site::SERVER_MAC)),
        case("l2-tcp", Ours, l2, tcp, Same(site::SERVER_MAC)),
        case("ipip", Ours, ipip, udp, Tunnel(IPIP)),
        case("gue", Ours, gue, udp, Tunnel(UDP)),
        Case { flows_max: NAT_FLOWS, ..case("nat", Ours, nat, udp, translated) },
        Case { flows_min: NAT_FLOWS + 1, ..case("nat", Overfull, nat, udp, translated) },
        // No segment but a SYN opens a connection, so none would be there that was displaced.
        Case { flows_max: NAT_FLOWS, ..case("nat-tcp", Ours, nat, tcp, translated) },
        case("netfilter", Netfilter, nat, udp, Translated(1)),
    ]
};

const fn case(
    name: &'static str,
    place: Place,
    vip: &'static str,
    protocol: u8,
    outcome: Outcome,
) -> Case {
    Case { name, place, flows_min: 1, flows_max: u64::MAX, vip, protocol, outcome }
}

impl Case {
    /// Tells whether it is measured with a number of flows.
    pub(crate) fn takes(&self, flows: u64) -> bool {
        (self.flows_min..=self.flows_max).contains(&flows)
    }

    /// Returns the Ethernet address that frames are counted for.
    pub(crate) fn receiver(&self) -> [u8; 6] {
        match self.outcome {
            Outcome::Same(address) => address,
            Outcome::Tunnel(_) | Outcome::Translated(_) => site::SERVER_MAC,
        }
    }

    /// Returns the most frames under way. There is no limit for the ceiling, nor where most frames
    /// are lost.
    pub(crate) fn window(&self) -> u64 {
        if matches!(self.place, Place::Drop | Place::Overfull) { i64::MAX as u64 } else { WINDOW }
    }

    /// Returns the frames that are measured, from no source: the generator puts that in.
    pub(crate) fn frame(&self) -> Frame {
        let flags = if self.protocol == TCP { ACK } else { 0 };
        self.frame_with(flags)
    }

    /// Returns the frames that open the flows, where others than those measured do.
    pub(crate) fn opening(&self) -> Option<Frame> {
        let translated = matches!(self.outcome, Outcome::Translated(_));
        (translated && self.protocol == TCP).then(|| self.frame_with(SYN))
    }

    fn frame_with(&self, tcp_flags: u8) -> Frame {
        let payload = if self.protocol == TCP { Vec::new() } else { vec![0x5a; PAYLOAD] };
        Frame {
            payload,
            tcp_flags,
            ethernet_destination: site::NEAR_MAC,
            ethernet_source: site::CLIENT_MAC,
            ..Frame::new(self.protocol, "0.0.0.0:0", &format!("{}:{PORT}", self.vip))
        }
    }

    /// Checks that what came is what the case is about, checksums included.
    pub(crate) fn check(&self, sample: &[u8; HEADERS]) {
        let name = self.name;
        assert_ne!(sample, &[0; HEADERS], "{name}: hardly a frame came");
        let sent = SocketAddr::new(self.vip.parse().expect("an address"), PORT);
        match self.outcome {
            Outcome::Same(ethernet) => {
                let frame = Frame::read(sample);
                assert_eq!(frame.ethernet_destination, ethernet, "{name}");
                assert_eq!((frame.destination, frame.protocol), (sent, self.protocol), "{name}");
            }
            Outcome::Tunnel(protocol) => {
                let address: [u8; 4] = sample[30..34].try_into().expect("four bytes");
                assert_eq!(sample[..6], site::SERVER_MAC, "{name}");
                assert_eq!(sample[23], protocol, "{name}");
                assert!(site::is_endpoint(IpAddr::from(address)), "{name}: {address:?}");
                if protocol == UDP {
                    assert_eq!(sample[36..38], GUE_PORT.to_be_bytes(), "{name}");
                }
            }
            Outcome::Translated(port_first) => {
                let frame = Frame::read(sample);
                assert_eq!(frame.ethernet_destination, site::SERVER_MAC, "{name}");
                assert!(site::is_endpoint(frame.destination.ip()), "{name}: {frame:?}");
                assert!(site::is_node(frame.source.ip()), "{name}: {frame:?}");
                assert!(frame.source.port() >= port_first, "{name}: {frame:?}");
                assert_eq!((frame.destination.port(), frame.protocol), (PORT, self.protocol));
            }
        }
    }
}
