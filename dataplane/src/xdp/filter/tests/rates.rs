//! The limits of rules against a naive model: whole packets saved up by source and rule.

use std::collections::HashMap;

use ebpf_common::{
    filter::{
        Tables as _,
        rates::{Admission, Rate, SourceLine, admit, line},
    },
    machine::Machine,
    qos::{Borrowed, bucket::borrow},
};
use model::packet_filter::rate::PacketRate;

use super::*;

/// A machine on which nobody else is, at a tick.
struct AtOnce(u64);

impl Machine for AtOnce {
    fn ticks(&self) -> u64 {
        self.0
    }

    unsafe fn exchange(&self, word: *mut u64, old: u64, new: u64) -> u64 {
        // SAFETY: the caller's.
        unsafe { if *word == old { word.replace(new) } else { *word } }
    }

    unsafe fn publish(&self, word: *mut u64, new: u64) {
        // SAFETY: the caller's.
        unsafe { *word = new };
    }
}

const PACE: Pace = Pace { ticks_per_s: 1_000, cpus: 2 };
/// Where the kernel's counter begins: 5 minutes before it passes 2^32.
const START: u64 = (1 << 32) - 300_000;

/// The table of sources, with the lines that are used.
#[derive(Default)]
struct Sources(HashMap<u32, SourceLine>);

impl Sources {
    fn admit(&mut self, rate: &Rate, source: IpAddr, tick: u64) -> Admission {
        let tag = rate.tag(&source.into(), 7);
        let line = self.0.entry(line(tag)).or_default();
        // SAFETY: the line is the tag's.
        unsafe { admit(&AtOnce(tick), line, &rate.limit, tag) }
    }
}

/// Packets saved up, in parts of a packet of which a tick brings `per_tick`.
struct Naive {
    saved: u64,
    seen: u64,
}

const PART: u64 = 1_000;

impl Naive {
    fn new(rate: &PacketRate, tick: u64) -> Self {
        Self { saved: u64::from(rate.burst) * PART, seen: tick }
    }

    /// Takes a packet, where there is one.
    fn take(&mut self, rate: &PacketRate, tick: u64) -> bool {
        let earned = (tick - self.seen) * u64::from(rate.packets_per_second);
        self.saved = (self.saved + earned).min(u64::from(rate.burst) * PART);
        self.seen = tick;
        let is_there = self.saved >= PART;
        if is_there {
            self.saved -= PART;
        }
        is_there
    }
}

/// Rates of which a packet takes a whole number of ticks or a tick brings whole packets, so that
/// nothing is rounded.
fn rate_rule() -> impl Strategy<Value = Value> {
    let exact = select(vec![1u32, 10, 125, 500, 1_000, 2_000, 8_000]);
    let per = select(vec![
        json!({ "per": "Source" }),
        json!({ "per": "Source", "prefixLengthV4": 24, "prefixLengthV6": 48 }),
        json!({ "per": "Source", "prefixLengthV4": 8, "prefixLengthV6": 128 }),
    ]);
    (exact, 0..40u32, per).prop_map(|(packets, more, mut rate)| {
        rate["packetsPerSecond"] = json!(packets);
        rate["burst"] = json!(packets.div_ceil(100) + more);
        json!({ "action": "Rate", "rate": rate })
    })
}

fn step() -> impl Strategy<Value = (u64, IpAddr, u32)> {
    let after = prop_oneof![4 => 0..3u64, 2 => 3..50u64, 1 => 50..5_000u64];
    (after, prop_oneof![v4(), v6()], 1..60u32)
}

/// Makes the tables of some rules of one filter.
fn tables(rules: &[Value]) -> (Snapshot, Vec<Record>) {
    let filter = json!({ "kind": "PacketFilter", "metadata": { "name": "f" },
        "spec": { "rules": rules } });
    let config = config(&[filter]);
    let mut tables = Tables::new(0, PACE);
    tables.update(&config, &mut Chunks::default()).unwrap();
    (config, tables.front(&CounterNumbers::default(), 1))
}

proptest! {
    #[test]
    fn each_source_gets_what_a_bucket_of_its_own_would_give(
        rules in vec(rate_rule(), 1..4), steps in vec(step(), 1..80),
    ) {
        let (config, front) = tables(&rules);
        let view = View { front: &front, chunks: &Chunks::default() };
        let rules = ordered_rules(&config);
        let (mut sources, mut naive) = (Sources::default(), HashMap::new());
        let mut tick = START;
        for (after, source, packets) in steps {
            tick += after;
            let packet = FilteredPacket { source, destination: source, transport: None };
            for _ in 0..packets {
                let mut bits = view.decision(&packet).rates;
                for (place, rate) in packet_filter::decide(&rules, &config, &packet).rates {
                    let bit = bits.trailing_zeros();
                    bits &= bits - 1;
                    let record: &Rate = view.front(front::RATES + bit).unwrap();
                    let own = naive
                        .entry((place, rate.per.source(source)))
                        .or_insert_with(|| Naive::new(rate, tick));
                    let expected = own.take(rate, tick);
                    let found = sources.admit(record, source, tick);
                    prop_assert_ne!(found, Admission::Displacing);
                    prop_assert_eq!(found == Admission::Within, expected, "{} {}", place.1, source);
                    if !expected {
                        break;
                    }
                }
            }
        }
    }

    #[test]
    fn all_packets_of_a_rule_share_what_it_lets_through(
        packets in 1..3_000_000u32, more in 0..1_000u32, steps in vec((0..40u64, 0..2usize, 1..400u32), 1..60),
    ) {
        let burst = packets.div_ceil(100) + more;
        let rate = json!({ "packetsPerSecond": packets, "burst": burst, "per": "Rule" });
        let (_, front) = tables(&[json!({ "action": "Rate", "rate": rate })]);
        let view = View { front: &front, chunks: &Chunks::default() };
        let record: &Rate = view.front(front::RATES).unwrap();
        prop_assert!(!record.is_per_source());
        let (mut spent, mut cpus) = (0, [Borrowed::default(); 2]);
        let (mut tick, mut passed, mut wants_more) = (START, 0u64, 0u64);
        for (after, cpu, burst) in steps {
            tick += after;
            for _ in 0..burst {
                let cpu = &mut cpus[cpu];
                let need = cpu.lacks(1);
                let limit = &record.limit;
                // SAFETY: the word is this rule's.
                if need > 0 && !unsafe { borrow(&AtOnce(tick), limit, cpu, &mut spent, need) } {
                    wants_more += 1;
                    continue;
                }
                cpu.spend(1);
                passed += 1;
            }
        }
        let credit = 2 * u64::from(record.limit.credit);
        let earned = u64::from(packets) * (tick - START);
        // Less than a hundredth is rounded away.
        prop_assert!(passed * 990 <= 1_000 * (u64::from(burst) + credit) + earned);
        if wants_more > 0 {
            prop_assert!(passed + credit + 1 >= u64::from(burst).min(passed + wants_more));
        }
    }
}

