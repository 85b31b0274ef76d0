//! What the path of a packet needs, by the kernel's maps and helpers.

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::generated::{
        bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_xdp_adjust_head, bpf_xdp_adjust_tail,
    },
    programs::XdpContext,
};
use ebpf_common::{
    claims::Spot,
    event::FlowEvent,
    filter::{
        self, CHUNK_RECORDS, Tables,
        rates::{Asked, RuleState},
    },
    layout::{
        COUNTER_WORDS, Claims, Connection, CpuEndpoint, Endpoint, FlowBucket, Hop, Layout, Record,
        STATS_WORDS, Told, Tuple,
    },
    machine::Machine,
    path::{Kernel, Places, Scratch},
    qos::{Credit, Spent},
    siphash::Key,
    state::Clock,
    verdict::Reason,
};

use crate::{
    find_v6,
    machine::{self, Maps},
    maps::{self, FilterRecords},
    next_hop, rates, taking,
};

/// The kernel, for one frame.
pub struct Xdp<'a> {
    /// The frame.
    pub context: &'a XdpContext,
    /// This CPU's statistics, of [`STATS_WORDS`].
    stats: *mut u64,
    /// What [`Kernel::tag`] returns.
    tag: u32,
}

impl<'a> Xdp<'a> {
    /// Returns the kernel for a frame; it is there always.
    #[inline(always)]
    pub fn of(context: &'a XdpContext) -> Option<Self> {
        Some(Self { context, stats: maps::stats()?, tag: 0 })
    }

    /// Returns the kernel for a frame that another program has left a task about.
    #[inline(always)]
    pub fn of_task(context: &'a XdpContext) -> Option<Self> {
        let scratch = maps::SCRATCH.get_ptr_mut(0)?;
        // SAFETY: this CPU's.
        Some(Self::of(context)?.with_tag(unsafe { (*scratch).tag }))
    }

    /// Returns the kernel for the frame from which a tag was taken off.
    #[inline(always)]
    pub fn with_tag(self, tag: u32) -> Self {
        Self { tag, ..self }
    }
}

impl Machine for Xdp<'_> {
    #[inline(always)]
    fn ticks(&self) -> u64 {
        machine::ticks()
    }

    #[inline(always)]
    unsafe fn exchange(&self, word: *mut u64, old: u64, new: u64) -> u64 {
        // SAFETY: the caller's.
        unsafe { machine::exchange(word, old, new) }
    }

    #[inline(always)]
    unsafe fn publish(&self, word: *mut u64, new: u64) {
        // SAFETY: the caller's.
        unsafe { machine::publish(word, new) };
    }
}

impl Places for Xdp<'_> {
    #[inline(always)]
    fn claims(&self, bucket: u32) -> Option<*const Claims> {
        Maps.claims(bucket)
    }

    #[inline(always)]
    fn connection(&self, index: u32) -> Option<*mut Connection> {
        Maps.connection(index)
    }
}

