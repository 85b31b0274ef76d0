//! Events of flows: what the program tells of single packets, read from the kernel's ring. Needs
//! root.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::support::bench::{Bench, DROP, PASS, TX};
use crate::support::cookies::answering_by_cookies;
use crate::support::objects::{self, Balanced, addresses};
use crate::support::packets::{ACK, Frame, RST, TCP, UDP};
use dataplane::xdp::flows::{FlowHub, FlowNames, FlowsActor, FlowsArguments};
use ebpf_common::{event::BUDGET, layout::stat};
use futures::{Stream, StreamExt};
use model::{
    Revision,
    cluster::NodeId,
    flow::{Direction, FlowEvent, FlowMessage, FlowQuery, Verdict, Why},
    listener::{Forwarding, Protocol},
};
use ractor::Actor as _;
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(20);

fn balanced(name: &'static str, port: u16, forwarding: Forwarding, endpoint: &str) -> Balanced {
    Balanced {
        name,
        protocol: Protocol::Tcp,
        address: Some("192.0.2.10"),
        port,
        forwarding,
        endpoints: addresses(&[endpoint]),
    }
}

fn services() -> Vec<Balanced> {
    vec![
        balanced("nat", 80, Forwarding::Nat, "10.0.0.21:8000"),
        balanced("l2", 81, Forwarding::L2, "10.0.0.22:81"),
        balanced("tunnel", 82, Forwarding::Ipip, "10.0.0.23:82"),
        balanced("far", 83, Forwarding::Nat, "203.0.113.9:83"),
    ]
}

const FILTER: &str = "
kind: PacketFilter
metadata: { name: edge }
spec:
  rules:
    - { action: Allow, sources: [10.0.0.100] }
    - { action: Deny, sources: [10.0.0.101] }
";

/// A bench with somebody who reads its events.
struct Told {
    bench: Bench,
    runtime: tokio::runtime::Runtime,
    events: std::pin::Pin<Box<dyn Stream<Item = Arc<FlowMessage>> + Send>>,
    actor: ractor::ActorRef<dataplane::xdp::flows::reader::FlowsMessage>,
}

impl Told {
    fn new(sampling: u32) -> Self {
        let mut bench = Bench::telling_of(sampling, &services());
        let (named, names) = watch::channel(FlowNames::default());
        bench.engine.tell_names_to(named);
        bench.engine.reconcile(&objects::desired_with(2, &services(), FILTER)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let hub = FlowHub::new(NodeId(7));
        let events = hub.read(FlowQuery { follow: true, ..FlowQuery::default() }).unwrap();
        let arguments = FlowsArguments { pins: bench.pins.clone(), names, hub };
        let started = runtime.block_on(FlowsActor::spawn(None, FlowsActor, arguments));
        let (actor, _ended) = started.unwrap();
        Self { bench, runtime, events: Box::pin(events), actor }
    }

    fn next(&mut self) -> FlowEvent {
        let next = async {
            loop {
                let message = self.events.next().await.expect("it goes on");
                // The namespace's kernel sends packets of its own, of IPv6; some have no source yet.
                if let FlowMessage::Flow(event) = &*message
                    && [event.source, event.destination].iter().flatten().all(|at| at.is_ipv4())
                {
                    return FlowEvent::clone(event);
                }
            }
        };
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, next).await.expect("in time") })
    }

    fn run(&mut self, frame: &Frame) -> (u32, FlowEvent) {
        let (verdict, _) = self.bench.run(&frame.bytes());
        (verdict, self.next())
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.actor.stop(None);
    }
}

fn request(port: u16) -> Frame {
    Frame::new(TCP, "10.0.0.100:40000", &format!("192.0.2.10:{port}"))
}

fn count(bench: &mut Bench, word: usize) -> u64 {
    bench.engine.statistics().unwrap().words[word]
}

#[test]
fn root_a_syn_that_a_cookie_answers_is_told_of_as_answered() {
    let mut told = Told::new(1);
    let wanted = answering_by_cookies(objects::desired_with(3, &services(), FILTER));
    told.bench.engine.reconcile(&wanted).unwrap();
    let (verdict, answered) = told.run(&request(80));
    assert_eq!((verdict, answered.verdict), (TX, Verdict::Answered));
    assert_eq!((answered.to, answered.endpoint, answered.reason), (None, None, None));
    assert_eq!(answered.source, Some("10.0.0.100:40000".parse().unwrap()));
    assert_eq!(answered.listener, Some("Listener/default/nat".parse().unwrap()));
    assert_eq!(answered.direction, Some(Direction::In));
    let stray = Frame { tcp_flags: ACK, ..request(80) };
    let (verdict, refused) = told.run(&stray);
    assert_eq!((verdict, refused.verdict), (DROP, Verdict::Dropped));
    assert_eq!(refused.reason.as_deref(), Some("cookie_refused"));
}

