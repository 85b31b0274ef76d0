//! Waiting for a condition with a deadline, and pacing. The only file of the laboratory that
//! sleeps: everything else states what it waits for.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// How often a condition is looked at. Short enough not to blur a measurement of tens of
/// milliseconds, long enough not to take a core from what is measured.
const POLL: Duration = Duration::from_millis(10);

/// Lets time pass, to pace a sender or a poll. Never a substitute for waiting on a condition.
#[expect(clippy::disallowed_methods, reason = "the one place where pacing is done")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Repeats `probe` until it answers `Ok` or `limit` has passed.
///
/// # Errors
/// After `limit`: what was waited for, for how long, and the last error of the probe.
pub fn wait_until<T>(
    what: impl Display,
    limit: Duration,
    mut probe: impl FnMut() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() >= limit => {
                return Err(error.context(format!("waited {limit:?} for {what}")));
            }
            Err(_) => pause(POLL),
        }
    }
}

/// As [`wait_until`], for a plain condition.
///
/// # Errors
/// When the condition did not come true within `limit`.
pub fn wait_for(
    what: impl Display,
    limit: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    wait_until(&what, limit, || if condition() { Ok(()) } else { Err(anyhow!("not yet")) })
}

/// Calls at a steady rate: a late turn does not shift the ones after it, and a long stall is not
/// made up for by a burst.
#[derive(Debug)]
pub struct Pacer {
    interval: Duration,
    next: Instant,
}

impl Pacer {
    /// A pacer whose first turn is due at once.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, next: Instant::now() }
    }

    /// Returns when the next turn is due.
    pub fn turn(&mut self) {
        let now = Instant::now();
        if self.next > now {
            pause(self.next - now);
        } else if now - self.next > self.interval * 4 {
            self.next = now;
        }
        self.next += self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_comes_names_itself_and_its_last_error() {
        let error = wait_until("the moon", Duration::from_millis(30), || {
            Err::<(), _>(anyhow!("still below the horizon"))
        })
        .unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("the moon") && text.contains("below the horizon"), "{text}");
    }

    #[test]
    fn a_pacer_keeps_its_rate() {
        let start = Instant::now();
        let mut pacer = Pacer::new(Duration::from_millis(5));
        for _ in 0..11 {
            pacer.turn();
        }
        assert!(start.elapsed() >= Duration::from_millis(50));
    }
}
