//! SYN cookies (Bernstein, 1996; RFC 4987 section 3.6): a sequence number that says of a client's
//! acknowledgement that it answers a SYN-ACK of ours, so that nothing is kept of a SYN.
//!
//! ```text
//! 31 30 │ 29 … 27 │ 26 … 0
//! time  │ size    │ SipHash-2-4 of the flow, the client's first sequence number, time and size
//! ```
//! A cookie is good for one [`PERIOD_S`] to two of them. Of a made-up acknowledgement one in 2^26 is
//! taken, since two first sequence numbers are tried ([`check`]).

use crate::{
    layout::{Address, Tuple},
    siphash::{Key, SipHash},
    state::Clock,
};

/// Seconds in a unit of a cookie's time: a client far away has answered by then, also where it had to
/// ask a second time.
pub const PERIOD_S: u32 = 32;
/// Largest segments that clients take, of which a cookie knows one: what Ethernet leaves behind IPv4,
/// IPv6 and common tunnels, the least that IPv4 and IPv6 have to take (RFC 9293 section 3.7.1), and
/// jumbo frames.
pub const SIZES: [u16; 8] = [216, 536, 1_220, 1_300, 1_380, 1_440, 1_460, 8_940];
/// What a SYN without the option stands for (RFC 9293 section 3.7.1).
pub const SIZE_DEFAULT_V4: u16 = 536;
/// The same for IPv6.
pub const SIZE_DEFAULT_V6: u16 = 1_220;

const HASH_BITS: u32 = 27;
const HASH: u32 = (1 << HASH_BITS) - 1;
const SIZE_BITS: u32 = 3;
const TIME: u32 = 3;

/// A cookie that was found to be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Good {
    /// The client's first sequence number.
    pub first: u32,
    /// The largest segment that the client takes.
    pub size: u16,
}

/// Returns the number of the greatest of [`SIZES`] that is no greater, or of the least.
#[inline(always)]
#[must_use]
pub const fn size_number(size: u16) -> u32 {
    let mut number = 0;
    let mut at = 1;
    while at < SIZES.len() {
        number += (size >= SIZES[at]) as u32;
        at += 1;
    }
    number
}

/// Returns a size by its number.
#[inline(always)]
#[must_use]
pub const fn size(number: u32) -> u16 {
    // Comparisons, since BPF has no array of constants that a variable could index.
    let mut size = SIZES[0];
    let mut at = 1;
    while at < SIZES.len() {
        if number >= at as u32 {
            size = SIZES[at];
        }
        at += 1;
    }
    size
}

/// Makes the cookie that answers a SYN of the flow with the sequence number `first`.
#[inline(always)]
#[must_use]
pub const fn make(key: Key, flow: &Tuple, first: u32, size_number: u32, clock: Clock) -> u32 {
    of(key, flow, first, size_number, period(clock))
}

/// Checks the cookie that an acknowledgement of the flow would have, by its sequence number.
///
/// A client that probes a closed window sends the number before the one that it is at (RFC 9293 section
/// 3.8.6.1), so both are tried.
#[inline(always)]
#[must_use]
pub const fn check(
    key: Key,
    flow: &Tuple,
    sequence: u32,
    cookie: u32,
    clock: Clock,
) -> Option<Good> {
    let now = period(clock);
    let age = now.wrapping_sub(cookie >> (HASH_BITS + SIZE_BITS)) & TIME;
    if age > 1 {
        return None;
    }
    let number = cookie >> HASH_BITS & ((1 << SIZE_BITS) - 1);
    let then = now.wrapping_sub(age);
    let mut first = sequence.wrapping_sub(1);
    let mut tries = 0;
    while tries < 2 {
        if of(key, flow, first, number, then) == cookie {
            return Some(Good { first, size: size(number) });
        }
        first = sequence;
        tries += 1;
    }
    None
}

#[inline(always)]
const fn period(clock: Clock) -> u32 {
    clock.now / clock.units(PERIOD_S)
}

#[inline(always)]
const fn of(key: Key, flow: &Tuple, first: u32, size_number: u32, period: u32) -> u32 {
    let (source, destination) = (words(&flow.source), words(&flow.destination));
    let ports = flow.source_port_be as u32 | (flow.destination_port_be as u32) << 16;
    let hash = SipHash::new(key)
        .with(source.0)
        .with(source.1)
        .with(destination.0)
        .with(destination.1)
        .with(pair(ports, first))
        .with(pair(period, size_number))
        .finish();
    (period & TIME) << (HASH_BITS + SIZE_BITS) | size_number << HASH_BITS | hash as u32 & HASH
}

#[inline(always)]
const fn words(address: &Address) -> (u64, u64) {
    let words = &address.words;
    (pair(words[0], words[1]), pair(words[2], words[3]))
}

#[inline(always)]
const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layout::TCP;

    const KEY: Key = Key([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);

    fn flow(words: [u32; 8], ports: u32) -> Tuple {
        let [a, b, c, d, e, f, g, h] = words;
        Tuple {
            source: Address { words: [a, b, c, d] },
            destination: Address { words: [e, f, g, h] },
            source_port_be: ports as u16,
            destination_port_be: (ports >> 16) as u16,
            protocol: TCP,
            ..Tuple::default()
        }
    }

    fn at(units: u32) -> Clock {
        Clock::new(u64::from(units) << 4, 250)
    }

    #[test]
    fn the_size_is_the_greatest_that_the_client_takes() {
        for (said, known) in [
            (0, 216),
            (216, 216),
            (535, 216),
            (536, 536),
            (1_219, 536),
            (1_400, 1_380),
            (1_440, 1_440),
            (1_460, 1_460),
            (1_500, 1_460),
            (u16::MAX, 8_940),
        ] {
            assert_eq!(size(size_number(said)), known, "{said}");
        }
    }

    proptest! {
        #[test]
        fn an_acknowledgement_or_probe_brings_first_number_and_size_back(
            words in prop::array::uniform8(any::<u32>()), ports in any::<u32>(),
            first in any::<u32>(), said in any::<u16>(), now in any::<u32>(),
            waits in 0..500u32, probes in any::<bool>(),
        ) {
            let now = now >> 4;
            let flow = flow(words, ports);
            let cookie = make(KEY, &flow, first, size_number(said), at(now));
            let sequence = if probes { first } else { first.wrapping_add(1) };
            let expected = Good { first, size: size(size_number(said)) };
            prop_assert_eq!(check(KEY, &flow, sequence, cookie, at(now + waits)), Some(expected));
        }

        #[test]
        fn a_cookie_is_of_one_flow_key_number_size_and_time(
            words in prop::array::uniform8(any::<u32>()), ports in any::<u32>(),
            first in any::<u32>(), change in 0..44usize, now in any::<u32>(), bit in 0..32u32,
        ) {
            let now = now >> 4;
            let number = size_number(1_460);
            let cookie = make(KEY, &flow(words, ports), first, number, at(now));
            let (mut words, mut ports, mut key, mut cookie) = (words, ports, KEY, cookie);
            let mut sequence = first.wrapping_add(1);
            let mut then = at(now);
            match change {
                0..8 => words[change] ^= 1 << bit,
                8 => ports ^= 1 << bit,
                9 => key.0[0] ^= 1 << bit,
                10 => sequence = sequence.wrapping_add(1 + bit),
                // After two periods, before four, when the same two bits would come again.
                11 => then = at(now + then.units(PERIOD_S) * (2 + bit % 2)),
                _ => cookie ^= 1 << bit,
            }
            prop_assert_eq!(check(key, &flow(words, ports), sequence, cookie, then), None);
        }
    }
}