#[test]
fn root_a_connection_is_told_of_from_its_begin_to_its_end_with_what_decided_it() {
    let mut told = Told::new(1);
    let (verdict, sent) = told.bench.run(&request(80).bytes());
    assert_eq!(verdict, TX);
    let begun = told.next();
    let at = |text: &str| Some(text.parse().unwrap());
    assert_eq!(begun.why, [Why::Sampled, Why::Begun]);
    assert_eq!((begun.verdict, begun.node), (Verdict::Forwarded, NodeId(7)));
    assert_eq!((begun.source, begun.destination), (at("10.0.0.100:40000"), at("192.0.2.10:80")));
    assert_eq!((begun.to, begun.endpoint), (at("10.0.0.21:8000"), at("10.0.0.21:8000")));
    assert_eq!((begun.protocol.as_deref(), begun.length), (Some("TCP"), 52));
    assert_eq!(begun.tcp_flags, ["SYN"]);
    assert_eq!((begun.interface.as_str(), begun.out_interface.as_deref()), ("v0", Some("v0")));
    assert_eq!(begun.direction, Some(Direction::In));
    assert_eq!(begun.listener, Some("Listener/default/nat".parse().unwrap()));
    assert_eq!(begun.service, Some("Service/default/nat".parse().unwrap()));
    assert_eq!(begun.rule.as_deref(), Some("PacketFilter/default/edge rules[0]"));
    // The second revision has changed nothing but the filter.
    assert_eq!((begun.revision, begun.filter_revision), (Some(Revision(1)), Some(Revision(2))));
    assert_eq!(begun.generation, told.bench.engine.generation());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = now - Duration::from_micros(begun.time_us);
    assert!(age < PATIENCE, "{age:?}");

    let sent = Frame::read(&sent);
    let (verdict, answer) = told.run(&sent.answer(b"yes"));
    assert_eq!((verdict, answer.verdict), (TX, Verdict::Forwarded));
    assert_eq!(
        (answer.why.as_slice(), answer.direction),
        ([Why::Sampled].as_slice(), Some(Direction::Out))
    );
    assert_eq!((answer.source, answer.to), (at("10.0.0.21:8000"), at("10.0.0.100:40000")));
    assert_eq!(answer.endpoint, at("10.0.0.21:8000"));
    assert_eq!(answer.listener, begun.listener);
    assert_eq!(answer.rule, None, "answers are not filtered");

    let (_, ended) = told.run(&Frame { tcp_flags: RST | ACK, ..request(80) });
    assert_eq!(ended.why, [Why::Sampled, Why::Ended]);
    assert_eq!(ended.endpoint, at("10.0.0.21:8000"));
}

#[test]
fn root_flows_of_direct_server_return_are_told_with_their_endpoint() {
    let mut told = Told::new(1);
    for (port, name, endpoint) in [(81, "l2", "10.0.0.22:81"), (82, "tunnel", "10.0.0.23:82")] {
        let (verdict, event) = told.run(&request(port));
        assert_eq!((verdict, event.verdict), (TX, Verdict::Forwarded));
        assert_eq!(event.why, [Why::Sampled, Why::Begun]);
        assert_eq!(event.endpoint, Some(endpoint.parse().unwrap()));
        assert_eq!(event.source, Some("10.0.0.100:40000".parse().unwrap()), "{name}");
        assert_eq!(event.listener, Some(format!("Listener/default/{name}").parse().unwrap()));
        let (_, event) = told.run(&Frame { tcp_flags: ACK, ..request(port) });
        assert_eq!(event.why, [Why::Sampled]);
        assert_eq!(event.endpoint, Some(endpoint.parse().unwrap()));
    }
}

