//! One CPU: what is its own, and the frame that it handles.

use core::{
    cell::{Cell, RefCell, UnsafeCell},
    sync::atomic::{AtomicU64, Ordering},
};
use std::{boxed::Box, vec::Vec};

use super::{
    Sizes, Tables,
    frame::{Frame, Guard},
    table::Table,
};
use crate::{
    claims::Spot,
    event::FlowEvent,
    filter::{
        self, CHUNK_RECORDS, RULE_NUMBERS,
        rates::{Asked, RuleState, SourceLine},
    },
    layout::{
        COUNTER_WORDS, Claims, Connection, CpuEndpoint, Endpoint, FlowBucket, Hop, Layout, Record,
        STATS_WORDS, Told, Tuple,
    },
    machine::Machine,
    path::{
        Kernel, Limits, Places, Scratch, Sent, Stop, Task, Way, exceeded, resume, steer, take,
        take_off,
    },
    qos::{Credit, LIMITER_WAYS, wait::Ticket},
    segment::{Options, Segment},
    siphash::Key,
    state::Clock,
    verdict::Reason,
};

/// Slots of services that a CPU has counters of.
const SLOTS: usize = 1 << 10;
/// Programs that a frame may pass through: no path needs more.
const PROGRAMS_MAX: usize = 6;

/// A CPU of the tables.
pub struct Cpu<'t> {
    tables: &'t Tables,
    own: Own,
    ingress: u32,
    /// The tag that was taken off the frame.
    tag: u32,
    /// State of the generator that decides where other threads go first; 0 for nowhere.
    unrest: Cell<u64>,
}

/// What a CPU keeps from frame to frame.
pub struct Own {
    frame: RefCell<Frame>,
    stats: RefCell<[u64; STATS_WORDS]>,
    counters: Table<[u64; COUNTER_WORDS]>,
    endpoints: Table<CpuEndpoint>,
    credit: Table<Credit>,
    rules: Table<RuleState>,
    told: Box<UnsafeCell<Told>>,
    scratch: Box<UnsafeCell<Scratch>>,
}

impl Own {
    /// Returns what a CPU of tables of such sizes has before its first frame.
    #[must_use]
    pub fn new(sizes: Sizes) -> Self {
        let scratch = || Way { to: Default::default(), hop: Hop::default() };
        Self {
            frame: RefCell::new(Frame::new()),
            stats: RefCell::new([0; STATS_WORDS]),
            counters: Table::new(SLOTS),
            endpoints: Table::new(sizes.endpoints as usize),
            credit: Table::new(LIMITER_WAYS),
            rules: Table::new(RULE_NUMBERS),
            told: Box::default(),
            scratch: Box::new(UnsafeCell::new(Scratch {
                mtu: 0,
                tag: 0,
                kind: 0,
                endpoint: 0,
                ticket: Ticket::default(),
                key: Tuple::default(),
                there: scratch(),
                back: scratch(),
                segment: Segment::default(),
                options: Options::default(),
            })),
        }
    }

    /// Returns the words of the statistics.
    #[must_use]
    pub fn stats(&self) -> [u64; STATS_WORDS] {
        *self.stats.borrow()
    }

    /// Returns the counters of a service's slot.
    #[must_use]
    pub fn counters(&self, slot: u32) -> [u64; COUNTER_WORDS] {
        // SAFETY: the CPU handles no frame while it is looked at.
        self.counters.at(slot as usize).map_or([0; COUNTER_WORDS], |words| unsafe { *words })
    }

    /// Returns the counters of an endpoint.
    #[must_use]
    pub fn endpoint_counters(&self, number: u16) -> [u64; COUNTER_WORDS] {
        let found = self.endpoints.at(number.into());
        // SAFETY: as above.
        found.map_or([0; COUNTER_WORDS], |endpoint| unsafe { (*endpoint).counters })
    }
}

impl<'t> Cpu<'t> {
    /// Returns a CPU that has seen no frame.
    #[must_use]
    pub fn new(tables: &'t Tables) -> Self {
        Self::with(tables, Own::new(tables.sizes))
    }

    /// Returns a CPU with what it had kept.
    #[must_use]
    pub fn with(tables: &'t Tables, own: Own) -> Self {
        Self { tables, own, ingress: 0, tag: 0, unrest: Cell::new(0) }
    }

