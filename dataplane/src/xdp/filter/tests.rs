//! The tables against the meaning of the rules, through changes.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ebpf_common::{
    filter::{CHUNK_RECORDS, Decision, Header, Subject, Tables as _, fitting, front},
    layout::{Address, Layout, Record, TCP, UDP},
};
use model::{
    Snapshot,
    packet_filter::{self, FilteredPacket, Transport, ordered_rules},
    parse::object_from_value,
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use super::{
    arena::{Memory, layout},
    counters::CounterNumbers,
    tables::Tables,
};
use crate::xdp::pace::Pace;

#[path = "tests/rates.rs"]
mod rates;

/// Chunks in the memory of this process.
#[derive(Default)]
struct Chunks(BTreeMap<u32, Vec<Record>>);

impl Memory for Chunks {
    fn provide(&mut self, chunk: u32) -> io::Result<()> {
        self.0.entry(chunk).or_insert_with(|| vec![Record::EMPTY; CHUNK_RECORDS]);
        Ok(())
    }

    fn write(&mut self, index: u32, record: &Record) {
        let (slot, within) = ebpf_common::filter::place(index);
        self.0.get_mut(&(slot - 1)).unwrap()[within as usize] = *record;
    }

    fn read(&self, index: u32) -> Record {
        let (slot, within) = ebpf_common::filter::place(index);
        self.0[&(slot - 1)][within as usize]
    }
}

/// What the program would see.
struct View<'a> {
    front: &'a [Record],
    chunks: &'a Chunks,
}

impl ebpf_common::filter::Tables for View<'_> {
    fn front<T: Layout>(&self, index: u32) -> Option<&T> {
        // SAFETY: a layout is as large as a record, and valid for any bytes.
        self.front.get(index as usize).map(|record| unsafe { &*(&raw const *record).cast::<T>() })
    }

    fn arena<T: Layout>(&self, index: u32) -> Option<&T> {
        let (slot, within) = ebpf_common::filter::place(index);
        let record = self.chunks.0.get(&(slot - 1))?.get(within as usize)?;
        // SAFETY: as above.
        Some(unsafe { &*(&raw const *record).cast::<T>() })
    }
}

impl View<'_> {
    /// Returns what the rules say of a packet, as the program finds it.
    fn decision(&self, packet: &FilteredPacket) -> Decision {
        let header: &Header = self.front(front::HEADER).unwrap();
        let subject = Subject {
            source: Address::from(packet.source),
            destination: Address::from(packet.destination),
            v6: packet.source.is_ipv6(),
            protocol: match packet.transport {
                Some((Transport::Tcp, _)) => TCP,
                Some((Transport::Udp, _)) => UDP,
                None => 0,
            },
            port_be: packet.transport.map_or(0, |(_, port)| port.to_be()),
        };
        let fitting = fitting(self, header, &subject);
        header.decision(fitting.expect("tables that do not contradict themselves"))
    }
}

/// Checks the answers to packets.
fn check(view: &View<'_>, config: &Snapshot, packets: &[FilteredPacket]) {
    let rules = ordered_rules(config);
    let header: Header = layout(&view.front[front::HEADER as usize]);
    let place = |id| rules.iter().position(|(other, _)| *other == id).expect("one of the rules");
    for packet in packets {
        let expected = packet_filter::decide(&rules, config, packet);
        let rates = expected.rates.iter().fold(0, |bits, (id, _)| bits | 1 << place(*id));
        let rule = expected.rule.map_or(0, |id| 1 << place(id));
        assert_eq!(view.decision(packet), Decision { rates, rule }, "{packet:?}");
        assert_eq!(header.drops & rule != 0, expected.is_denied, "{packet:?}");
    }
}

fn config(objects: &[Value]) -> Snapshot {
    let mut config = Snapshot::default();
    for object in objects {
        let object = object_from_value(object).unwrap_or_else(|errors| panic!("{errors}"));
        config.put(Arc::new(object));
    }
    config
}