#[test]
fn root_what_is_not_forwarded_is_told_with_its_reason_and_its_rule() {
    let mut told = Told::new(1);
    let denied = Frame::new(TCP, "10.0.0.101:40000", "192.0.2.10:80");
    let (verdict, event) = told.run(&denied);
    assert_eq!((verdict, event.verdict), (DROP, Verdict::Dropped));
    assert_eq!(event.reason.as_deref(), Some("filtered"));
    assert_eq!(event.rule.as_deref(), Some("PacketFilter/default/edge rules[1]"));
    assert_eq!(event.source, Some("10.0.0.101:40000".parse().unwrap()));
    assert_eq!((event.listener, event.filter_revision), (None, Some(Revision(2))));

    let (verdict, event) = told.run(&request(83));
    assert_eq!((verdict, event.reason.as_deref()), (DROP, Some("no_route")));
    assert_eq!(event.why, [Why::Sampled, Why::Dropped]);
    assert_eq!(event.endpoint, Some("203.0.113.9:83".parse().unwrap()), "chosen, and no way there");
    assert_eq!(event.listener, Some("Listener/default/far".parse().unwrap()));
    assert_eq!(event.out_interface, None);

    let (verdict, event) = told.run(&request(99));
    assert_eq!((verdict, event.verdict), (PASS, Verdict::Passed));
    assert_eq!(event.reason.as_deref(), Some("not_service"));
    assert_eq!((event.listener, event.endpoint), (None, None));

    let mut arp = request(80).bytes();
    arp[13] = 0x06;
    told.bench.run(&arp);
    let event = told.next();
    assert_eq!((event.reason.as_deref(), event.source), (Some("not_ip"), None));
    let mut other = request(80).bytes();
    other[23] = 1;
    told.bench.run(&other);
    let event = told.next();
    assert_eq!((event.reason.as_deref(), event.protocol), (Some("not_transport"), None));
    assert_eq!(event.destination, Some("192.0.2.10:0".parse().unwrap()));
}

#[test]
fn root_without_a_sample_drops_begins_and_ends_are_told_and_nothing_else() {
    let mut told = Told::new(0);
    told.bench.run(&request(80).bytes());
    for _ in 0..20 {
        told.bench.run(&Frame { tcp_flags: ACK, ..request(80) }.bytes());
        told.bench.run(&request(99).bytes());
    }
    told.bench.run(&Frame { hop_limit: 1, ..request(81) }.bytes());
    told.bench.run(&Frame { tcp_flags: RST, ..request(80) }.bytes());
    assert_eq!(told.next().why, [Why::Begun]);
    let third = told.next();
    assert_eq!(third.why, [Why::Begun], "a hop limit is no matter to L2: {third:?}");
    assert_eq!(told.next().why, [Why::Ended]);
    told.bench.run(&Frame { hop_limit: 1, ..request(80) }.bytes());
    assert_eq!(told.next().why, [Why::Dropped]);
}

#[test]
fn root_one_of_so_many_packets_is_told_of() {
    let mut told = Told::new(100);
    let frame = Frame::new(UDP, "10.0.0.100:40000", "192.0.2.10:99").bytes();
    let ifindex = told.bench.ifindex;
    told.bench.run_on(&frame, ifindex, 20_000);
    let held_back = count(&mut told.bench, stat::EVENTS_HELD_BACK);
    let mut events = 0;
    // The last of them is marked by another port.
    let last = Frame::new(TCP, "10.0.0.101:1", "192.0.2.10:1");
    told.bench.run(&last.bytes());
    while told.next().reason.as_deref() != Some("filtered") {
        events += 1;
    }
    let all = events + held_back;
    // The mean is 200; 14 is the deviation of as many even draws, divided by the root of three.
    assert!((150..=260).contains(&all), "{events} told, {held_back} held back");
}

#[test]
fn root_a_flood_of_drops_is_told_of_within_the_budget_and_the_rest_is_counted() {
    let mut told = Told::new(0);
    let (_, first) = told.run(&request(80));
    assert_eq!(first.why, [Why::Begun], "somebody looks");
    let denied = Frame::new(TCP, "10.0.0.101:40000", "192.0.2.10:80").bytes();
    let ifindex = told.bench.ifindex;
    told.bench.run_on(&denied, ifindex, 10_000);
    let held_back = count(&mut told.bench, stat::EVENTS_HELD_BACK);
    let expected = 10_000 - held_back;
    assert!((1..=4 * BUDGET).contains(&expected), "{held_back} of 10,000 were held back");
    for _ in 0..expected {
        assert_eq!(told.next().reason.as_deref(), Some("filtered"));
    }
    let lost = told.runtime.block_on(async {
        let next = tokio::time::timeout(PATIENCE, told.events.next());
        next.await.expect("in time").expect("it goes on")
    });
    let FlowMessage::Lost(lost) = &*lost else { panic!("{lost:?}") };
    assert_eq!((lost.ring, lost.held_back), (0, held_back));
}

#[test]
fn root_events_for_which_nobody_makes_room_are_counted_and_no_packet_is_held_up() {
    let mut bench = Bench::telling_of(1, &services());
    let frame = request(99).bytes();
    let ifindex = bench.ifindex;
    let start = Instant::now();
    while count(&mut bench, stat::EVENTS_LOST) == 0 {
        assert!(start.elapsed() < 3 * PATIENCE, "the ring has room without end");
        let ((verdict, _), _) = bench.run_on(&frame, ifindex, 1_000);
        assert_eq!(verdict, PASS);
    }
}
