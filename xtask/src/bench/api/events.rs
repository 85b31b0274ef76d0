//! How long after an apply was sent the event streams of all nodes tell of its revision.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lab::latency::Latencies;

use super::{Arguments, Row, Site, closed_loop::rate, service};
use crate::progress::step;

/// The bar for p99 over all nodes.
const P99_MAX_MS: f64 = 100.0;
/// No event takes longer unless it is lost.
const EVENT_MAX: Duration = Duration::from_secs(10);
/// Between two changes: an operator's script at its fastest, not a flood.
const PAUSE: Duration = Duration::from_millis(10);

/// Lines read and not looked at yet: each change is waited for before the next.
const TOLD_MAX: usize = 1_024;

/// A revision that a stream told of, and when.
type Told = (u64, Instant);

pub(super) fn measure(site: &Site, arguments: &Arguments) -> Result<Row> {
    step(format!("{} changes, followed on three nodes", arguments.changes), |_| {
        let streams = (0..site.cluster.members.len())
            .map(|node| follow(site, node))
            .collect::<Result<Vec<_>>>()?;
        let mut api = site.cluster.api(site.follower)?;
        let mut latencies = Latencies::default();
        let (mut count, mut lost) = (0, 0);
        let begin = Instant::now();
        for turn in 0..arguments.changes {
            let sent = Instant::now();
            let (revision, _) = api.apply(&service(site, 0, 10 + turn % 2))?;
            for stream in &streams {
                match at(stream, revision)? {
                    Some(at) => {
                        latencies.add(at.saturating_duration_since(sent));
                        count += 1;
                    }
                    None => lost += 1,
                }
            }
            lab::waiting::pause(PAUSE);
        }
        Ok(Row {
            case: "apply sent to event read, on each node".to_owned(),
            rate: rate(count, begin.elapsed()),
            latency: latencies.percentiles(),
            failures: lost,
            rate_min: None,
            p99_max_ms: Some(P99_MAX_MS),
        })
    })
}

/// Opens a node's stream, and waits until it has begun. Its thread ends with the node.
fn follow(site: &Site, node: usize) -> Result<Receiver<Told>> {
    let (sender, receiver) = sync_channel(TOLD_MAX);
    let api = site.cluster.api(node)?;
    site.cluster.members[node].settings().place.spawn("events", move || {
        let mut reader = Reader { sender, line: Vec::new() };
        // The node's end ends it; what is missing is counted by whom it is missing.
        let _ = api.stream("/v1/events", |bytes| reader.take(bytes));
    })?;
    match receiver.recv_timeout(EVENT_MAX) {
        Ok(_) => Ok(receiver),
        Err(error) => bail!("node {} sends no events: {error}", node + 1),
    }
}

/// When a stream told of a revision; none when it was not told in time.
fn at(stream: &Receiver<Told>, revision: u64) -> Result<Option<Instant>> {
    loop {
        match stream.recv_timeout(EVENT_MAX) {
            Ok((told, at)) if told == revision => return Ok(Some(at)),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(error) => return Err(error).context("a stream of events ended"),
        }
    }
}

/// Splits a stream into lines and tells of the ids in it; of its first line as revision 0.
struct Reader {
    sender: SyncSender<Told>,
    line: Vec<u8>,
}

impl Reader {
    fn take(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let now = Instant::now();
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line);
            let id = line.strip_prefix("id:").map(|id| id.trim().parse());
            let began = line.starts_with(':').then_some(0);
            let told = id.and_then(Result::ok).or(began);
            self.line.clear();
            if let Some(told) = told
                && self.sender.send((told, now)).is_err()
            {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(())
    }
}
