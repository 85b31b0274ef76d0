//! Code point and congestion notification of a packet, rewritten in its frame.
//!
//! An outer header that is put in front later copies both (RFC 6040).

use super::{Treatment, flag};
use crate::{
    checksum::apply_word,
    parse::{ETHERNET, IPV4, IPV6, Packet, read},
    rewrite::write,
    verdict::Reason,
};

/// The two bits of congestion notification in a traffic class (RFC 3168 section 5).
const ECN: u8 = 0b11;

/// Returns the traffic class that a packet gets, where all bits are known.
#[inline(always)]
#[must_use]
pub const fn class(class: u8, treatment: &Treatment, congested: bool) -> u8 {
    let ecn = class & ECN;
    // Neither 0, a sender that does not understand it, nor marked already.
    let ecn = if congested && treatment.has(flag::ECN) && ecn != 0 { ECN } else { ecn };
    let dscp = if treatment.has(flag::DSCP) { treatment.dscp << 2 } else { class & !ECN };
    dscp | ecn
}

/// Tells whether congestion notification was changed between two traffic classes.
#[inline(always)]
#[must_use]
pub const fn notifies(before: u8, after: u8) -> bool {
    (before ^ after) & ECN != 0
}

/// Tells whether the code point was changed between two traffic classes.
#[inline(always)]
#[must_use]
pub const fn recodes(before: u8, after: u8) -> bool {
    (before ^ after) & !ECN != 0
}

/// Writes a traffic class into the frame at `start..end`, and into what is known of the packet.
///
/// # Errors
/// Returns [`Reason::Malformed`] when the frame is not the one that `packet` was parsed from.
///
/// # Safety
/// `start..end` must be writable memory.
#[inline(always)]
pub unsafe fn write_class<const V6: bool>(
    start: usize,
    end: usize,
    packet: &mut Packet,
    class: u8,
) -> Result<(), Reason> {
    let ip = start + ETHERNET;
    if ip + if V6 { IPV6 } else { IPV4 } > end {
        return Err(Reason::Malformed);
    }
    // SAFETY: the comparison above.
    unsafe {
        if V6 {
            // Version, traffic class, flow label (RFC 8200 section 3).
            write(ip, 0x60 | class >> 4);
            write(ip + 1, class << 4 | read::<u8>(ip + 1) & 0x0f);
        } else {
            // Whole words both: a load of a word of which a byte was just stored waits for that.
            let (old, new) = ([0x45, packet.traffic_class], [0x45, class]);
            let (old, new) = (u16::from_ne_bytes(old), u16::from_ne_bytes(new));
            write(ip, new);
            write(ip + 10, apply_word(read::<u16>(ip + 10), old, new));
        }
    }
    packet.traffic_class = class;
    Ok(())
}