    /// Returns a CPU that lets others go first now and then, wherever it looks at what all share: with
    /// more threads than processors each order of their steps comes up.
    #[must_use]
    pub fn unsettled(tables: &'t Tables, seed: u64) -> Self {
        Self { unrest: Cell::new(seed | 1), ..Self::new(tables) }
    }

    fn falter(&self) {
        let mut state = self.unrest.get();
        if state != 0 {
            // Marsaglia, "Xorshift RNGs", Journal of Statistical Software 8 (2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            self.unrest.set(state);
            if state & 3 == 0 {
                std::thread::yield_now();
            }
        }
    }

    /// Gives back what it keeps.
    #[must_use]
    pub fn into_own(self) -> Own {
        self.own
    }

    /// Returns what it keeps.
    #[must_use]
    pub fn own(&self) -> &Own {
        &self.own
    }

    /// Handles a frame as the XDP programs do; returns where it goes, or why nowhere.
    ///
    /// # Errors
    /// Returns why the frame goes nowhere, which is counted.
    pub fn run(&mut self, bytes: &[u8], ingress: u32, guard: Guard) -> Result<Sent, Reason> {
        self.ingress = ingress;
        self.tag = 0;
        self.own.frame.borrow_mut().put(bytes, guard);
        let mut decided = steer(self);
        for _ in 0..PROGRAMS_MAX {
            match decided {
                Err(Stop::Later(task)) => decided = self.perform(task),
                // Here is no worker that a frame could wait with.
                Ok(Sent::Later) => decided = Err(Stop::For(Reason::OverLimit)),
                Ok(sent) => return Ok(sent),
                Err(Stop::For(reason)) => {
                    self.count(reason as usize);
                    return Err(reason);
                }
            }
        }
        panic!("a frame passed through more than {PROGRAMS_MAX} programs")
    }

    /// Goes on as the task's program does.
    fn perform(&mut self, task: Task) -> Result<Sent, Stop> {
        if task == Task::Tagged {
            if !self.tables.vlans {
                return Err(Stop::For(task.undone()));
            }
            self.tag = take_off(self)?;
        } else {
            // SAFETY: this CPU's, and no other reference to it is held.
            self.tag = unsafe { (*self.own.scratch.get()).tag };
        }
        resume(self, task)
    }

    /// Returns the frame as it is after [`Self::run`].
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        self.own.frame.borrow().bytes().to_vec()
    }
}

impl Machine for Cpu<'_> {
    fn ticks(&self) -> u64 {
        self.tables.ticks()
    }

    unsafe fn exchange(&self, word: *mut u64, old: u64, new: u64) -> u64 {
        self.falter();
        // SAFETY: the caller's word, of a table, which is aligned.
        let word = unsafe { AtomicU64::from_ptr(word) };
        match word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(seen) | Err(seen) => seen,
        }
    }

    unsafe fn publish(&self, word: *mut u64, new: u64) {
        self.falter();
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(word) }.swap(new, Ordering::SeqCst);
    }
}

impl Places for Cpu<'_> {
    fn claims(&self, bucket: u32) -> Option<*const Claims> {
        self.falter();
        self.tables.claims.at(bucket as usize).map(<*mut Claims>::cast_const)
    }

    fn connection(&self, index: u32) -> Option<*mut Connection> {
        self.falter();
        self.tables.connections.at(index as usize)
    }
}

impl<'t> Kernel for Cpu<'t> {
    type Filter = InForce<'t>;

    fn start(&self) -> usize {
        self.own.frame.borrow().start()
    }

