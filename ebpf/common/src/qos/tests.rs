//! The bucket against a naive model, and marks against checksums made by the definition.

use proptest::prelude::*;
use std::{ops::Range, vec, vec::Vec};

use super::{
    Borrowed, Limit, Treatment,
    bucket::{CREDIT_MAX, Verdict, borrow},
    flag, mark,
};
use crate::{
    layout::UDP,
    machine::Machine,
    parse::{ETHERNET, family, parse},
};

const CPUS: usize = 4;

/// A limiter on which nobody else is, at a tick.
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

/// A limiter with its CPUs.
struct Limiter {
    limit: Limit,
    spent: u64,
    cpus: [Borrowed; CPUS],
}

impl Limiter {
    fn new(limit: Limit) -> Self {
        Self { limit, spent: 0, cpus: [Borrowed::default(); CPUS] }
    }

    fn admit(&mut self, cpu: usize, ticks: u64, length: u16) -> Verdict {
        let units = u32::from(length);
        let borrowed = &mut self.cpus[cpu];
        let need = borrowed.lacks(units);
        let clock = AtOnce(ticks);
        // SAFETY: the word is this limiter's.
        if need > 0 && !unsafe { borrow(&clock, &self.limit, borrowed, &mut self.spent, need) } {
            return Verdict::Over;
        }
        borrowed.spend(units)
    }
}

/// Where the kernel's counter begins: 5 minutes before it passes 2^32.
const START: u64 = (1 << 32) - 300_000;

fn rate(powers: Range<u32>) -> impl Strategy<Value = (u64, u64, u32)> {
    (powers, 1..10u64, select_ticks()).prop_flat_map(|(power, factor, ticks)| {
        let bytes_per_s = 125_000 * factor * 10u64.pow(power);
        let least = (bytes_per_s / 100).max(10_000);
        (Just(bytes_per_s), least..least * 20, Just(ticks))
    })
}

/// Packets in a row: ticks since those before, their CPU, the bytes of each, and how many.
fn step() -> impl Strategy<Value = (u64, usize, u16, usize)> {
    let after = prop_oneof![6 => Just(0), 3 => 1..40u64, 1 => 40..1_000u64];
    (after, 0..CPUS, 40..9_001u16, 1..60usize)
}

fn select_ticks() -> impl Strategy<Value = u32> {
    proptest::sample::select(vec![100u32, 250, 300, 1_000])
}

proptest! {
    /// Over every span of the run, in exact numbers: no more than rate x time + burst + credits.
    #[test]
    fn no_more_goes_through_than_rate_and_burst_allow(
        (bytes_per_s, burst, ticks_per_s) in rate(0..2),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let limit = Limit::new(bytes_per_s, burst, ticks_per_s, CPUS as u32);
        prop_assert!(u64::from(limit.credit) * CPUS as u64 <= burst / 4);
        let mut limiter = Limiter::new(limit);
        let mut now = START;
        let mut passed: Vec<(u64, u128)> = Vec::new();
        for (after, cpu, length, packets) in steps {
            now += after;
            for _ in 0..packets {
                match limiter.admit(cpu, now, length) {
                    Verdict::Green { .. } => passed.push((now, length.into())),
                    Verdict::Over => break,
                }
            }
        }
        let bound = u128::from(burst) + u128::from(limit.credit) * CPUS as u128;
        for first in 0..passed.len() {
            let mut bytes = 0u128;
            for (at, length) in &passed[first..] {
                // Less than a byte a loan is rounded away.
                bytes += length - 1;
                let earned = u128::from(bytes_per_s) * u128::from(at - passed[first].0);
                prop_assert!((bytes - bound.min(bytes)) * u128::from(ticks_per_s) <= earned);
            }
        }
    }

    /// The naive model lends in whole bytes, refilled each tick, all CPUs at once.
    #[test]
    fn what_wants_to_go_all_the_time_gets_the_rate(
        (bytes_per_s, burst, ticks_per_s) in rate(0..5), length in 64..1_501u16, spread: bool,
    ) {
        let limit = Limit::new(bytes_per_s, burst, ticks_per_s, CPUS as u32);
        let mut limiter = Limiter::new(limit);
        // Some thousand packets of the rate, and at least a second.
        let ticks = (u64::from(ticks_per_s) * 2_000 * u64::from(length) / bytes_per_s)
            .clamp(u64::from(ticks_per_s), 20_000)
            .min(400_000_000 / (bytes_per_s / u64::from(length)).max(1));
        let mut passed = 0u128;
        let mut turn = 0;
        for tick in 0..ticks {
            // Each CPU until it is refused.
            let mut refused = 0;
            while refused < if spread { CPUS } else { 1 } {
                let cpu = if spread { turn % CPUS } else { 0 };
                turn += 1;
                match limiter.admit(cpu, START + tick, length) {
                    Verdict::Green { .. } => {
                        passed += u128::from(length);
                        refused = 0;
                    }
                    Verdict::Over => refused += 1,
                }
            }
        }
        let hz = u128::from(ticks_per_s);
        let earned = u128::from(bytes_per_s) * u128::from(ticks.saturating_sub(1)) / hz;
        let slack = (u128::from(limit.credit) + u128::from(length)) * CPUS as u128;
        // A rate is rounded by less than a millionth.
        let least = (earned + u128::from(burst)) * 999_999 / 1_000_000;
        prop_assert!(passed + slack >= least, "{passed} of {least}");
    }
}

