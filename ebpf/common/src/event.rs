//! Events of flows: what the data plane is told of single packets, through a ring buffer.
//!
//! A packet is told of when it is one of the sample, when a connection begins or ends with it, and
//! when it is dropped; of each kind a CPU makes at most [`BUDGET`] in [`WINDOW_SHIFT`] ticks, so
//! that no flood makes telling expensive. What is not told of pays a countdown.

use crate::layout::Address;

/// Events of a kind that a CPU makes in a window.
pub const BUDGET: u64 = 256;
/// Ticks in a window, as a power of two: 64 to 640 ms.
pub const WINDOW_SHIFT: u32 = 6;

/// Why a packet is told of: bits of [`FlowEvent::why`].
pub mod why {
    /// It is one of the sample.
    pub const SAMPLED: u8 = 1;
    /// A connection begins with it.
    pub const BEGUN: u8 = 2;
    /// A connection ends with it.
    pub const ENDED: u8 = 4;
    /// It is dropped.
    pub const DROPPED: u8 = 8;
    /// The notes have the packet's flow as it came.
    pub const NOTED: u8 = 16;
}

/// What became of a packet: [`FlowEvent::verdict`] (`enum xdp_action`, include/uapi/linux/bpf.h).
pub mod verdict {
    /// It is dropped.
    pub const DROP: u8 = 1;
    /// The kernel's network stack has it.
    pub const PASS: u8 = 2;
    /// It leaves by the interface that it came in by.
    pub const TRANSMIT: u8 = 3;
    /// It leaves by another interface.
    pub const REDIRECT: u8 = 4;
    /// It was answered: the answer leaves by the interface that it came in by.
    pub const ANSWERED: u8 = 5;
}

/// A packet, and what was decided about it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowEvent {
    /// When, in nanoseconds of the monotonic clock.
    pub time: u64,
    /// Generation of the configuration that it was decided by.
    pub generation: u64,
    /// Bit of the filter's rule that fits; 0 for none.
    pub rule: u64,
    /// Where it came from.
    pub source: Address,
    /// Where it was for.
    pub destination: Address,
    /// The endpoint or client that it goes to; zero when none was chosen.
    pub to: Address,
    /// Source port.
    pub source_port_be: u16,
    /// Destination port.
    pub destination_port_be: u16,
    /// Port of `to`.
    pub to_port_be: u16,
    /// Length of the IP packet, or of the frame where it was not read.
    pub length: u16,
    /// Interface that it came in by.
    pub ingress: u32,
    /// Interface that it leaves by; 0 for none.
    pub egress: u32,
    /// Service slot plus one; 0 for none.
    pub service: u32,
    /// Number of the packet filter; 0 for none.
    pub filter: u32,
    /// [`why`] bits.
    pub why: u8,
    /// One of [`verdict`].
    pub verdict: u8,
    /// [`crate::verdict::Reason`] plus one; 0 when it goes on.
    pub reason: u8,
    /// IP protocol; 0 when it was not read.
    pub protocol: u8,
    /// TCP flags byte.
    pub tcp_flags: u8,
    /// 4, 6, or 0 for what is not IP.
    pub family: u8,
    /// 1 for packets from an endpoint to a client.
    pub reply: u8,
    /// 1 for a packet that a worker sends when its limit allows it.
    pub waits: u8,
}

const _: () = assert!(size_of::<FlowEvent>() == 104);
