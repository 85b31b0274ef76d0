//! What a watch waits for, and which of its targets have shown it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use lab::waiting::wait_until;

const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Shared by those who look and the one who waits.
#[derive(Debug)]
pub(super) struct Sightings<T> {
    stop: AtomicBool,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    awaited: Arc<T>,
    answered: Vec<bool>,
    seen: Vec<Option<Instant>>,
}

impl<T: Default> Sightings<T> {
    pub(super) fn new(targets: usize) -> Self {
        let (answered, seen) = (vec![false; targets], vec![None; targets]);
        let state = State { awaited: Arc::default(), answered, seen };
        Self { stop: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Waits for something else from now on; returns once every target has answered, so that what
    /// was before is known to be seen.
    ///
    /// # Errors
    /// When a target does not answer, or shows it already.
    pub(super) fn expect(&self, what: T) -> Result<()> {
        {
            let mut state = self.lock();
            state.awaited = Arc::new(what);
            state.answered.fill(false);
            state.seen.fill(None);
        }
        wait_until("every node to answer", ANSWER_MAX, || {
            let state = self.lock();
            ensure!(state.answered.iter().all(|answered| *answered), "{:?}", state.answered);
            Ok(())
        })?;
        ensure!(self.lock().seen.iter().all(Option::is_none), "it is there before it was applied");
        Ok(())
    }

    /// Waits until every target has shown it; returns when each did first.
    ///
    /// # Errors
    /// When `limit` passes.
    pub(super) fn seen(&self, limit: Duration) -> Result<Vec<Instant>> {
        wait_until("every node to show what was applied", limit, || {
            let state = self.lock();
            let seen: Option<Vec<Instant>> = state.seen.iter().copied().collect();
            seen.ok_or_else(|| anyhow!("first seen: {:?}", state.seen))
        })
    }

    /// What a target is to be asked for now.
    pub(super) fn awaited(&self) -> Arc<T> {
        Arc::clone(&self.lock().awaited)
    }

    /// Notes a target's answer, and whether it shows what was asked for. An answer to what was waited
    /// for before says nothing.
    pub(super) fn note(&self, target: usize, asked: &Arc<T>, shows: bool, at: Instant) {
        let mut state = self.lock();
        if Arc::ptr_eq(&state.awaited, asked) {
            state.answered[target] = true;
            if shows && state.seen[target].is_none() {
                state.seen[target] = Some(at);
            }
        }
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("no panic while held")
    }
}