#[test]
fn at_a_standing_clock_exactly_the_burst_goes() {
    for (bytes_per_s, burst, cpus) in
        [(125_000, 16_000, 1), (1_000_000, 20_000, 2), (12_500_000, 250_000, 64)]
    {
        let limit = Limit::new(bytes_per_s, burst, 250, cpus);
        let mut limiter = Limiter::new(limit);
        let mut passed = 0;
        while passed <= burst
            && let Verdict::Green { .. } = limiter.admit(0, START, 1_000)
        {
            passed += 1_000;
        }
        assert_eq!(passed, burst, "{limit:?}");
    }
}

#[test]
fn credit_is_for_some_packets_and_for_a_quarter_of_the_burst_at_most() {
    let credit = |burst, cpus| Limit::new(1_250_000_000, burst, 1_000, cpus).credit;
    assert_eq!(credit(25_000_000, 2), CREDIT_MAX);
    assert_eq!(credit(400_000, 64), 400_000 / 256);
    assert_eq!(credit(400_000, 0), CREDIT_MAX);
}

#[test]
fn a_pause_saves_up_the_burst_and_no_more_however_long() {
    let limit = Limit::new(1_000_000, 50_000, 1_000, 1);
    for pause in [50, 75, 1_000, 1 << 32, 1 << 38] {
        let loan = limit.lend(START << 24, START + pause, 50_000).expect("it is there");
        assert!(loan.congested && loan.units == 50_000);
        assert_eq!(limit.lend(START << 24, START + pause, 50_001), None, "{pause}");
        assert_eq!(limit.lend(loan.spent, START + pause, 1), None, "{pause}");
    }
}

#[test]
fn a_cpu_that_is_behind_takes_nothing_and_gives_nothing_back() {
    let limit = Limit::new(1_000_000, 50_000, 1_000, 1);
    assert_eq!(limit.lend((START + 1) << 24, START, 64), None);
    assert_eq!(limit.lend((START + 25) << 24, START, 64), None);
    assert_eq!(limit.lend((START + (1 << 30)) << 24, START, 64), None);
}

#[test]
fn the_last_quarter_of_the_burst_is_congested() {
    let limit = Limit { credit: 0, ..Limit::new(1_000_000, 40_000, 1_000, 1) };
    let mut limiter = Limiter::new(limit);
    let verdicts: Vec<Verdict> = (0..41).map(|_| limiter.admit(0, START, 1_000)).collect();
    let green = |congested| Verdict::Green { congested };
    assert!(verdicts[..30].iter().all(|verdict| *verdict == green(false)));
    assert!(verdicts[30..40].iter().all(|verdict| *verdict == green(true)));
    assert_eq!(verdicts[40], Verdict::Over);
}

/// Takes packets of 100 bytes until one is refused, but no megabyte of them.
fn drained(limiter: &mut Limiter, ticks: u64) -> u64 {
    let mut passed = 0;
    while passed < 1_000_000
        && let Verdict::Green { .. } = limiter.admit(0, ticks, 100)
    {
        passed += 100;
    }
    passed
}

#[test]
fn a_new_rate_holds_from_the_next_packet_on() {
    let mut limiter = Limiter::new(Limit::new(1_000_000, 20_000, 1_000, 1));
    assert_eq!(drained(&mut limiter, START), 20_000);
    limiter.limit = Limit::new(10_000_000, 200_000, 1_000, 1);
    let passed = drained(&mut limiter, START + 10);
    // 10 ms at the new rate, and what was left of a packet's time at the old one.
    assert!((99_900..=101_000).contains(&passed), "{passed}");
}

#[test]
fn every_class_keeps_what_no_flag_changes() {
    for before in 0..=u8::MAX {
        for flags in 0..8 {
            for congested in [false, true] {
                let treatment = Treatment { flags, dscp: 46, ..Treatment::default() };
                let after = mark::class(before, &treatment, congested);
                let dscp = if flags & flag::DSCP != 0 { 46 } else { before >> 2 };
                let capable = matches!(before & 3, 1 | 2);
                let marked = flags & flag::ECN != 0 && congested && capable;
                assert_eq!((after >> 2, after & 3), (dscp, if marked { 3 } else { before & 3 }));
                assert_eq!(mark::notifies(before, after), marked);
                assert_eq!(mark::recodes(before, after), dscp != before >> 2);
            }
        }
    }
}

fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair[1]);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn frame(v6: bool, class: u8, label: u8) -> Vec<u8> {
    let mut frame = vec![7; 12];
    if v6 {
        frame.extend([0x86, 0xdd, 0x60 | class >> 4, class << 4 | label, 3, 4, 0, 8, UDP, 64]);
        frame.extend((0..32).map(|byte| byte + 0x20));
    } else {
        frame.extend([8, 0, 0x45, class, 0, 28, label, 1, 0, 0, 64, UDP, 0, 0]);
        frame.extend([10, 0, label, 1, 10, 0, 0, 2]);
        let checksum = !sum(&frame[ETHERNET..]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    }
    frame.extend([0, 1, 0, 2, 0, 8, 0, 0]);
    frame
}

proptest! {
    #[test]
    fn a_mark_changes_the_class_alone(v6: bool, before: u8, after: u8, label in 0..16u8) {
        let mut marked = frame(v6, before, label);
        let range = marked.as_ptr_range();
        let (start, end) = (range.start as usize, range.end as usize);
        // SAFETY: the frame is memory of this test.
        let mut packet = unsafe { parse(start, end, family(start, end).unwrap()) }.unwrap();
        prop_assert_eq!(packet.traffic_class, before);
        let start = marked.as_mut_ptr() as usize;
        // SAFETY: as above.
        let written = unsafe {
            if v6 {
                mark::write_class::<true>(start, end, &mut packet, after)
            } else {
                mark::write_class::<false>(start, end, &mut packet, after)
            }
        };
        prop_assert_eq!(written, Ok(()));
        prop_assert_eq!(packet.traffic_class, after);
        prop_assert_eq!(marked, frame(v6, after, label));
    }
}
