//! Counters of services, and the words of a CPU: counters, and the notes of the packet at hand.

/// Words of a service's counters.
pub const COUNTER_WORDS: usize = 5;
/// Indices into a service's counters.
pub mod counter {
    /// Packets from clients.
    pub const PACKETS_IN: usize = 0;
    /// IP bytes from clients.
    pub const BYTES_IN: usize = 1;
    /// Packets to clients.
    pub const PACKETS_OUT: usize = 2;
    /// IP bytes to clients.
    pub const BYTES_OUT: usize = 3;
    /// Connections begun.
    pub const CONNECTIONS: usize = 4;
}

/// Words of the statistics: one a [`crate::verdict::Reason`], then those of [`stat`] and [`note`].
pub const STATS_WORDS: usize = 56;
/// Indices into the statistics, behind the reasons.
pub mod stat {
    /// Generation that the CPU last saw.
    pub const GENERATION: usize = 31;
    /// Packets sent out of the interface that they came in by.
    pub const TRANSMITTED: usize = 30;
    /// Packets sent out of another interface.
    pub const REDIRECTED: usize = 29;
    /// Connections that took the port of one that had ended.
    pub const PORTS_REUSED: usize = 28;
    /// UDP flows moved because their backend left the service.
    pub const FLOWS_MOVED: usize = 27;
    /// Events for which the ring had no room.
    pub const EVENTS_LOST: usize = 32;
    /// Events that were not made, since the CPU had made as many as it may.
    pub const EVENTS_HELD_BACK: usize = 33;
    /// ICMP errors forwarded to the endpoint or client of the flow that they are about.
    pub const ERRORS_FORWARDED: usize = 50;
    /// Packets too big of which the sender was told.
    pub const TOO_BIG_TOLD: usize = 51;
    /// SYNs answered by a cookie.
    pub const COOKIES_SENT: usize = 52;
    /// Acknowledgements of cookies with which a connection began.
    pub const COOKIES_ACCEPTED: usize = 53;
}

/// Indices into the statistics behind the counters: what is noted of the packet on its way. A word
/// is a store; nobody reads it, unless the packet is told of.
pub mod note {
    /// [`crate::event::why`] the packet is to be told of.
    pub const WANTED: usize = 34;
    /// Packets until the next one that is told of.
    pub const LEFT: usize = 35;
    /// Service slot plus one, 0 for none; bit 32 is set for packets to clients.
    pub const SERVICE: usize = 36;
    /// Number of the endpoint of direct server return, 0 for none; [`CHOSEN`] when the
    /// [`crate::path::Scratch`] has the one of full NAT, [`ANSWERED`] when the packet was turned round.
    pub const ENDPOINT: usize = 37;
    /// Bit of the packet filter's rule that fits, 0 for none.
    pub const RULE: usize = 38;
    /// Number of the packet filter, see [`crate::filter::Header::serial`].
    pub const FILTER: usize = 39;
    /// What became of the packet: XDP action, [`crate::verdict::Reason`] plus one in the second
    /// byte, [`WAITS`], and the interface that it leaves by in the high half.
    pub const VERDICT: usize = 40;
    /// Events of each kind in these ticks: `ticks << 16 | events`.
    pub const BUDGETS: usize = 41;
    /// The five words of the packet's [`crate::layout::Tuple`] as it came.
    pub const TUPLE: usize = 44;
    /// Length of the IP packet and, in the second half, TCP flags.
    pub const PACKET: usize = 49;

    /// Value of [`ENDPOINT`], above all numbers.
    pub const CHOSEN: u64 = 1 << 32;
    /// Value of [`ENDPOINT`], above all numbers.
    pub const ANSWERED: u64 = 1 << 33;
    /// Bit of [`VERDICT`]: a worker has the packet, behind a [`crate::qos::wait::Ticket`].
    pub const WAITS: u64 = 1 << 16;
    /// Bit of [`SERVICE`].
    pub const REPLY: u64 = 1 << 32;
}
