//! When a connection has ended: a pure function of what both directions have seen.
//!
//! ```text
//!            reply           FIN of one side        FIN of both, or RST
//! opening ----------> open ------------------> half closed ----------> closed
//!    60 s             7440 s (UDP 60 s)           240 s                  2 s
//! ```
//! The times are how long an idle connection keeps its entries and its source port. One that is
//! opening makes way earlier where the table has no room ([`crate::claims`]).

use crate::layout::{Connection, TCP};

/// Ticks in a unit of a [`Clock`], as a power of two: 16 to 160 ms.
const UNIT_SHIFT: u32 = 4;

/// The time of connections, of the kernel's tick counter, which costs nothing to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// In units, whose number may wrap.
    pub now: u32,
    /// Of the kernel.
    pub ticks_per_second: u32,
}

impl Clock {
    /// Returns the time of a tick, by a kernel of 100 to 1,000 ticks a second.
    #[inline(always)]
    #[must_use]
    pub const fn new(ticks: u64, ticks_per_second: u32) -> Self {
        Self { now: (ticks >> UNIT_SHIFT) as u32, ticks_per_second }
    }

    /// Returns how many units the seconds are, rounded up.
    #[inline(always)]
    #[must_use]
    pub const fn units(self, seconds: u32) -> u32 {
        (seconds.wrapping_mul(self.ticks_per_second) >> UNIT_SHIFT) + 1
    }

    /// Returns how many units ago a time was.
    #[inline(always)]
    #[must_use]
    pub const fn since(self, then: u32) -> u32 {
        self.now.wrapping_sub(then)
    }
}

/// Flag: the direction has sent a packet.
pub const SEEN: u8 = 1;
/// Flag: the direction has sent a TCP FIN.
pub const FIN: u8 = 2;
/// Flag: the direction has sent a TCP RST.
pub const RST: u8 = 4;

/// FIN bit of the TCP flags byte (RFC 9293 section 3.1).
pub const TCP_FIN: u8 = 0x01;
/// SYN bit of the TCP flags byte.
pub const TCP_SYN: u8 = 0x02;
/// RST bit of the TCP flags byte.
pub const TCP_RST: u8 = 0x04;
/// ACK bit of the TCP flags byte.
pub const TCP_ACK: u8 = 0x10;

/// Idle time of an open TCP connection: RFC 5382 REQ-5 wants at least 2 h 4 min.
pub const TCP_OPEN_S: u32 = 7_440;
/// Idle time of a half-closed TCP connection: RFC 5382 REQ-5 wants at least 4 min.
pub const TCP_HALF_CLOSED_S: u32 = 240;
/// Idle time of a connection that nobody has answered.
pub const OPENING_S: u32 = 60;
/// Idle time of a UDP flow; Envoy's UDP proxy uses the same.
pub const UDP_S: u32 = 60;
/// How long the port of a closed connection rests: long enough for segments still under way in a
/// data centre, short enough that [`crate::layout::SNAT_PORT_FIRST`] and above suffice for some
/// 1,500 short connections a second to each backend.
pub const CLOSED_S: u32 = 2;
/// Seconds between refreshes of an entry: bounds the writes to one a second and flow, and the age of
/// a cached next hop.
pub const REFRESH_S: u32 = 1;

/// Returns the flags that a TCP header sets; UDP passes 0.
#[inline(always)]
#[must_use]
pub const fn flags_of(tcp_flags: u8) -> u8 {
    let fin = if tcp_flags & TCP_FIN != 0 { FIN } else { 0 };
    let rst = if tcp_flags & TCP_RST != 0 { RST } else { 0 };
    SEEN | fin | rst
}

/// Tells whether a TCP segment opens a connection.
#[inline(always)]
#[must_use]
pub const fn opens(tcp_flags: u8) -> bool {
    tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN
}

/// Tells whether both sides have closed, or one has reset.
#[inline(always)]
#[must_use]
pub const fn closed(own: u8, peer: u8) -> bool {
    (own | peer) & RST != 0 || own & peer & FIN != 0
}

/// Returns how long an idle connection keeps its entries, in seconds.
#[inline(always)]
#[must_use]
pub const fn idle_limit_s(own: u8, peer: u8, protocol: u8) -> u32 {
    if protocol != TCP {
        UDP_S
    } else if closed(own, peer) {
        CLOSED_S
    } else if (own | peer) & FIN != 0 {
        TCP_HALF_CLOSED_S
    } else if own & peer & SEEN == 0 {
        OPENING_S
    } else {
        TCP_OPEN_S
    }
}

/// Tells whether the entry's connection has been idle for longer than it may be.
#[inline(always)]
#[must_use]
pub const fn expired(connection: &Connection, clock: Clock) -> bool {
    let limit = idle_limit_s(connection.own, connection.peer, connection.key.protocol);
    clock.since(connection.refreshed) > clock.units(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Tuple, UDP};

    #[test]
    fn the_idle_limit_follows_the_diagram_for_every_pair_of_flags() {
        for own in 0..8 {
            for peer in 0..8 {
                let expected = if own & RST != 0 || peer & RST != 0 {
                    CLOSED_S
                } else {
                    match (own & FIN != 0, peer & FIN != 0) {
                        (true, true) => CLOSED_S,
                        (true, false) | (false, true) => TCP_HALF_CLOSED_S,
                        (false, false) if own & SEEN != 0 && peer & SEEN != 0 => TCP_OPEN_S,
                        (false, false) => OPENING_S,
                    }
                };
                assert_eq!(idle_limit_s(own, peer, TCP), expected, "{own:03b} {peer:03b}");
                assert_eq!(idle_limit_s(own, peer, UDP), UDP_S);
            }
        }
    }

    #[test]
    fn only_a_bare_syn_opens() {
        for flags in 0..=0x3f {
            let expected = flags & TCP_SYN != 0 && flags & TCP_ACK == 0 && flags & TCP_RST == 0;
            assert_eq!(opens(flags), expected, "{flags:#x}");
        }
    }

    #[test]
    fn a_connection_expires_after_its_limit_and_the_clock_may_wrap() {
        for ticks_per_second in [100, 250, 300, 1000] {
            let clock = |units: u32| Clock::new(u64::from(units) << UNIT_SHIFT, ticks_per_second);
            let begun = (1 << 28) - 10;
            let key = Tuple { protocol: UDP, ..Tuple::default() };
            let connection =
                Connection { key, refreshed: begun, own: SEEN, ..Connection::default() };
            let limit = clock(0).units(UDP_S);
            assert!(!expired(&connection, clock(begun + limit)));
            assert!(expired(&connection, clock(begun + limit + 1)));
            let wrapped = Connection { refreshed: u32::MAX - 10, ..connection };
            assert!(!expired(&wrapped, Clock { now: limit - 11, ..clock(0) }));
            assert!(expired(&wrapped, Clock { now: limit - 10, ..clock(0) }));
        }
    }

    #[test]
    fn a_limit_is_never_shorter_than_its_seconds() {
        for ticks_per_second in [100, 250, 300, 1000] {
            for seconds in [CLOSED_S, UDP_S, TCP_HALF_CLOSED_S, TCP_OPEN_S] {
                let units = Clock::new(0, ticks_per_second).units(seconds);
                assert!(units << UNIT_SHIFT >= seconds * ticks_per_second);
                assert!(units << UNIT_SHIFT <= seconds * ticks_per_second + (1 << UNIT_SHIFT));
            }
        }
    }
}
