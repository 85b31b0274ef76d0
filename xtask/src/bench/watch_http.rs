//! Watches when an HTTP host is served, or served by another server, by polling each node over
//! keep-alive connections. The time counted is when the answer was there, so it includes the request
//! itself and up to one polling interval; the interval that was really kept is measured and reported.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::Place;
use lab::http1::{Connection, Head, Request};
use lab::latency::{Latencies, Percentiles};
use lab::waiting::Pacer;

use super::sightings::Sightings;

const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A running watch.
#[derive(Debug)]
pub(crate) struct HttpWatch {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sightings: Sightings<Awaited>,
    counts: Mutex<Counts>,
}

/// What is waited for.
#[derive(Debug, Default)]
struct Awaited {
    host: String,
    /// The server that is to answer; any when absent.
    server: Option<String>,
}

#[derive(Debug, Default)]
struct Counts {
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
        let sightings = Sightings::new(targets.len());
        let shared = Arc::new(Shared { sightings, counts: Mutex::default() });
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
        let server = server.map(str::to_owned);
        let awaited = Awaited { host: host.to_owned(), server };
        self.shared.sightings.expect(awaited).with_context(|| host.to_owned())
    }

    /// Waits until every target serves the host; returns when each did first.
    ///
    /// # Errors
    /// When `limit` passes.
    pub(crate) fn seen(&self, limit: Duration) -> Result<Vec<Instant>> {
        let seen = self.shared.sightings.seen(limit);
        seen.with_context(|| format!("answers by status: {:?}", self.counts().0))
    }

    /// Answers by status, requests without an answer, and the pace of the polls of one connection.
    pub(crate) fn counts(&self) -> (BTreeMap<u16, u64>, u64, Percentiles) {
        let counts = self.shared.counts.lock().expect("no panic while held");
        (counts.statuses.clone(), counts.failures, counts.gaps.percentiles())
    }
}

impl Drop for HttpWatch {
    fn drop(&mut self) {
        self.shared.sightings.stop();
    }
}

fn poll(shared: &Shared, index: usize, target: SocketAddr, interval: Duration) {
    let mut pacer = Pacer::new(interval);
    let mut connection = None;
    let mut last: Option<Instant> = None;
    while !shared.sightings.is_stopped() {
        pacer.turn();
        let start = Instant::now();
        let awaited = shared.sightings.awaited();
        let gap = last.replace(start).map(|last| start - last);
        let answer = ask(&mut connection, target, &awaited.host);
        if let Ok(head) = &answer {
            shared.sightings.note(index, &awaited, awaited.is(head), Instant::now());
        }
        let mut counts = shared.counts.lock().expect("no panic while held");
        if let Some(gap) = gap {
            counts.gaps.add(gap);
        }
        match answer {
            Ok(head) => *counts.statuses.entry(head.status).or_default() += 1,
            Err(_) => counts.failures += 1,
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
