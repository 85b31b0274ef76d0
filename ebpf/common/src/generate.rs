//! What the programs that measure end to end share with user space; no part of the data plane.

use crate::checksum::{Difference, apply, apply_udp};

/// Name of the program that makes each frame one of the next flow and sends it.
pub const GENERATOR: &str = "generate";
/// Name of the program that counts frames and drops them.
pub const COUNTER: &str = "count";
/// Name of the program that sends a frame back where it came from: the floor of `XDP_TX`.
pub const SWAP: &str = "swap";
/// Name of the program that sends a frame out of another interface: the floor of `XDP_REDIRECT`.
pub const ONWARD: &str = "onward";

/// Name of the array with the one [`Template`].
pub const TEMPLATE_MAP: &str = "gen_template";
/// Name of the per-CPU array with the one [`Received`].
pub const RECEIVED_MAP: &str = "gen_received";
/// Name of the array with one word: frames that have come, in steps of [`CREDIT`].
pub const CREDIT_MAP: &str = "gen_credit";
/// Name of the array with the one [`Way`].
pub const WAY_MAP: &str = "gen_way";

/// Bytes of a frame that are written each time: Ethernet, IPv4 and TCP headers, rounded up to words.
pub const HEADERS: usize = 56;
/// Where the last word of the Ethernet destination is.
pub const RECEIVER: usize = 4;
/// Where the IPv4 header checksum is.
pub const HEADER_CHECKSUM: usize = 24;
/// Where the source address is.
pub const SOURCE_ADDRESS: usize = 26;
/// Where the source port is.
pub const SOURCE_PORT: usize = 34;
/// Where UDP's checksum is.
pub const UDP_CHECKSUM: usize = 40;
/// Where TCP's checksum is.
pub const TCP_CHECKSUM: usize = 50;
/// One frame of so many is kept: a power of two.
pub const SAMPLE_EVERY: u64 = 1 << 12;

/// Frames that a receiver has had before it tells the generator: seldom enough that the word they
/// share does not slow the receiver.
pub const CREDIT: u64 = 16;
/// How often the generator looks for credit before it takes frames for lost: about a quarter of a
/// millisecond, within the jumps that the kernel's verifier follows.
pub const PATIENCE: u32 = 1 << 11;

/// What frames look like: those of flows from 0.0.0.0, port 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// Frames so far.
    pub counter: u64,
    /// Flows less one; a power of two.
    pub flows_mask: u64,
    /// The most frames under way.
    pub window: u64,
    /// Frames that were taken for lost.
    pub lost: u64,
    /// 1 for TCP, 0 for UDP.
    pub tcp: u32,
    /// Last word of the Ethernet address that frames are counted for.
    pub receiver: u32,
    /// Header checksum and transport checksum, as they lie in a frame.
    pub checksums: [u16; 2],
    /// Zero.
    pub padding: u32,
    /// The headers.
    pub headers: [u64; HEADERS / 8],
}

/// What one CPU has received.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Frames.
    pub frames: u64,
    /// The start of one of the last [`SAMPLE_EVERY`].
    pub sample: [u64; HEADERS / 8],
}

/// Where frames go on to.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The interface.
    pub ifindex: u32,
    /// Ethernet destination, then source.
    pub addresses: [u16; 6],
}

impl Template {
    /// Returns both checksums of a frame from a source, whose words are as they lie in the frame.
    #[inline(always)]
    #[must_use]
    pub const fn checksums_from(&self, address: u32, port: u16) -> (u16, u16) {
        let header = Difference::new().replace(u32::MAX, address);
        let transport = header.replace(u32::MAX, port as u32).fold();
        let [of_header, of_transport] = self.checksums;
        let updated = if self.tcp == 1 {
            apply(of_transport, transport)
        } else {
            apply_udp(of_transport, transport)
        };
        (apply(of_header, header.fold()), updated)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 by the definition, over words as they lie in memory.
    fn sum(words: &[u16]) -> u16 {
        let mut sum = 0u32;
        for word in words {
            sum += u32::from(*word);
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    proptest! {
        #[test]
        fn the_checksums_of_every_flow_hold(
            rest in any::<[u16; 8]>(),
            address in any::<u32>(),
            port: u16,
            tcp in 0..2u32,
        ) {
            let checksum = !sum(&rest);
            let template = Template {
                counter: 0,
                flows_mask: 0,
                window: 0,
                lost: 0,
                tcp,
                receiver: 0,
                checksums: [checksum; 2],
                padding: 0,
                headers: [0; HEADERS / 8],
            };
            let (header, transport) = template.checksums_from(address, port);
            let words = [address as u16, (address >> 16) as u16];
            prop_assert_eq!(sum(&[sum(&rest), words[0], words[1], header]), 0xffff);
            prop_assert_eq!(sum(&[sum(&rest), words[0], words[1], port, transport]), 0xffff);
            prop_assert!(tcp == 1 || transport != 0);
        }
    }
}
