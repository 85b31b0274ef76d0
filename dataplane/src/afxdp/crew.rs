//! The workers of all queues: starts them where something is to wait, restarts those that fail, and
//! ends them.
//!
//! A worker that fails is tried again after a pause that doubles, for ever: meanwhile its queue has
//! no socket, so XDP drops what is over a limit and says so.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use runtime::chain::chain;

use super::{
    memory,
    placement::Post,
    priority::Priority,
    shape::Shape,
    socket::{FRAMES, Site, XdpSocket},
    tally::Tally,
    words::SharedWords,
    worker::{Orders, Shared, Worker},
};

/// Packets of a worker's memory that are left for those on their way in and out.
const SPARE: usize = FRAMES / 4;
/// The first and the longest pause before a worker is tried again.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);
/// A worker that ran for so long begins with the first pause again.
const STEADY: Duration = Duration::from_secs(60);

/// What is said of a worker that has not begun yet, and how long it may take.
const STARTS: &str = "it starts";
const START_WITHIN: Duration = Duration::from_secs(3);

/// How a worker is: running, or why not.
type Standing = Arc<(Mutex<Option<String>>, Condvar)>;

/// The workers.
#[derive(Debug)]
pub struct Crew {
    words: Arc<SharedWords>,
    orders: Arc<Orders>,
    ticks_per_s: u32,
    priority: Priority,
    /// By interface and queue.
    members: BTreeMap<(String, u32), Member>,
    /// Counts of packets with workers that nobody holds, at the last look.
    suspects: BTreeMap<u32, u64>,
}

#[derive(Debug)]
struct Member {
    post: Post,
    ifindex: u32,
    shared: Shared,
    standing: Standing,
    thread: Option<JoinHandle<()>>,
}

impl Crew {
    /// A crew without workers. What was with those of an earlier process is gone.
    #[must_use]
    pub fn new(words: SharedWords, ticks_per_s: u32, priority: Priority) -> Self {
        for lane in 0..ebpf_common::qos::LIMITER_WAYS as u32 {
            words.forget(lane, words.pending(lane));
        }
        let (words, orders) = (Arc::new(words), Arc::default());
        let (members, suspects) = (BTreeMap::new(), BTreeMap::new());
        Self { words, orders, ticks_per_s, priority, members, suspects }
    }

    /// Tells the workers how packets wait.
    pub fn shape(&mut self, shapes: BTreeMap<u32, Shape>) {
        self.orders.give(shapes);
    }

    /// Tells whether anything is to wait.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !self.orders.get().is_empty()
    }

    /// Has a worker at each post, with the interface's number, and none elsewhere; returns when they
    /// run or have failed. `sockets` gives the map where their sockets are put.
    ///
    /// # Errors
    /// Returns that the map is not to be had, or a thread.
    pub fn staff(
        &mut self,
        posts: &[(Post, u32)],
        sockets: impl Fn() -> std::io::Result<OwnedFd>,
    ) -> std::io::Result<()> {
        // Where interrupts fall may change: that moves no worker.
        let stays = |(interface, queue): &(String, u32), member: &Member| {
            posts.iter().any(|(post, ifindex)| {
                (&post.interface, post.queue, *ifindex) == (interface, *queue, member.ifindex)
            })
        };
        let (staying, leaving): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.members).into_iter().partition(|(at, m)| stays(at, m));
        self.members = staying;
        leaving.values().for_each(Member::stop);
        drop(leaving);
        for (post, ifindex) in posts {
            let at = (post.interface.clone(), post.queue);
            if !self.members.contains_key(&at) {
                let member = self.start(post, *ifindex, sockets()?)?;
                self.members.insert(at, member);
            }
        }
        self.members.values().for_each(Member::wait_for_start);
        Ok(())
    }

    fn start(&self, post: &Post, ifindex: u32, sockets: OwnedFd) -> std::io::Result<Member> {
        let shared = Shared {
            orders: self.orders.clone(),
            words: self.words.clone(),
            queue: post.queue,
            held: Arc::default(),
            tally: Arc::default(),
            stop: Arc::new(AtomicBool::new(false)),
        };
        let standing: Standing = Arc::new((Mutex::new(Some(STARTS.to_owned())), Condvar::new()));
        let (own, told, at) = (shared.clone(), standing.clone(), post.clone());
        let (ticks_per_s, priority) = (self.ticks_per_s, self.priority);
        let name = format!("wait-{}-{}", post.interface, post.queue);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            // For good: what it starts with stays.
            let (priority, refused) = priority.take();
            if let Some(error) = refused {
                tracing::warn!(interface = at.interface, queue = at.queue, %error,
                    "worker has no real-time priority");
            }
            own.tally.lock().unwrap_or_else(PoisonError::into_inner).priority = priority;
            keep_working(&at, ifindex, &sockets, &own, &told, ticks_per_s);
        })?;
        Ok(Member { post: post.clone(), ifindex, shared, standing, thread: Some(thread) })
    }

    /// Corrects counts of packets with workers that nobody holds, such as those that a full ring
    /// lost: a count that stays the same from one look to the next.
    pub fn look(&mut self) {
        let mut suspects = BTreeMap::new();
        for lane in self.orders.get().keys() {
            let pending = self.words.pending(*lane);
            let held: u32 = self.members.values().map(|m| m.shared.held.count(*lane)).sum();
            if pending == 0 || held > 0 {
                continue;
            }
            if self.suspects.get(lane) == Some(&pending) {
                self.words.forget(*lane, pending);
            } else {
                suspects.insert(*lane, pending);
            }
        }
        self.suspects = suspects;
    }

    /// Says which workers do not run, and why.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for member in self.members.values() {
            let post = &member.post;
            if let Some(reason) = &*reason(&member.standing) {
                problems
                    .push(format!("worker of {} queue {}: {reason}", post.interface, post.queue));
            }
        }
        problems
    }

    /// Returns what the workers have done, by post.
    pub fn tallies(&self) -> impl Iterator<Item = (&Post, bool, Tally)> {
        self.members.values().map(|member| {
            let runs = reason(&member.standing).is_none();
            let tally = member.shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
            (&member.post, runs, tally.clone())
        })
    }

    /// Returns the shapes in force.
    #[must_use]
    pub fn shapes(&self) -> Arc<BTreeMap<u32, Shape>> {
        self.orders.get()
    }

    /// Says of which queues the interrupt falls on another NUMA node than the worker's.
    #[must_use]
    pub fn astray(&self) -> Vec<String> {
        let posts = self.members.values().map(|member| &member.post);
        posts
            .filter(|post| !post.astray.is_empty())
            .map(|post| {
                format!(
                    "interrupts of {} queue {} fall on CPUs {:?}, on another NUMA node than the \
                     interface: move them, see `marchproxy doctor`",
                    post.interface, post.queue, post.astray
                )
            })
            .collect()
    }
}

