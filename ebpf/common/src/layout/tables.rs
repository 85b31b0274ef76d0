//! What is kept of flows and connections, and of where they go.

use super::{Address, COUNTER_WORDS, Hop, Tuple};

/// One flow: `tag | endpoint << 32 | seen << 48`; all zero when the place is empty.
///
/// The tag is a part of the flow's hash that does not choose the bucket. Two flows of a bucket
/// with the same tag (one pair in 2^32) go to the same endpoint.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow(pub u64);

/// The flows of a bucket: one cache line.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowBucket {
    /// In no order.
    pub flows: [Flow; 8],
}

/// An endpoint by its number.
///
/// Invariant: a number stands for one address until no flow can refer to it any more.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address; zero for a number that stands for nothing.
    pub address: Address,
    /// Its port.
    pub port_be: u16,
    /// Zero.
    pub padding: [u16; 23],
}

/// What a CPU has of an endpoint: a cache line.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuEndpoint {
    /// What was counted; indices are those of [`crate::layout::counter`].
    pub counters: [u64; COUNTER_WORDS],
    /// The next hop, of an endpoint that answers clients directly.
    pub hop: Hop,
    /// When and under which ways it was looked up, as [`crate::flows::looked_up`] has it.
    pub checked: u32,
}

/// How many senders a CPU has told that their packets are too big.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// When the count began, in [`crate::flows::hop_time`].
    pub since: u32,
    /// Messages since then.
    pub messages: u32,
}

/// What packets of a connection's direction become.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// Source that packets get.
    pub source: Address,
    /// Destination that packets get.
    pub destination: Address,
    /// Source port that packets get.
    pub source_port_be: u16,
    /// Destination port that packets get.
    pub destination_port_be: u16,
    /// One's-complement difference for the TCP or UDP checksum (RFC 1624).
    pub transport_delta: u16,
    /// One's-complement difference for the IPv4 header checksum, without the TTL.
    pub header_delta: u16,
}

/// One direction of a connection, in a place of its table: two cache lines.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// What packets of the direction have; protocol 0 in a place without an entry.
    pub key: Tuple,
    /// When this or the other direction was refreshed last, in the time of [`crate::state::Clock`].
    pub refreshed: u32,
    /// Service slot for the counters.
    pub slot: u32,
    /// Of UDP, low half of the generation under which the backend was last seen to be in its service. Of
    /// a TCP connection that is [`splice::JOINED`], what is added to the sequence numbers of the
    /// backend's packets, or to the acknowledgement numbers of the client's.
    pub generation_or_delta: u32,
    /// [`crate::state`] flags that this direction set.
    pub own: u8,
    /// [`crate::state`] flags that the other direction set.
    pub peer: u8,
    /// 1 for packets from the backend, 0 for packets from the client.
    pub reply: u8,
    /// One of [`splice`].
    pub splice: u8,
    /// [`crate::layout::Selector::ways`] under which the next hop was looked up.
    pub ways: u32,
    /// Number of the backend's [`Endpoint`]; 0 for one without.
    pub endpoint: u32,
    /// What packets become.
    pub to: Translation,
    /// Where packets go.
    pub hop: Hop,
    /// The SYN cookie that a spliced connection began with.
    pub cookie: u32,
}

/// Whether client and backend number the backend's octets alike: [`Connection::splice`].
pub mod splice {
    /// They do: the SYN that began the connection went to the backend.
    pub const NONE: u8 = 0;
    /// The client has a number of a SYN cookie, and the backend has not answered.
    pub const WAITING: u8 = 1;
    /// The client's number is a SYN cookie's, and the backend's is known.
    pub const JOINED: u8 = 2;
}

/// What SYN cookies need.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// The [`crate::siphash::Key`] of cookies, which user space makes once; zero before.
    pub key: [u64; 2],
}

/// The words of a bucket of the table of connections: one cache line, see [`crate::claims`].
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// A [`crate::claims::Claim`] a place.
    pub words: [u64; crate::claims::PLACES as usize],
}
