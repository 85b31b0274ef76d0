//! Watches when a new HTTP host is served, by polling each node over keep-alive connections. The
//! time counted is when the answer was there, so it includes the request itself and up to one
//! polling interval; the interval that was really kept is measured and reported.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::Place;
use lab::http1::{Connection, Request};
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

#[derive(Debug, Default)]
struct State {
    host: Arc<str>,
    seen: Vec<Option<Instant>>,
    answered: Vec<bool>,
    statuses: BTreeMap<u16, u64>,
    failures: u64,
    gaps: Latencies,
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

    /// Watches for `host` from now on; returns once every target has answered for it, so that the
    /// configuration before is known to be the one that is seen.
    ///
    /// # Errors
    /// When a target does not answer, or serves the host already.
    pub(crate) fn expect(&self, host: &str) -> Result<()> {
        {
            let mut state = self.shared.state.lock().expect("no panic while held");
            state.host = host.into();
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
        let host = Arc::clone(&shared.state.lock().expect("no panic while held").host);
        let gap = last.replace(start).map(|last| start - last);
        let answer = ask(&mut connection, target, &host);
        let at = Instant::now();
        let mut state = shared.state.lock().expect("no panic while held");
        if let Some(gap) = gap {
            state.gaps.add(gap);
        }
        match answer {
            Ok(status) => {
                *state.statuses.entry(status).or_default() += 1;
                // An answer for the host that was watched before says nothing of this one.
                if Arc::ptr_eq(&state.host, &host) {
                    state.answered[index] = true;
                    if status == 200 && state.seen[index].is_none() {
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
) -> std::io::Result<u16> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => {
            let stream = TcpStream::connect_timeout(&target, ANSWER_MAX)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_MAX))?;
            Connection::new(stream)
        }
    };
    let status = open.send(&Request::get(host, "/"))?.head.status;
    if open.is_open() {
        *connection = Some(open);
    }
    Ok(status)
}
