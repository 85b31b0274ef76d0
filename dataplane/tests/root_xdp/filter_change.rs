//! Changes of the packet filter's lists while packets flow: each packet finds the filter before a
//! change or the one after it, never a mixture. Needs root.
//!
//! A driver in the kernel sends the frames of 4,096 sources, as many of each, in a thread. Of some
//! sources rules say the same all the time, so it is known how many packets each rule drops, however
//! many changes come in between.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use ebpf_common::verdict::Reason;
use model::Revision;

use crate::{
    driver::{Driver, handle},
    support::{
        bench::Bench,
        objects,
        packets::{Frame, UDP},
    },
};

/// Flows of a round, 16 a source.
const FLOWS: u64 = 1 << 16;
const CHANGES: u64 = 12;
/// Prefixes of each family that at most are exchanged by each.
const CHANGED: u64 = 1_000;

/// What becomes of the sources of one in four of each family's blocks of 256 addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// All of them are denied, by prefixes of all lengths.
    Denied,
    /// They are denied by rules of the second place, which packets come to that the first lets by.
    DeniedLater,
    /// Some of them are denied, each time others.
    Changing,
    /// None is denied.
    Free,
}

const FATES: [Fate; 4] = [Fate::Denied, Fate::Changing, Fate::DeniedLater, Fate::Free];

fn list(name: &str, prefixes: &[String]) -> String {
    let prefixes: Vec<String> = prefixes.iter().map(|prefix| format!("'{prefix}'")).collect();
    let prefixes = prefixes.join(", ");
    format!(
        "kind: PrefixList\nmetadata: {{ name: {name} }}\nspec: {{ prefixes: [{prefixes}] }}\n---\n"
    )
}

fn v4(low: u32, length: u32) -> String {
    let [_, b, c, d] = low.to_be_bytes();
    format!("11.{b}.{c}.{d}/{length}")
}

fn v6(low: u32, length: u32) -> String {
    format!("2001:db8:1::b{:02x}:{:x}/{}", low >> 16, low & 0xffff, 96 + length)
}

/// The prefixes of all blocks of a fate: of a block the whole, its halves, or its addresses.
fn of(fate: Fate) -> Vec<String> {
    let blocks = (0..16u32).filter(|block| FATES[*block as usize % 4] == fate);
    let prefixes = blocks.flat_map(|block| {
        let length = [24, 25, 32, 28][block as usize / 4];
        (0..1u32 << (length - 24)).map(move |part| (block << 8 | part << (32 - length), length))
    });
    prefixes.flat_map(|(low, length)| [v4(low, length), v6(low, length)]).collect()
}

/// Addresses of changing blocks and prefixes elsewhere, others each time: in turn few, over all /16s,
/// and many, close together in few /16s, so that records that a change leaves would be taken at once
/// by what it makes, and tables become larger and smaller.
fn changing(round: u64) -> Vec<String> {
    let few = round.is_multiple_of(2);
    let count = if few { 2 * CHANGED / 5 } else { CHANGED };
    let place = |n: u64| ((n + round * CHANGED) as u32).wrapping_mul(0x9e37_79b1);
    (0..count)
        .flat_map(|n| {
            let random = place(n);
            let near = (4 * (random >> 8 & 3) + 1) << 8 | random & 0xff;
            let far = if few { random & 0xff_ffff | 0x1000 } else { 0x1_0000 + 3 * n as u32 };
            let low = if n % 2 == 0 { near } else { far };
            [v4(low, 32), v6(low, 32)]
        })
        .collect()
}

/// Prefixes that no packet is from, of many lengths.
fn many() -> Vec<String> {
    let random = |n: u32| n.wrapping_mul(0x9e37_79b1);
    let v4 = (0..20_000).map(|n| {
        let network = 0x1400_0000 | random(n) & 0x03ff_ffff & u32::MAX << (n % 8);
        format!("{}/{}", Ipv4Addr::from_bits(network), 32 - n % 8)
    });
    let v6 = (0..7_200u32).map(|n| {
        let network = 0x2a00 << 112 | u128::from(random(n)) << 64;
        format!("{}/{}", Ipv6Addr::from_bits(network), 64 + n % 20)
    });
    v4.chain(v6).collect()
}

#[test]
fn root_each_packet_meets_the_filter_before_a_change_or_after_it() {
    let rules = "kind: PacketFilter\nmetadata: { name: f }\nspec:\n  rules:\n    \
        - { action: Deny, sourceLists: [{ name: denied }, { name: many }] }\n    \
        - { action: Deny, sourceLists: [{ name: changing }], protocol: UDP, ports: [9999] }\n    \
        - { action: Deny, sourceLists: [{ name: later }], ports: [9000-10000] }\n---\n";
    let fixed = [
        list("denied", &of(Fate::Denied)),
        list("later", &of(Fate::DeniedLater)),
        list("many", &many()),
        rules.to_owned(),
    ]
    .concat();
    let base = objects::desired_with(2, &[], &fixed);
    let desired = |revision: u64| {
        let mut desired = base.clone();
        let list = list("changing", &changing(revision));
        for object in model::parse::parse_documents(&list).unwrap() {
            desired.config.put(Arc::new(object));
        }
        desired.config.set_revision(Revision(revision));
        desired
    };
    let mut bench = Bench::new(&[]);
    bench.engine.reconcile(&desired(2)).unwrap();
    let counts = |bench: &mut Bench| {
        let statistics = bench.engine.statistics().unwrap();
        let rules: Vec<u64> = statistics.filtered.iter().map(|rule| rule.dropped).collect();
        (rules, statistics.count(Reason::NotService))
    };
    let before = counts(&mut bench);
    let program = handle(bench.engine.program().xdp());
    let ifindex = bench.ifindex;
    let done = AtomicBool::new(false);
    let changes: Vec<_> = (3..3 + CHANGES).map(desired).collect();
    let rounds = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut driver = Driver::new();
            driver.call(&program);
            let frames = ["11.0.0.0:1024", "[2001:db8:1::b00:0]:1024"].map(|source| {
                let node = if source.starts_with('[') { "[fd00::1]:9999" } else { "10.0.0.1:9999" };
                Frame { payload: Vec::new(), ..Frame::new(UDP, source, node) }
            });
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) || rounds < 2 {
                for frame in &frames {
                    driver.run(frame, FLOWS, FLOWS as u32, ifindex);
                }
                rounds += 1;
            }
            rounds
        });
        for change in &changes {
            bench.engine.reconcile(change).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    });
    let after = counts(&mut bench);
    let dropped: Vec<u64> = after.0.iter().zip(&before.0).map(|(now, then)| now - then).collect();
    let frames = 2 * rounds * FLOWS;
    assert_eq!(dropped[0], frames / 4, "{rounds} rounds");
    assert_eq!(dropped[2], frames / 4, "{rounds} rounds");
    let passed = after.1 - before.1;
    assert_eq!(dropped[1] + passed, frames / 2, "{rounds} rounds");
    // Addresses of one block in four: some are denied, never all of them.
    assert!(
        dropped[1] > 0 && passed > frames / 4,
        "{dropped:?} dropped, {passed} of {frames} passed"
    );
    drop(bench);
}
