//! Watches when each node presents another certificate, by one whole handshake after the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::Place;
use lab::presented::Asker;
use lab::waiting::Pacer;

use super::sightings::Sightings;

const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A running watch.
#[derive(Debug)]
pub(super) struct TlsWatch {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    host: String,
    /// Certificates in DER.
    sightings: Sightings<Vec<u8>>,
    failures: AtomicU64,
}

impl TlsWatch {
    /// Asks each target from `place` for the certificate of a host, once an interval.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn start(
        place: &Place,
        targets: &[SocketAddr],
        host: &str,
        interval: Duration,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            host: host.to_owned(),
            sightings: Sightings::new(targets.len()),
            failures: AtomicU64::new(0),
        });
        let asker = Asker::new()?;
        for (index, target) in targets.iter().copied().enumerate() {
            let (shared, asker) = (Arc::clone(&shared), asker.clone());
            place.spawn("watch", move || poll(&shared, &asker, index, target, interval))?;
        }
        Ok(Self { shared })
    }

    /// Watches for a certificate from now on; returns once every target has shown another.
    ///
    /// # Errors
    /// When a target does not answer, or presents it already.
    pub(super) fn expect(&self, der: &[u8]) -> Result<()> {
        self.shared.sightings.expect(der.to_vec())
    }

    /// Waits until every target presents it; returns when each did first.
    ///
    /// # Errors
    /// When `limit` passes.
    pub(super) fn seen(&self, limit: Duration) -> Result<Vec<Instant>> {
        self.shared.sightings.seen(limit)
    }

    /// Handshakes that failed.
    pub(super) fn failures(&self) -> u64 {
        self.shared.failures.load(Ordering::Relaxed)
    }
}

impl Drop for TlsWatch {
    fn drop(&mut self) {
        self.shared.sightings.stop();
    }
}

fn poll(shared: &Shared, asker: &Asker, index: usize, target: SocketAddr, interval: Duration) {
    let mut pacer = Pacer::new(interval);
    while !shared.sightings.is_stopped() {
        pacer.turn();
        let awaited = shared.sightings.awaited();
        match asker.ask(target, &shared.host, ANSWER_MAX) {
            Ok(shown) => shared.sightings.note(index, &awaited, shown == *awaited, Instant::now()),
            Err(_) => {
                shared.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
