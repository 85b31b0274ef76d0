//! Reads the rate of a filter's rule.

use super::super::{
    reader::{Node, Read},
    scalar::{whole, word},
};
use crate::{
    limits::{MAX_PACKETS_PER_SECOND, MAX_RATE_BURST, MIN_RATE_BURST_MS},
    packet_filter::rate::{PacketRate, RatePer},
};

/// A burst that nobody chose, in milliseconds of the rate.
const DEFAULT_BURST_MS: u32 = 100;
/// The least burst that nobody chose: what a TCP connection sends at once in its beginning
/// (RFC 6928), twice.
const DEFAULT_BURST_LEAST: u32 = 20;
/// Bits that tell IPv4 sources apart: each address is one.
const DEFAULT_LENGTH_V4: u8 = 32;
/// Bits that tell IPv6 sources apart: a host may use any address of its /64.
const DEFAULT_LENGTH_V6: u8 = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Per {
    Source,
    Rule,
}

const PERS: [(&str, Per); 2] = [("Source", Per::Source), ("Rule", Per::Rule)];

pub(super) fn rate(node: &Node<'_>) -> Read<PacketRate> {
    let fields = node.fields()?;
    let wanted = format!("packets a second, 1 to {MAX_PACKETS_PER_SECOND}");
    let rate = fields
        .required("packetsPerSecond", &wanted, |node| whole(node, 1..=MAX_PACKETS_PER_SECOND));
    let burst = fields.optional("burst", |node| whole(node, 1..=MAX_RATE_BURST));
    let per = fields.required("per", "Source or Rule", |node| word(node, &PERS));
    let length_v4 = fields.optional("prefixLengthV4", |node| length(node, 32));
    let length_v6 = fields.optional("prefixLengthV6", |node| length(node, 128));
    let known = fields.finish();
    let per = match per? {
        Per::Source => RatePer::Source {
            prefix_length_v4: length_v4?.unwrap_or(DEFAULT_LENGTH_V4),
            prefix_length_v6: length_v6?.unwrap_or(DEFAULT_LENGTH_V6),
        },
        Per::Rule => {
            for name in ["prefixLengthV4", "prefixLengthV6"] {
                if fields.has(name) {
                    let remedy = "write per: Source, or remove it";
                    return Err(fields.error(name, "tells sources apart", remedy));
                }
            }
            RatePer::Rule
        }
    };
    let (packets_per_second, burst) = (rate?, burst?);
    let least = packets_in(packets_per_second, MIN_RATE_BURST_MS);
    if burst.is_some_and(|burst| burst < least) {
        let message =
            format!("is less than {MIN_RATE_BURST_MS} ms of {packets_per_second} packets a second");
        let remedy = format!("write at least {least}, or a lower rate");
        return Err(fields.error("burst", message, remedy));
    }
    let burst = burst.unwrap_or_else(|| {
        packets_in(packets_per_second, DEFAULT_BURST_MS).max(DEFAULT_BURST_LEAST)
    });
    known.map(|()| PacketRate { packets_per_second, burst, per })
}

fn length(node: &Node<'_>, most: u32) -> Read<u8> {
    let length = whole(node, 1..=most)?;
    Ok(u8::try_from(length).expect("the range is that of a prefix's length"))
}

/// Returns the packets of some milliseconds, rounded up.
fn packets_in(packets_per_second: u32, ms: u32) -> u32 {
    let packets = u64::from(packets_per_second) * u64::from(ms);
    u32::try_from(packets.div_ceil(1_000)).unwrap_or(u32::MAX)
}