/// Addresses of which few bits differ, so that prefixes nest and neighbour: at the borders of /16s,
/// /24s and of the whole space.
fn v4() -> impl Strategy<Value = IpAddr> {
    let low = prop_oneof![select(vec![0u32, 1, 127, 128, 254, 255]), 0..256u32];
    let high = select(vec![0u32, 0x0a00, 0x0a01, 0xc000, 0xffff]);
    (high, select(vec![0u32, 1, 254, 255]), low).prop_map(|(high, middle, low)| {
        Ipv4Addr::from_bits(high << 16 | middle << 8 | low).into() //
    })
}

fn v6() -> impl Strategy<Value = IpAddr> {
    let high = select(vec![
        0u64,
        0x2001_0db8_0000_0000,
        0x2001_0db8_0000_0001,
        0x2001_0db8_0001_0000,
        u64::MAX - 1,
        u64::MAX,
    ]);
    let low = prop_oneof![select(vec![0, 1, u64::MAX - 1, u64::MAX]), 0..32u64];
    (high, low).prop_map(|(high, low)| {
        Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into() //
    })
}

fn prefix() -> impl Strategy<Value = String> {
    // Few that are short: each makes thousands of /16s anew. Of IPv6 some lengths are more common.
    let missing = prop_oneof![12 => 0..=16u32, 1 => 17..=32u32];
    let missing_v6 = prop_oneof![
        select(vec![0u32, 64, 68, 80]),
        prop_oneof![12 => 0..=80u32, 1 => 81..=128u32],
    ];
    let both = (prop_oneof![v4(), v6()], missing, missing_v6);
    both.prop_map(|(address, missing, missing_v6)| match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(missing).unwrap_or(0);
            format!("{}/{}", Ipv4Addr::from_bits(v4.to_bits() & mask), 32 - missing)
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(missing_v6).unwrap_or(0);
            format!("{}/{}", Ipv6Addr::from_bits(v6.to_bits() & mask), 128 - missing_v6)
        }
    })
}

fn rule() -> impl Strategy<Value = Value> {
    let prefixes = || option::weighted(0.4, vec(prefix(), 1..4));
    let lists = option::weighted(0.6, prop::sample::subsequence(vec!["a", "b", "c"], 1..=3));
    let ports = select(vec![json!([80]), json!(["1-80", 443]), json!(["80-65535"])]);
    let protocol = option::weighted(0.3, select(vec!["TCP", "UDP"]));
    let rate = json!({ "action": "Rate", "rate": { "packetsPerSecond": 10, "per": "Rule" } });
    let action = select(vec![json!({ "action": "Allow" }), json!({ "action": "Deny" }), rate]);
    (action, prefixes(), lists, prefixes(), protocol, option::weighted(0.3, ports)).prop_map(
        |(mut rule, sources, lists, destinations, protocol, ports)| {
            let mut put = |name: &str, value: Option<Value>| {
                if let Some(value) = value {
                    rule[name] = value;
                }
            };
            put("sources", sources.map(|all| json!(all)));
            let reference = |name| json!({ "name": name });
            put("sourceLists", lists.map(|all| all.into_iter().map(reference).collect()));
            put("destinations", destinations.map(|all| json!(all)));
            put("protocol", protocol.map(Value::from));
            put("ports", ports);
            rule
        },
    )
}

fn objects() -> impl Strategy<Value = Vec<Value>> {
    let lists = [vec(prefix(), 0..12), vec(prefix(), 0..3), vec(prefix(), 0..40)];
    let filters = vec((0..3u32, vec(rule(), 1..5)), 1..3);
    (lists, filters).prop_map(|(lists, filters)| {
        let lists = ["a", "b", "c"].into_iter().zip(lists).map(|(name, prefixes)| {
            json!({ "kind": "PrefixList", "metadata": { "name": name },
                "spec": { "prefixes": prefixes } })
        });
        let filters = filters.into_iter().enumerate().map(|(number, (priority, rules))| {
            json!({ "kind": "PacketFilter", "metadata": { "name": format!("f{number}") },
                "spec": { "priority": priority, "rules": rules } })
        });
        lists.chain(filters).collect()
    })
}

