//! Load generators: HTTP requests, long-lived TCP flows, UDP exchanges, WebSockets and downloads,
//! from threads that stand in a place. They count what was sent, what was answered and by whom,
//! and what failed and how; they retry nothing, so that every fault shows.

mod http;
mod long;
mod tcp;
mod udp;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::latency::{Latencies, Percentiles};
use crate::place::Place;
use crate::waiting::wait_for;

pub use long::{Download, WebSocket};

/// Kinds of failure told apart in a report; the rest is summed up as `other`.
const FAILURE_KINDS_MAX: usize = 20;

/// What to send, from where, to whom.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the senders stand.
    pub place: Place,
    /// Whom they send to; each target has `senders` senders.
    pub targets: Vec<SocketAddr>,
    /// Connections, flows or sockets for each target.
    pub senders: usize,
    /// Pause of one sender between two sends.
    pub interval: Duration,
    /// A send that is not answered in this time has failed.
    pub timeout: Duration,
}

impl Plan {
    /// Four senders for each target, a send every 10 ms, 2 s for an answer.
    #[must_use]
    pub fn new(place: &Place, targets: &[SocketAddr]) -> Self {
        Self {
            place: place.clone(),
            targets: targets.to_vec(),
            senders: 4,
            interval: Duration::from_millis(10),
            timeout: Duration::from_secs(2),
        }
    }

    /// Sends HTTP requests over keep-alive connections.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn http(&self, host: &str, path: &str) -> Result<Load> {
        let (host, path) = (host.to_owned(), path.to_owned());
        self.start("http", move |sender| http::run(sender, &host, &path))
    }

    /// Holds TCP flows and exchanges a line on each of them.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn tcp(&self) -> Result<Load> {
        self.start("tcp", tcp::run)
    }

    /// Sends datagrams from sockets that stay, each waiting for its answer.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn udp(&self) -> Result<Load> {
        self.start("udp", udp::run)
    }

    fn start(&self, kind: &str, run: impl Fn(&Sender) + Clone + Send + 'static) -> Result<Load> {
        let load = Load {
            stop: Arc::new(AtomicBool::new(false)),
            tally: Arc::new(Mutex::new(Tally::default())),
            threads: Vec::new(),
        };
        let mut load = load;
        for target in &self.targets {
            for index in 0..self.senders {
                let sender = Sender {
                    target: *target,
                    index,
                    interval: self.interval,
                    timeout: self.timeout,
                    stop: Arc::clone(&load.stop),
                    tally: Arc::clone(&load.tally),
                };
                let run = run.clone();
                let name = format!("{kind}-{index}");
                load.threads.push(self.place.spawn(&name, move || run(&sender))?);
            }
        }
        Ok(load)
    }
}

/// A running generator. Dropping it tells its threads to stop.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// The counts so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.tally.lock().expect("no panic while held").report()
    }

    /// Waits until `count` more sends were answered.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub fn wait_answered(&self, count: u64, limit: Duration) -> Result<()> {
        let goal = self.report().answered + count;
        wait_for(format_args!("{count} more answers"), limit, || self.report().answered >= goal)
            .map_err(|error| error.context(format!("so far: {}", self.report())))
    }

    /// Stops and returns the counts.
    #[must_use]
    pub fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.report()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// What a generator has counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Requests, lines or datagrams sent, those under way left out.
    pub sent: u64,
    /// Those with an answer of any kind.
    pub answered: u64,
    /// Those without one.
    pub failed: u64,
    /// Connections or flows opened.
    pub opened: u64,
    /// Established connections or flows that broke.
    pub broken: u64,
    /// HTTP answers by status.
    pub by_status: BTreeMap<u16, u64>,
    /// Answers by the name of the server.
    pub by_server: BTreeMap<String, u64>,
    /// Failures by their kind.
    pub failures: BTreeMap<String, u64>,
    /// Time to an answer.
    pub latency: Percentiles,
    /// Longest time in which nothing at all was answered.
    pub longest_gap_ms: u64,
}

impl Report {
    /// Sends without an answer, and answers with a status that a healthy path does not give.
    #[must_use]
    pub fn faults(&self) -> u64 {
        let bad: u64 = self.by_status.range(500..).map(|(_, count)| *count).sum();
        self.failed + bad
    }

    /// Answers with one of these statuses.
    #[must_use]
    pub fn with_status(&self, statuses: &[u16]) -> u64 {
        statuses.iter().filter_map(|status| self.by_status.get(status)).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sent {}, answered {}, failed {}", self.sent, self.answered, self.failed)?;
        if self.broken > 0 {
            write!(f, ", broken {} of {}", self.broken, self.opened)?;
        }
        for (status, count) in &self.by_status {
            write!(f, ", {status}: {count}")?;
        }
        for (failure, count) in &self.failures {
            write!(f, ", {failure}: {count}")?;
        }
        let latency = &self.latency;
        write!(f, "; p50 {:.2} ms, p99 {:.2} ms", latency.p50_ms, latency.p99_ms)
    }
}

/// The counts under way.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    report: Report,
    latencies: Latencies,
    last_answer: Option<Instant>,
}

impl Tally {
    fn report(&self) -> Report {
        Report { latency: self.latencies.percentiles(), ..self.report.clone() }
    }

    fn answered(&mut self, latency: Duration, server: Option<&str>, status: Option<u16>) {
        let now = Instant::now();
        if let Some(last) = self.last_answer.replace(now) {
            let gap = u64::try_from((now - last).as_millis()).unwrap_or(u64::MAX);
            self.report.longest_gap_ms = self.report.longest_gap_ms.max(gap);
        }
        self.report.sent += 1;
        self.report.answered += 1;
        self.latencies.add(latency);
        if let Some(status) = status {
            *self.report.by_status.entry(status).or_default() += 1;
        }
        if let Some(server) = server {
            if let Some(count) = self.report.by_server.get_mut(server) {
                *count += 1;
            } else {
                self.report.by_server.insert(server.to_owned(), 1);
            }
        }
    }

    fn failed(&mut self, what: &str) {
        self.report.sent += 1;
        self.report.failed += 1;
        let known = self.report.failures.len() < FAILURE_KINDS_MAX
            || self.report.failures.contains_key(what);
        let kind = if known { what } else { "other" };
        *self.report.failures.entry(kind.to_owned()).or_default() += 1;
    }
}

/// One sending thread's view.
#[derive(Debug)]
pub(crate) struct Sender {
    target: SocketAddr,
    index: usize,
    interval: Duration,
    timeout: Duration,
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
}

impl Sender {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn count(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().expect("no panic while held"));
    }

    fn opened(&self) {
        self.count(|tally| tally.report.opened += 1);
    }

    fn broken(&self) {
        self.count(|tally| tally.report.broken += 1);
    }
}