impl Member {
    /// Waits until it runs or tells why it does not.
    fn wait_for_start(&self) {
        let starts = |reason: &mut Option<String>| reason.as_deref() == Some(STARTS);
        let told = self.standing.1.wait_timeout_while(reason(&self.standing), START_WITHIN, starts);
        drop(told.unwrap_or_else(PoisonError::into_inner));
    }

    fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            // It catches its panics.
            let _ended = thread.join();
        }
    }
}

/// Works until told to stop, again after each failure.
fn keep_working(
    post: &Post,
    ifindex: u32,
    sockets: &OwnedFd,
    shared: &Shared,
    standing: &Standing,
    ticks_per_s: u32,
) {
    let mut pause = RETRY_FIRST;
    loop {
        let began = Instant::now();
        let worked = catch_unwind(AssertUnwindSafe(|| {
            work(post, ifindex, sockets, shared, standing, ticks_per_s)
        }));
        // What it held is lost, and counted no more.
        shared.held.clear();
        let why = match worked {
            Ok(Ok(())) => return,
            Ok(Err(error)) => chain(&*error),
            Err(_) => "it failed within".to_owned(),
        };
        tracing::warn!(
            interface = post.interface,
            queue = post.queue,
            reason = why,
            "worker ended"
        );
        set(standing, Some(why));
        if began.elapsed() >= STEADY {
            pause = RETRY_FIRST;
        }
        let until = Instant::now() + pause;
        // Who stops it wakes it.
        while Instant::now() < until {
            if shared.stop.load(Ordering::Acquire) {
                return;
            }
            std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
        pause = (2 * pause).min(RETRY_LONGEST);
    }
}

fn work(
    post: &Post,
    ifindex: u32,
    sockets: &OwnedFd,
    shared: &Shared,
    standing: &Standing,
    ticks_per_s: u32,
) -> Result<(), Box<dyn std::error::Error>> {
    memory::settle(&post.cpus)?;
    let site = Site { interface: &post.interface, ifindex, queue: post.queue, node: post.node };
    let socket = XdpSocket::open(site, sockets.as_fd())?;
    tracing::info!(interface = post.interface, queue = post.queue, cpus = ?post.cpus, "worker runs");
    set(standing, None);
    Worker::new(socket, shared.clone(), ticks_per_s, FRAMES - SPARE).run();
    Ok(())
}

fn set(standing: &Standing, told: Option<String>) {
    *reason(standing) = told;
    standing.1.notify_all();
}

fn reason(standing: &Standing) -> MutexGuard<'_, Option<String>> {
    standing.0.lock().unwrap_or_else(PoisonError::into_inner)
}