impl Kernel for Xdp<'_> {
    type Filter = InForce;

    #[inline(always)]
    fn start(&self) -> usize {
        self.context.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.context.data_end()
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn tag(&self) -> u32 {
        self.tag
    }

    #[inline(always)]
    fn grow_head(&self, bytes: i32) -> bool {
        // SAFETY: the context is the kernel's.
        unsafe { bpf_xdp_adjust_head(self.context.ctx, -bytes) == 0 }
    }

    #[inline(always)]
    fn grow_tail(&self, bytes: i32) -> bool {
        // SAFETY: the context is the kernel's.
        unsafe { bpf_xdp_adjust_tail(self.context.ctx, bytes) == 0 }
    }

    #[inline(always)]
    fn ticks_per_second(&self) -> u32 {
        maps::ticks_per_second()
    }

    #[inline(always)]
    fn next_hop(&self, flow: &Tuple) -> Result<Hop, Reason> {
        next_hop::find(self.context.ctx, flow)
    }

    #[inline(always)]
    fn count(&self, word: usize) {
        if word < STATS_WORDS {
            // SAFETY: the entry belongs to this CPU, and `word` is within it.
            unsafe { *self.stats.add(word) += 1 };
        }
    }

    #[inline(always)]
    fn set(&self, word: usize, value: u64) {
        if word < STATS_WORDS {
            // SAFETY: the entry belongs to this CPU, and `word` is within it.
            unsafe { *self.stats.add(word) = value };
        }
    }

    #[inline(always)]
    fn clear(&self, word: usize) {
        if word < STATS_WORDS {
            // SAFETY: the entry belongs to this CPU, and `word` is within it.
            unsafe { self.stats.add(word).write_volatile(0) };
        }
    }

    #[inline(always)]
    fn get(&self, word: usize) -> u64 {
        if word < STATS_WORDS {
            // SAFETY: the entry belongs to this CPU, and `word` is within it.
            unsafe { *self.stats.add(word) }
        } else {
            0
        }
    }

    #[inline(always)]
    fn sampling(&self) -> u32 {
        maps::flow_sampling()
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: the helper has no precondition.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn time(&self) -> u64 {
        // SAFETY: the helper has no precondition.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn tell(&self, event: &FlowEvent) -> bool {
        // User space looks once in a while, so that no packet has to wake it.
        maps::EVENTS.output(event, BPF_RB_NO_WAKEUP.into()).is_ok()
    }

    #[inline(always)]
    fn counters(&self, slot: u32) -> Option<*mut [u64; COUNTER_WORDS]> {
        maps::COUNTERS.get_ptr_mut(slot)
    }

    #[inline(always)]
    fn record(&self, index: u32) -> Option<*const Record> {
        maps::CONFIG.get_ptr(index)
    }

    #[inline(always)]
    fn flows(&self, hash: u64) -> Option<*mut FlowBucket> {
        maps::FLOWS.get_ptr_mut(hash as u32 & maps::flow_mask())
    }

    #[inline(always)]
    fn endpoint(&self, number: u16) -> Option<*const Endpoint> {
        maps::ENDPOINTS.get_ptr(u32::from(number))
    }

    #[inline(always)]
    fn cpu_endpoint(&self, number: u16) -> Option<*mut CpuEndpoint> {
        maps::CPU_ENDPOINTS.get_ptr_mut(u32::from(number))
    }

    #[inline(always)]
    fn told(&self) -> Option<*mut Told> {
        maps::TOLD.get_ptr_mut(0)
    }

    #[inline(always)]
    fn scratch(&self) -> Option<*mut Scratch> {
        maps::SCRATCH.get_ptr_mut(0)
    }

    #[inline(always)]
    fn claim_mask(&self) -> u32 {
        maps::claim_mask()
    }

    #[inline(always)]
    fn connection_seed(&self) -> u64 {
        maps::connection_seed()
    }

    #[inline(always)]
    fn half_open(&self) -> Option<*mut u64> {
        // SAFETY: a field of the map's value.
        maps::handshakes().map(|shakes| unsafe { &raw mut (*shakes).half_open })
    }

    #[inline(always)]
    fn cookie_key(&self) -> Option<Key> {
        // SAFETY: the map's; user space has made the key before a program runs.
        let key = unsafe { (*maps::handshakes()?).key };
        (key[0] | key[1] != 0).then_some(Key(key))
    }

    fn credit(&self, entry: u32) -> Option<*mut Credit> {
        maps::CREDIT.get_ptr_mut(entry)
    }

    #[inline(always)]
    fn spent(&self, entry: u32) -> Option<*mut u64> {
        maps::SPENT.get_ptr_mut(entry).map(<*mut Spent>::cast)
    }

    #[inline(always)]
    fn filter(&self) -> Option<InForce> {
        InForce::now()
    }

    #[inline(always)]
    fn rule(&self, number: u8) -> Option<*mut RuleState> {
        maps::FILTER_RULES.get_ptr_mut(u32::from(number))
    }

    #[inline(always)]
    fn exceeded(&self, asked: &Asked) -> Result<u64, Reason> {
        rates::exceeded(asked)
    }

    #[inline(always)]
    fn take(&self, spot: &Spot, key: &Tuple, clock: Clock) -> u32 {
        taking::take(spot, key, clock)
    }
}

/// The packet filter's tables in force, held for the time of a packet.
pub struct InForce {
    front: *const Record,
}

impl InForce {
    /// Returns the tables in force; `None` when there are none.
    #[inline(always)]
    pub fn now() -> Option<Self> {
        records(0).map(|front| Self { front })
    }
}

impl Tables for InForce {
    #[inline(always)]
    fn front<T: Layout>(&self, index: u32) -> Option<&T> {
        Some(record(self.front, index))
    }

    #[inline(always)]
    fn arena<T: Layout>(&self, index: u32) -> Option<&T> {
        Arena.arena(index)
    }

    #[inline(always)]
    fn find_v6(&self, at: u32, address: [u64; 2], from: u32) -> Option<u32> {
        find_v6::call(at, address, from)
    }
}

/// The arena alone, for what has no front at hand.
pub struct Arena;

impl Tables for Arena {
    #[inline(always)]
    fn front<T: Layout>(&self, _index: u32) -> Option<&T> {
        None
    }

    #[inline(always)]
    fn arena<T: Layout>(&self, index: u32) -> Option<&T> {
        let (slot, within) = filter::place(index);
        Some(record(records(slot)?, within))
    }
}

/// Returns the records in a slot.
#[inline(always)]
fn records(slot: u32) -> Option<*const Record> {
    let records: &FilterRecords = maps::FILTER.get(slot)?;
    records.get_ptr(0).map(<*const [Record; CHUNK_RECORDS]>::cast)
}

/// Returns one of [`CHUNK_RECORDS`] records.
#[inline(always)]
fn record<'a, T: Layout>(records: *const Record, index: u32) -> &'a T {
    // SAFETY: the mask keeps the place within the records; layouts are integers of a record's size,
    // valid for any bytes.
    unsafe { &*records.add(index as usize & (CHUNK_RECORDS - 1)).cast::<T>() }
}

const _: () = assert!(CHUNK_RECORDS.is_power_of_two());