fn rate(front: &[Record]) -> Rate {
    layout(&front[front::RATES as usize])
}

fn per_source(packets: u32, burst: u32) -> Rate {
    let rate = json!({ "packetsPerSecond": packets, "burst": burst, "per": "Source" });
    rate_of(json!({ "action": "Rate", "rate": rate }))
}

fn rate_of(rule: Value) -> Rate {
    rate(&tables(&[rule]).1)
}

/// Sources that share a line.
fn neighbours(rate: &Rate, count: usize) -> Vec<IpAddr> {
    let mut all = (0u32..).map(|n| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + n)));
    let line_of = |ip: &IpAddr| line(rate.tag(&(*ip).into(), 7));
    let first = all.next().unwrap();
    let others = all.filter(|ip| line_of(ip) == line_of(&first)).take(count - 1);
    std::iter::once(first).chain(others).collect()
}

#[test]
fn who_exceeds_its_limit_is_not_displaced_by_any_number_of_others() {
    let rate = per_source(10, 20);
    let mut sources = Sources::default();
    let all = neighbours(&rate, 200);
    let mut passed = 0;
    for tick in 0..1_000u64 {
        // One flood and a new source each tick, ten times as many as the line holds at a time.
        if sources.admit(&rate, all[0], START + tick) != Admission::Over {
            passed += 1;
        }
        let other = all[1 + tick as usize % 199];
        assert_ne!(sources.admit(&rate, other, START + tick), Admission::Over, "{tick} {other}");
    }
    assert!((29..=30).contains(&passed), "{passed}: a burst of 20 and 10 in a second");
}

#[test]
fn what_is_lost_of_a_source_is_told() {
    let rate = per_source(10, 20);
    let mut sources = Sources::default();
    let all = neighbours(&rate, 6);
    let four = |sources: &mut Sources, tick| {
        [0, 1, 2, 3].map(|n| sources.admit(&rate, all[n], START + tick))
    };
    assert_eq!(four(&mut sources, 0), [Admission::Within; 4]);
    // Each has 19 of 20 left; what one packet takes is saved up again after a tenth of a second.
    assert_eq!(sources.admit(&rate, all[4], START + 50), Admission::Displacing);
    assert_eq!(sources.admit(&rate, all[5], START + 100), Admission::Within);
}

#[test]
fn a_source_of_another_rule_or_prefix_is_another() {
    let of = |rate: Value| rate_of(json!({ "action": "Rate", "rate": rate }));
    let narrow = of(json!({ "packetsPerSecond": 10, "per": "Source" }));
    let wide = of(json!({ "packetsPerSecond": 10, "per": "Source", "prefixLengthV4": 24,
        "prefixLengthV6": 48 }));
    let tag = |rate: &Rate, ip: &str| rate.tag(&ip.parse::<IpAddr>().unwrap().into(), 7);
    assert_ne!(tag(&narrow, "192.0.2.1"), tag(&narrow, "192.0.2.2"));
    assert_eq!(tag(&wide, "192.0.2.1"), tag(&wide, "192.0.2.2"));
    assert_ne!(tag(&wide, "192.0.2.1"), tag(&wide, "192.0.3.1"));
    assert_eq!(tag(&narrow, "2001:db8::1"), tag(&narrow, "2001:db8::2"));
    assert_ne!(tag(&narrow, "2001:db8::1"), tag(&narrow, "2001:db8:0:1::1"));
    assert_eq!(tag(&wide, "2001:db8:0:1::1"), tag(&wide, "2001:db8:0:ffff::1"));
    assert_ne!(tag(&wide, "2001:db8:0:1::1"), tag(&wide, "2001:db8:1:1::1"));
    let rule = json!({ "action": "Rate", "rate": { "packetsPerSecond": 10, "per": "Source" } });
    let (_, front) = tables(&[rule.clone(), rule]);
    let second: Rate = layout(&front[front::RATES as usize + 1]);
    assert_ne!(tag(&rate(&front), "192.0.2.1"), tag(&second, "192.0.2.1"));
}
