//! Records of the ring become events with names.

use std::sync::Arc;

use ebpf_common::event::why;
use model::{Revision, listener::Forwarding};

use super::*;
use crate::xdp::{flows::names::FilterNames, plan::Frontend};

pub(in crate::xdp::flows) fn raw() -> Raw {
    let address = |text: &str| Address::from(text.parse::<std::net::IpAddr>().unwrap());
    Raw {
        time: 5_000_000,
        generation: 4,
        rule: 0b10,
        source: address("10.0.0.100"),
        destination: address("10.0.0.1"),
        to: address("10.0.0.21"),
        source_port_be: 4_242u16.to_be(),
        destination_port_be: 80u16.to_be(),
        to_port_be: 8_000u16.to_be(),
        length: 52,
        ingress: 2,
        egress: 3,
        service: 6,
        filter: 9,
        why: why::SAMPLED | why::BEGUN,
        verdict: verdict::REDIRECT,
        reason: 0,
        protocol: TCP,
        tcp_flags: 2,
        family: 4,
        reply: 0,
        waits: 0,
    }
}

pub(in crate::xdp::flows) fn names() -> FlowNames {
    let mut names = FlowNames::default();
    let frontend = Frontend { address: None, port: 80, protocol: TCP };
    let carried = Carried {
        listener: "Listener/default/web".parse().unwrap(),
        frontend,
        forwarding: Forwarding::Nat,
        syn_cookies: Default::default(),
        services: vec!["Service/default/a".parse().unwrap(), "Service/default/b".parse().unwrap()],
        v4: Vec::new(),
        v6: Vec::new(),
        policy: None,
    };
    names.set_slot(5, Arc::new(carried));
    names.set_generation(4, Revision(70));
    let rule = |index| ("PacketFilter/default/edge".parse().unwrap(), index);
    let order = vec![rule(0), rule(1)];
    names.set_filter(FilterNames { serial: 9, revision: Revision(60), order });
    let yaml = "
kind: Service
metadata: { name: a }
spec: { endpoints: [{ address: 10.0.0.22, port: 8000 }] }
---
kind: Service
metadata: { name: b }
spec: { endpoints: [{ address: 10.0.0.21, port: 8000 }] }
";
    for object in model::parse::parse_documents(yaml).unwrap() {
        names.config.put(Arc::new(object));
    }
    names
}

pub(in crate::xdp::flows) fn place() -> Place<'static> {
    let interface: &dyn Fn(u32) -> String = &|index| format!("eth{index}");
    Place { node: NodeId(3), clock_offset_us: 1_000_000, interface }
}

#[test]
fn a_request_is_told_with_all_that_decided_it() {
    let event = resolve(&raw(), &names(), &place());
    let at = |text: &str| Some(text.parse().unwrap());
    let expected = FlowEvent {
        time_us: 1_005_000,
        node: NodeId(3),
        why: vec![Why::Sampled, Why::Begun],
        verdict: Verdict::Forwarded,
        waits: false,
        reason: None,
        protocol: Some("TCP".to_owned()),
        source: at("10.0.0.100:4242"),
        destination: at("10.0.0.1:80"),
        to: at("10.0.0.21:8000"),
        tcp_flags: vec!["SYN".to_owned()],
        length: 52,
        interface: "eth2".to_owned(),
        out_interface: Some("eth3".to_owned()),
        direction: Some(Direction::In),
        listener: Some("Listener/default/web".parse().unwrap()),
        service: Some("Service/default/b".parse().unwrap()),
        endpoint: at("10.0.0.21:8000"),
        rule: Some("PacketFilter/default/edge rules[1]".to_owned()),
        filter_revision: Some(Revision(60)),
        revision: Some(Revision(70)),
        generation: 4,
    };
    assert_eq!(event, expected);
}

#[test]
fn the_endpoint_of_an_answer_is_where_it_comes_from() {
    let source = Address::from("10.0.0.22".parse::<std::net::IpAddr>().unwrap());
    let answer =
        Raw { source, source_port_be: 8_000u16.to_be(), reply: 1, rule: 0, filter: 0, ..raw() };
    let event = resolve(&answer, &names(), &place());
    assert_eq!(event.direction, Some(Direction::Out));
    assert_eq!(event.endpoint, Some("10.0.0.22:8000".parse().unwrap()));
    assert_eq!(event.service, Some("Service/default/a".parse().unwrap()));
    assert_eq!((event.rule, event.filter_revision), (None, None));
}

#[test]
fn what_was_not_read_or_is_not_known_is_left_out() {
    let dropped = Raw {
        why: why::DROPPED,
        verdict: verdict::DROP,
        reason: Reason::Filtered as u8 + 1,
        family: 0,
        protocol: 0,
        service: 0,
        rule: 1 << 40,
        generation: 5,
        to: Address::default(),
        egress: 0,
        ..raw()
    };
    let event = resolve(&dropped, &names(), &place());
    assert_eq!(event.reason.as_deref(), Some("filtered"));
    assert_eq!((event.source, event.destination, event.to), (None, None, None));
    assert_eq!((event.listener, event.service, event.endpoint), (None, None, None));
    assert_eq!((event.rule, event.revision, event.out_interface), (None, None, None));
    assert_eq!(event.why, [Why::Dropped]);
    assert!(event.tcp_flags.is_empty());
}

#[test]
fn every_reason_comes_back_from_its_number() {
    for known in Reason::ALL {
        assert_eq!(reason(known as u8 + 1), Some(known));
    }
    assert_eq!((reason(0), reason(Reason::ALL.len() as u8 + 1)), (None, None));
}