fn packet() -> impl Strategy<Value = FilteredPacket> {
    let transport = option::of((
        select(vec![Transport::Tcp, Transport::Udp]),
        select(vec![0u16, 1, 79, 80, 81, 443, 65_535]),
    ));
    let pair = prop_oneof![(v4(), v4()), (v6(), v6())];
    (pair, transport).prop_map(|((source, destination), transport)| FilteredPacket {
        source,
        destination,
        transport,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_change_gives_the_answers_of_the_rules(
        configs in vec(objects(), 1..4), packets in vec(packet(), 200)
    ) {
        let mut chunks = Chunks::default();
        let mut tables = Tables::new(0, Pace::default());
        let mut before: Option<(Vec<Record>, Snapshot)> = None;
        for objects in configs {
            let config = config(&objects);
            tables.update(&config, &mut chunks).unwrap();
            // The front before it is still in force, and answers as it did.
            if let Some((front, config)) = &before {
                check(&View { front, chunks: &chunks }, config, &packets);
            }
            let front = tables.front(&CounterNumbers::default(), 1);
            tables.settle();
            check(&View { front: &front, chunks: &chunks }, &config, &packets);
            before = Some((front, config));
        }
    }
}

/// A list with prefixes of one length, spread over the whole space.
fn spread(name: &str, count: u32, length: u32) -> Value {
    let prefix = |n: u32| {
        let bits = n.wrapping_mul(0x9e37_79b1) & (u32::MAX << (32 - length));
        format!("{}/{length}", Ipv4Addr::from_bits(bits))
    };
    let prefixes: Vec<String> = (0..count).map(prefix).collect();
    json!({ "kind": "PrefixList", "metadata": { "name": name }, "spec": { "prefixes": prefixes } })
}

fn deny(lists: &[&str]) -> Value {
    let lists: Vec<Value> = lists.iter().map(|name| json!({ "name": name })).collect();
    json!({ "kind": "PacketFilter", "metadata": { "name": "f" },
        "spec": { "rules": [{ "action": "Deny", "sourceLists": lists }] } })
}

#[test]
fn what_no_front_refers_to_is_used_again() {
    let full = config(&[spread("a", 500, 28), spread("b", 500, 24), deny(&["a", "b"])]);
    let less = config(&[spread("a", 100, 28), deny(&["a"])]);
    let mut chunks = Chunks::default();
    let mut tables = Tables::new(0, Pace::default());
    tables.update(&full, &mut chunks).unwrap();
    tables.settle();
    tables.update(&less, &mut chunks).unwrap();
    tables.settle();
    let taken = chunks.0.len();
    for _ in 0..8 {
        for config in [&full, &less] {
            tables.update(config, &mut chunks).unwrap();
            tables.settle();
        }
    }
    // Both stand beside each other during a change, no more.
    assert!(chunks.0.len() <= 2 * taken, "{taken} chunks became {}", chunks.0.len());
}

#[path = "tests/v6.rs"]
mod v6;

#[test]
fn lists_that_overlap_in_too_many_ways_are_refused() {
    let list = |name: String, prefixes: Vec<String>| json!({ "kind": "PrefixList", "metadata": { "name": name }, "spec": { "prefixes": prefixes } });
    let names: Vec<String> = (0..15).map(|n| format!("l{n}")).collect();
    // Address n is in the lists of the bits of n.
    let mut all: Vec<Value> = (0..15u32)
        .map(|bit| {
            let members = (0..1u32 << 15).filter(|n| n >> bit & 1 == 1);
            list(
                names[bit as usize].clone(),
                members.map(|n| Ipv4Addr::from_bits(n).to_string()).collect(),
            )
        })
        .collect();
    all.push(deny(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    let outcome = Tables::new(0, Pace::default()).update(&config(&all), &mut Chunks::default());
    assert!(outcome.unwrap_err().to_string().contains("merge lists"));
}
