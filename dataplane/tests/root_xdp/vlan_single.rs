//! Frames with VLAN tags, and next hops in VLANs, on single packets (`BPF_PROG_TEST_RUN`).
//!
//! On `v0` stands the VLAN 200, where endpoints are; clients are in VLAN 100, in 200 or in none. A
//! kernel may come without VLANs, so another interface, which routes lead to, is what the program is
//! told to be that of VLAN 200.

use dataplane::xdp::vlans::{Vlan, Vlans};
use ebpf_common::verdict::Reason;
use model::listener::{Forwarding, Protocol};

use crate::support::{
    bench::{Bench, PASS, REDIRECT, TX},
    namespaces::run,
    objects::{Balanced, addresses},
    outer,
    packets::{ACK, Frame, TCP, UDP},
};

const MODES: [Forwarding; 4] = [Forwarding::Nat, Forwarding::L2, Forwarding::Ipip, Forwarding::Gue];
const ENDPOINT: [u8; 6] = [2, 0, 0, 0, 0, 21];
const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 0xcc];
/// Priority 5, which is the sender's.
const PRIORITY: u16 = 5 << 13;

fn services(forwarding: Forwarding) -> Vec<Balanced> {
    let balanced = |name, protocol, address, endpoint| Balanced {
        name,
        protocol,
        address: Some(address),
        port: 80,
        forwarding,
        endpoints: addresses(&[endpoint]),
    };
    let (v4, v6) = ("10.2.0.21:80", "[fd02::21]:80");
    vec![
        balanced("tcp4", Protocol::Tcp, "192.0.2.10", v4),
        balanced("udp4", Protocol::Udp, "192.0.2.10", v4),
        balanced("tcp6", Protocol::Tcp, "2001:db8::10", v6),
        balanced("udp6", Protocol::Udp, "2001:db8::10", v6),
    ]
}

fn bench(forwarding: Forwarding) -> Bench {
    let mut bench = Bench::new(&services(forwarding));
    for line in [
        "ip link add v0.200 address 02:00:00:00:00:01 type veth peer name far",
        "ip link set v0.200 up",
        "ip link set far up",
        "ip addr add 10.2.0.1/24 dev v0.200",
        "ip addr add fd02::1/64 dev v0.200 nodad",
    ] {
        run(line);
    }
    neighbour(21);
    let vlan = Vlan {
        name: "v0.200".to_owned(),
        below: bench.ifindex,
        below_name: "v0".to_owned(),
        number: 200,
    };
    tell(&mut bench, &[vlan]);
    bench.engine.program().take_vlans().unwrap();
    bench.engine.ways_changed().unwrap();
    bench.apply(2, &services(forwarding));
    bench
}

/// Tells the program of VLANs, and of no others.
fn tell(bench: &mut Bench, vlans: &[Vlan]) {
    let index = |vlan: &Vlan| nix::net::if_::if_nametoindex(&*vlan.name).unwrap();
    let vlans: Vlans = vlans.iter().map(|vlan| (index(vlan), vlan.clone())).collect();
    vlans.write(bench.engine.program().vlans().unwrap()).unwrap();
}

/// Makes the endpoint's Ethernet address 02:00:00:00:00:NN.
fn neighbour(last: u8) {
    for ip in ["10.2.0.21", "fd02::21"] {
        let at = format!("lladdr 02:00:00:00:00:{last:02x} dev v0.200 nud permanent");
        run(&format!("ip neigh replace {ip} {at}"));
    }
}

fn flow(protocol: u8, v6: bool) -> Frame {
    let (client, service) = if v6 {
        ("[2001:db8:9::9]:4000", "[2001:db8::10]:80")
    } else {
        ("198.51.100.9:4000", "192.0.2.10:80")
    };
    Frame { ethernet_source: CLIENT, ..Frame::new(protocol, client, service) }
}

fn tagged(control: u16, frame: &[u8]) -> Vec<u8> {
    let control = control.to_be_bytes();
    [&frame[..12], &[0x81, 0x00], &control[..], &frame[12..]].concat()
}

/// Takes a frame's tag off.
fn split(frame: &[u8]) -> (Option<u16>, Vec<u8>) {
    if frame[12..14] != [0x81, 0x00] {
        return (None, frame.to_vec());
    }
    let control = u16::from_be_bytes([frame[14], frame[15]]);
    (Some(control), [&frame[..12], &frame[16..]].concat())
}

const FLOWS: [(u8, bool); 4] = [(TCP, false), (UDP, false), (TCP, true), (UDP, true)];

#[test]
fn root_packets_go_from_one_vlan_to_another_in_every_mode() {
    for forwarding in MODES {
        let mut bench = bench(forwarding);
        for (protocol, v6) in FLOWS {
            let bytes = flow(protocol, v6).bytes();
            let (verdict, plain) = bench.run(&bytes);
            assert_eq!(verdict, TX, "{forwarding:?} {protocol} {v6}");
            let (tag, plain) = split(&plain);
            assert_eq!(tag, Some(200), "an untagged packet to a VLAN");
            assert_eq!(plain[..6], ENDPOINT);
            if matches!(forwarding, Forwarding::Ipip | Forwarding::Gue) {
                assert_eq!(outer::read(&plain, forwarding).inner, bytes[14..]);
            }
            // Another flow with full NAT would have another port.
            let (verdict, from_vlan) = bench.run(&tagged(PRIORITY | 100, &bytes));
            assert_eq!((verdict, split(&from_vlan)), (TX, (Some(200), plain)));
        }
        let statistics = bench.engine.statistics().unwrap();
        assert_eq!(statistics.forwarded(), 2 * FLOWS.len() as u64);
    }
}

