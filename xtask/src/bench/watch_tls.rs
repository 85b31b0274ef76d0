//! Watches when each node presents another certificate, by one whole handshake after the other.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use lab::Place;
use lab::presented::Asker;
use lab::waiting::{Pacer, wait_until};

const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A running watch.
#[derive(Debug)]
pub(super) struct TlsWatch {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    host: String,
    stop: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    awaited: Arc<Vec<u8>>,
    answered: Vec<bool>,
    seen: Vec<Option<Instant>>,
    failures: u64,
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
        let state = State {
            answered: vec![false; targets.len()],
            seen: vec![None; targets.len()],
            ..State::default()
        };
        let shared = Shared {
            host: host.to_owned(),
            stop: AtomicBool::new(false),
            state: Mutex::new(state),
        };
        let shared = Arc::new(shared);
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
        {
            let mut state = self.shared.state.lock().expect("no panic while held");
            state.awaited = Arc::new(der.to_vec());
            state.answered.fill(false);
            state.seen.fill(None);
        }
        wait_until("every node to show a certificate", ANSWER_MAX, || {
            let state = self.shared.state.lock().expect("no panic while held");
            ensure!(state.answered.iter().all(|answered| *answered), "{:?}", state.answered);
            Ok(())
        })?;
        let state = self.shared.state.lock().expect("no panic while held");
        ensure!(state.seen.iter().all(Option::is_none), "it is presented before it was applied");
        Ok(())
    }

    /// Waits until every target presents it; returns when each did first.
    ///
    /// # Errors
    /// When `limit` passes.
    pub(super) fn seen(&self, limit: Duration) -> Result<Vec<Instant>> {
        wait_until("every node to present the certificate", limit, || {
            let state = self.shared.state.lock().expect("no panic while held");
            let seen: Option<Vec<Instant>> = state.seen.iter().copied().collect();
            seen.ok_or_else(|| anyhow!("seen: {:?}", state.seen))
        })
    }

    /// Handshakes that failed.
    pub(super) fn failures(&self) -> u64 {
        self.shared.state.lock().expect("no panic while held").failures
    }
}

impl Drop for TlsWatch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

fn poll(shared: &Shared, asker: &Asker, index: usize, target: SocketAddr, interval: Duration) {
    let mut pacer = Pacer::new(interval);
    while !shared.stop.load(Ordering::Relaxed) {
        pacer.turn();
        let awaited = Arc::clone(&shared.state.lock().expect("no panic while held").awaited);
        let shown = asker.ask(target, &shared.host, ANSWER_MAX);
        let at = Instant::now();
        let mut state = shared.state.lock().expect("no panic while held");
        match shown {
            Ok(shown) if Arc::ptr_eq(&state.awaited, &awaited) => {
                state.answered[index] = true;
                if shown == *awaited && state.seen[index].is_none() {
                    state.seen[index] = Some(at);
                }
            }
            Ok(_) => {}
            Err(_) => state.failures += 1,
        }
    }
}
