//! What the packet path needs of where it runs: the frame, the maps, clocks and routes.
//!
//! The XDP program implements it by the kernel's helpers, tests by plain memory. Invariant: what a
//! pointer of [`Kernel`] leads to stays readable and writable for the time of a packet. Others may
//! write to it meanwhile, but not to what is said to be this CPU's, which handles one frame at a time.

use super::taking::Places;
use crate::{
    claims::Spot,
    event::FlowEvent,
    filter::{
        Tables,
        rates::{Asked, RuleState},
    },
    layout::{
        COUNTER_WORDS, CpuEndpoint, Endpoint, FlowBucket, Hop, Record, Told, Translation, Tuple,
    },
    qos::{Credit, wait::Ticket},
    segment::{Options, Segment},
    siphash::Key,
    state::Clock,
    verdict::Reason,
};

/// What a task is told, and a connection in the making, which would crowd the 512-byte stack.
#[repr(C)]
pub struct Scratch {
    /// What [`Kernel::tag`] is.
    pub tag: u32,
    /// What the packet is, where the verifier should not know it.
    pub kind: u32,
    /// What the way of the packet takes.
    pub mtu: u16,
    /// Number of the backend's endpoint.
    pub endpoint: u32,
    /// What a frame that waits is handed over with, but for the time. The entry is 0 for one that
    /// does not.
    pub ticket: Ticket,
    /// What the backend's packets have.
    pub key: Tuple,
    /// The client's packets.
    pub there: Way,
    /// The backend's packets.
    pub back: Way,
    /// A segment that is to be sent.
    pub segment: Segment,
    /// The options of a SYN.
    pub options: Options,
}

/// What becomes of the packets of a direction.
#[repr(C)]
pub struct Way {
    /// What they become.
    pub to: Translation,
    /// Where they go.
    pub hop: Hop,
}

/// Where the packet path runs.
pub trait Kernel: Places {
    /// The tables of the packet filter in force.
    type Filter: Tables;

    /// Returns where the frame begins.
    fn start(&self) -> usize;

    /// Returns where the frame ends.
    fn end(&self) -> usize;

    /// Returns the interface that the frame came in by.
    fn ingress(&self) -> u32;

    /// Returns the VLAN tag that the frame came with and that [`super::take_off`] took off: its
    /// control information, with the bit above set. 0 where it came without.
    fn tag(&self) -> u32;

    /// Grows the frame at its head, and tells whether that was possible.
    fn grow_head(&self, bytes: i32) -> bool;

    /// Grows the frame at its tail, and tells whether that was possible.
    fn grow_tail(&self, bytes: i32) -> bool;

    /// Returns the ticks in a second: 100 to 1,000.
    fn ticks_per_second(&self) -> u32;

    /// Looks up where packets of a flow go.
    ///
    /// # Errors
    /// Returns why there is no next hop.
    fn next_hop(&self, flow: &Tuple) -> Result<Hop, Reason>;

    /// Adds one to a word of this CPU's statistics.
    fn count(&self, word: usize);

    /// Sets a word of this CPU's statistics.
    fn set(&self, word: usize, value: u64);

    /// Sets a word of this CPU's statistics to zero, by a store of its own: the compiler would fill
    /// words in a row by a call of `memset`.
    fn clear(&self, word: usize);

    /// Returns a word of this CPU's statistics.
    fn get(&self, word: usize) -> u64;

    /// Returns of how many packets one is told of; 0 when only what is told of anyway is.
    fn sampling(&self) -> u32;

    /// Returns a number that nobody foresees.
    fn random(&self) -> u32;

    /// Returns the monotonic clock's nanoseconds.
    fn time(&self) -> u64;

    /// Leaves an event for user space; tells whether there was room.
    fn tell(&self, event: &FlowEvent) -> bool;

    /// Returns this CPU's counters of a service.
    fn counters(&self, slot: u32) -> Option<*mut [u64; COUNTER_WORDS]>;

    /// Returns a record of the configurations.
    fn record(&self, index: u32) -> Option<*const Record>;

    /// Returns the bucket that flows of a hash are in.
    fn flows(&self, hash: u64) -> Option<*mut FlowBucket>;

    /// Returns an endpoint by its number.
    fn endpoint(&self, number: u16) -> Option<*const Endpoint>;

    /// Returns what this CPU has of an endpoint.
    fn cpu_endpoint(&self, number: u16) -> Option<*mut CpuEndpoint>;

    /// Returns how many senders this CPU has told that their packets are too big.
    fn told(&self) -> Option<*mut Told>;

    /// Returns this CPU's scratch space.
    fn scratch(&self) -> Option<*mut Scratch>;

    /// Returns the buckets of the table of connections, less one.
    fn claim_mask(&self) -> u32;

    /// Returns the seed of the table of connections.
    fn connection_seed(&self) -> u64;

    /// Returns the key of SYN cookies, where one was made.
    fn cookie_key(&self) -> Option<Key>;

    /// Returns what this CPU has of a limiter and way.
    fn credit(&self, entry: u32) -> Option<*mut Credit>;

    /// Returns the word that all CPUs share of a limiter and way.
    fn spent(&self, entry: u32) -> Option<*mut u64>;

    /// Returns the tables of the packet filter, where one is in force.
    fn filter(&self) -> Option<Self::Filter>;

    /// Returns what this CPU has of a rule of the filter, by the rule's number.
    fn rule(&self, number: u8) -> Option<*mut RuleState>;

    /// Takes a packet from the limits of rules of a filter, as [`super::exceeded`] does, which may
    /// be a function apart.
    ///
    /// # Errors
    /// Returns that the filter contradicts itself.
    fn exceeded(&self, asked: &Asked) -> Result<u64, Reason>;

    /// [`super::take`] for this kernel's table, by a function apart.
    fn take(&self, spot: &Spot, key: &Tuple, clock: Clock) -> u32;
}