#[test]
fn root_answers_go_back_to_the_vlan_that_the_request_came_from() {
    // Priority alone is no VLAN.
    for (came_with, goes_with) in
        [(None, None), (Some(PRIORITY | 100), Some(100)), (Some(PRIORITY), None)]
    {
        let mut bench = bench(Forwarding::Nat);
        for (protocol, v6) in FLOWS {
            let request = flow(protocol, v6);
            let bytes = request.bytes();
            let (verdict, out) =
                bench.run(&came_with.map_or(bytes.clone(), |control| tagged(control, &bytes)));
            assert_eq!(verdict, TX);
            let at_endpoint = Frame::read(&split(&out).1);
            let answer = tagged(200, &at_endpoint.answer(b"hello").bytes());
            let (verdict, out) = bench.run(&answer);
            assert_eq!(verdict, TX);
            let (tag, answer) = split(&out);
            assert_eq!(tag, goes_with);
            assert_eq!(answer[..6], CLIENT);
            let answer = Frame::read(&answer);
            assert_eq!((answer.source, answer.payload), (request.destination, b"hello".to_vec()));
        }
    }
}

#[test]
fn root_the_kernel_gets_frames_with_the_tag_that_they_came_with() {
    let mut bench = bench(Forwarding::Nat);
    let other = Frame::new(TCP, "198.51.100.9:4000", "192.0.2.10:81").bytes();
    let fragment = |mut bytes: Vec<u8>| {
        bytes[20] |= 0x20;
        bytes
    };
    let once = tagged(PRIORITY | 100, &other);
    let of_provider = {
        let mut bytes = once.clone();
        bytes[12..14].copy_from_slice(&[0x88, 0xa8]);
        bytes
    };
    let cases = [
        (once.clone(), Reason::NotService),
        (tagged(100, &fragment(flow(UDP, false).bytes())), Reason::Fragment),
        (tagged(7, &once), Reason::NotIp),
        (of_provider, Reason::NotIp),
        (once[..17].to_vec(), Reason::NotIp),
        (tagged(100, &flow(TCP, true).bytes())[..60].to_vec(), Reason::Malformed),
    ];
    for (frame, reason) in cases {
        let before = bench.engine.statistics().unwrap().count(reason);
        let (verdict, out) = bench.run(&frame);
        assert_eq!(verdict, PASS, "{reason:?}");
        assert_eq!(out, frame, "{reason:?}");
        assert_eq!(bench.engine.statistics().unwrap().count(reason), before + 1, "{reason:?}");
    }
}

#[test]
fn root_senders_in_a_vlan_are_told_there_that_a_packet_is_too_big() {
    run_with_small_mtu(Forwarding::Ipip);
    run_with_small_mtu(Forwarding::Nat);
}

fn run_with_small_mtu(forwarding: Forwarding) {
    let mut bench = bench(forwarding);
    run("ip link set v0.200 mtu 1300");
    bench.engine.ways_changed().unwrap();
    for v6 in [false, true] {
        // The segment that opens goes, and tells the table; the large one does not.
        bench.run(&tagged(100, &flow(TCP, v6).bytes()));
        let large = Frame { payload: vec![7; 1350], tcp_flags: ACK, ..flow(TCP, v6) };
        let (verdict, out) = bench.run(&tagged(PRIORITY | 100, &large.bytes()));
        assert_eq!(verdict, TX, "{forwarding:?} {v6}");
        let (tag, message) = split(&out);
        assert_eq!(tag, Some(PRIORITY | 100));
        assert_eq!(message[..6], CLIENT);
        let (protocol, kind) =
            if v6 { (message[20], message[54]) } else { (message[23], message[34]) };
        assert_eq!((protocol, kind), if v6 { (58, 2) } else { (1, 3) });
    }
}

#[test]
fn root_a_next_hop_that_changes_is_followed_by_flows_that_have_one() {
    for forwarding in MODES {
        let mut bench = bench(forwarding);
        for (protocol, v6) in FLOWS {
            let open = flow(protocol, v6);
            bench.run(&open.bytes());
            let next = Frame { tcp_flags: if protocol == TCP { ACK } else { 0 }, ..open };
            let sent_to = |bench: &mut Bench| {
                let (verdict, out) = bench.run(&next.bytes());
                assert_eq!(verdict, TX);
                out[5]
            };
            assert_eq!(sent_to(&mut bench), 21);
            neighbour(22);
            bench.engine.ways_changed().unwrap();
            assert_eq!(sent_to(&mut bench), 22, "{forwarding:?} {protocol} {v6}");
            neighbour(21);
            bench.engine.ways_changed().unwrap();
            assert_eq!(sent_to(&mut bench), 21, "{forwarding:?} {protocol} {v6}");
        }
    }
}

#[test]
fn root_an_interface_of_a_vlan_that_is_gone_is_forgotten() {
    let mut bench = bench(Forwarding::L2);
    assert_eq!(bench.run(&flow(UDP, false).bytes()).0, TX);
    tell(&mut bench, &[]);
    bench.engine.ways_changed().unwrap();
    // By the interface itself, as packets to any other.
    let (verdict, out) = bench.run(&flow(UDP, false).bytes());
    assert_eq!((verdict, split(&out).0, out[..6] == ENDPOINT), (REDIRECT, None, true));
}

#[test]
fn root_frames_with_tags_are_the_kernels_on_a_host_without_vlans() {
    let mut bench = Bench::new(&services(Forwarding::Nat));
    let frame = tagged(100, &flow(UDP, false).bytes());
    assert_eq!(bench.run(&frame), (PASS, frame.clone()));
    let statistics = bench.engine.statistics().unwrap();
    assert_eq!((statistics.count(Reason::NotIp), statistics.count(Reason::NoTask)), (1, 0));
}
