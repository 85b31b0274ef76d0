//! Watches when an HTTP host is served, or served by another server, by polling each node over
//! keep-alive connections. The
//! time counted is when the answer was there, so it includes the request itself and up to one
//! polling interval; the interval that was really kept is measured and reported.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::Place;
use lab::http1::{Connection, Head, Request};
use lab::latency::{Latencies, Percentiles};
use lab::waiting::{Pacer, wait_until};

const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A running watch.
#[derive(Debug)]
pub(crate) struct HttpWatch {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    state: Mutex<State>,
}

/// What is waited for.
#[derive(Debug, Default)]
struct Awaited {
    host: String,
    /// The server that is to answer; any when absent.
    server: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    awaited: Arc<Awaited>,
    seen: Vec<Option<Instant>>,
    answered: Vec<bool>,
    statuses: BTreeMap<u16, u64>,
    failures: u64,
    gaps: Latencies,
}

impl Awaited {
    fn is(&self, head: &Head) -> bool {
        head.status == 200
            && self.server.as_deref().is_none_or(|server| head.header("x-server") == Some(server))
    }
}

impl HttpWatch {
    /// Polls each target from `place`, over `connections` connections each.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn start(
        place: &Place,
        targets: &[SocketAddr],
        connections: usize,
        interval: Duration,
    ) -> Result<Self> {
        let state = State {
            seen: vec![None; targets.len()],
            answered: vec![false; targets.len()],
            ..State::default()
        };
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), state: Mutex::new(state) });
        for (index, target) in targets.iter().copied().enumerate() {
            for _ in 0..connections {
                let shared = Arc::clone(&shared);
                place.spawn("watch", move || poll(&shared, index, target, interval))?;
            }
        }
        Ok(Self { shared })
    }

    /// Watches for `host`, served by `server` where one is named, from now on; returns once every
    /// target has answered for it, so that the configuration before is known to be the one that is
    /// seen.
    ///
    /// # Errors
    /// When a target does not answer, or what is waited for is there already.
    pub(crate) fn expect(&self, host: &str, server: Option<&str>) -> Result<()> {
        {
            let mut state = self.shared.state.lock().expect("no panic while held");
            let server = server.map(str::to_owned);
            state.awaited = Arc::new(Awaited { host: host.to_owned(), server });
            state.seen.fill(None);
            state.answered.fill(false);
        }
        wait_until("every node to answer", ANSWER_MAX, || {
            let state = self.shared.state.lock().expect("no panic while held");
            ensure!(
                state.answered.iter().all(|answered| *answered),
                "not yet: {:?}",
                state.answered
            );
            Ok(())
        })?;
        let state = self.shared.state.lock().expect("no panic while held");
        ensure!(state.seen.iter().all(Option::is_none), "{host} is served before it was applied");
        Ok(())
    }

    /// Waits until every target serves the host; returns when each did first.
    ///
    /// # Errors
    /// When `limit` passes.
    pub(crate) fn seen(&self, limit: Duration) -> Result<Vec<Instant>> {
        wait_until("every node to serve the new host", limit, || {
            let state = self.shared.state.lock().expect("no panic while held");
            let seen: Option<Vec<Instant>> = state.seen.iter().copied().collect();
            seen.ok_or_else(|| {
                let missing: Vec<usize> =
                    (0..state.seen.len()).filter(|index| state.seen[*index].is_none()).collect();
                anyhow::anyhow!(
                    "not on the nodes at positions {missing:?}; answers {:?}",
                    state.statuses
                )
            })
        })
    }

    /// Answers by status, requests without an answer, and the pace of the polls of one connection.
    pub(crate) fn counts(&self) -> (BTreeMap<u16, u64>, u64, Percentiles) {
        let state = self.shared.state.lock().expect("no panic while held");
        (state.statuses.clone(), state.failures, state.gaps.percentiles())
    }
}

impl Drop for HttpWatch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

fn poll(shared: &Shared, index: usize, target: SocketAddr, interval: Duration) {
    let mut pacer = Pacer::new(interval);
    let mut connection = None;
    let mut last: Option<Instant> = None;
    while !shared.stop.load(Ordering::Relaxed) {
        pacer.turn();
        let start = Instant::now();
        let awaited = Arc::clone(&shared.state.lock().expect("no panic while held").awaited);
        let gap = last.replace(start).map(|last| start - last);
        let answer = ask(&mut connection, target, &awaited.host);
        let at = Instant::now();
        let mut state = shared.state.lock().expect("no panic while held");
        if let Some(gap) = gap {
            state.gaps.add(gap);
        }
        match answer {
            Ok(head) => {
                *state.statuses.entry(head.status).or_default() += 1;
                // An answer to what was watched before says nothing of this.
                if Arc::ptr_eq(&state.awaited, &awaited) {
                    state.answered[index] = true;
                    if awaited.is(&head) && state.seen[index].is_none() {
                        state.seen[index] = Some(at);
                    }
                }
            }
            Err(_) => state.failures += 1,
        }
    }
}

fn ask(
    connection: &mut Option<Connection<TcpStream>>,
    target: SocketAddr,
    host: &str,
) -> std::io::Result<Head> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => {
            let stream = TcpStream::connect_timeout(&target, ANSWER_MAX)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_MAX))?;
            Connection::new(stream)
        }
    };
    let head = open.send(&Request::get(host, "/"))?.head;
    if open.is_open() {
        *connection = Some(open);
    }
    Ok(head)
}