    fn end(&self) -> usize {
        self.own.frame.borrow().end()
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn tag(&self) -> u32 {
        self.tag
    }

    fn grow_head(&self, bytes: i32) -> bool {
        self.own.frame.borrow_mut().grow_head(bytes)
    }

    fn grow_tail(&self, bytes: i32) -> bool {
        self.own.frame.borrow_mut().grow_tail(bytes)
    }

    fn ticks_per_second(&self) -> u32 {
        self.tables.ticks_per_second
    }

    fn next_hop(&self, flow: &Tuple) -> Result<Hop, Reason> {
        (self.tables.routes)(flow)
    }

    fn count(&self, word: usize) {
        self.own.stats.borrow_mut()[word] += 1;
    }

    fn set(&self, word: usize, value: u64) {
        self.own.stats.borrow_mut()[word] = value;
    }

    fn clear(&self, word: usize) {
        self.set(word, 0);
    }

    fn get(&self, word: usize) -> u64 {
        self.own.stats.borrow()[word]
    }

    /// Nobody is told of its packets.
    fn sampling(&self) -> u32 {
        0
    }

    fn random(&self) -> u32 {
        0
    }

    fn time(&self) -> u64 {
        0
    }

    fn tell(&self, _event: &FlowEvent) -> bool {
        false
    }

    fn counters(&self, slot: u32) -> Option<*mut [u64; COUNTER_WORDS]> {
        self.own.counters.at(slot as usize)
    }

    fn record(&self, index: u32) -> Option<*const Record> {
        self.tables.config.get(index as usize).map(core::ptr::from_ref)
    }

    fn flows(&self, hash: u64) -> Option<*mut FlowBucket> {
        self.tables.flows.at((hash as u32 & (self.tables.sizes.flow_buckets - 1)) as usize)
    }

    fn endpoint(&self, number: u16) -> Option<*const Endpoint> {
        self.tables.endpoints.at(number.into()).map(<*mut Endpoint>::cast_const)
    }

    fn cpu_endpoint(&self, number: u16) -> Option<*mut CpuEndpoint> {
        self.own.endpoints.at(number.into())
    }

    fn told(&self) -> Option<*mut Told> {
        Some(self.own.told.get())
    }

    fn scratch(&self) -> Option<*mut Scratch> {
        Some(self.own.scratch.get())
    }

    fn claim_mask(&self) -> u32 {
        self.tables.sizes.claim_buckets - 1
    }

    fn connection_seed(&self) -> u64 {
        0x5eed_0fc0_17ec_710e
    }

    fn cookie_key(&self) -> Option<Key> {
        Some(self.tables.cookie_key)
    }

    fn credit(&self, entry: u32) -> Option<*mut Credit> {
        self.own.credit.at(entry as usize)
    }

    fn spent(&self, entry: u32) -> Option<*mut u64> {
        self.tables.spent.at(entry as usize).map(<*mut _>::cast)
    }

    fn filter(&self) -> Option<InForce<'t>> {
        let slots = &self.tables.filter;
        slots.first().map(|_| InForce { slots })
    }

    fn rule(&self, number: u8) -> Option<*mut RuleState> {
        self.own.rules.at(number.into())
    }

    fn exceeded(&self, asked: &Asked) -> Result<u64, Reason> {
        exceeded(self, asked)
    }

    fn take(&self, spot: &Spot, key: &Tuple, clock: Clock) -> u32 {
        take(self, spot, key, clock)
    }
}

impl<'t> Limits for Cpu<'t> {
    type Filter = InForce<'t>;

    fn filter(&self) -> Option<InForce<'t>> {
        Kernel::filter(self)
    }

    fn rule(&self, number: u8) -> Option<*mut RuleState> {
        Kernel::rule(self, number)
    }

    fn spent(&self, number: u8) -> Option<*mut u64> {
        self.tables.rules_spent.at(number.into()).map(<*mut _>::cast)
    }

    fn sources(&self, line: u32) -> Option<*mut SourceLine> {
        self.falter();
        self.tables.sources.at(line as usize)
    }

    fn seed(&self) -> u64 {
        self.connection_seed()
    }
}

/// The packet filter's tables.
pub struct InForce<'t> {
    slots: &'t [Vec<Record>],
}

impl InForce<'_> {
    fn at<T: Layout>(&self, slot: u32, index: u32) -> Option<&T> {
        let chunk = self.slots.get(slot as usize).filter(|chunk| chunk.len() == CHUNK_RECORDS)?;
        // SAFETY: layouts are integers of a record's size, valid for any bytes.
        chunk.get(index as usize).map(|record| unsafe { &*core::ptr::from_ref(record).cast::<T>() })
    }
}

impl filter::Tables for InForce<'_> {
    fn front<T: Layout>(&self, index: u32) -> Option<&T> {
        self.at(0, index)
    }

    fn arena<T: Layout>(&self, index: u32) -> Option<&T> {
        let (slot, within) = filter::place(index);
        self.at(slot, within)
    }
}
