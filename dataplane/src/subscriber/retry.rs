//! Which control node to try next, and when. Pure; the jitter comes in.

use std::{net::SocketAddr, time::Duration};

/// Wait after the first failure.
const FIRST: Duration = Duration::from_millis(100);

/// Greatest wait: a control node that comes back is found within this time.
const MOST: Duration = Duration::from_secs(3);

/// The plan of tries over a list of control nodes.
#[derive(Debug)]
pub(super) struct Retry {
    addresses: Vec<SocketAddr>,
    next: usize,
    /// Failures since the last session.
    failures: u32,
}

impl Retry {
    /// Begins with the first address. The list must not be empty.
    pub(super) fn new(addresses: Vec<SocketAddr>) -> Self {
        assert!(!addresses.is_empty(), "a data plane without control addresses");
        Self { addresses, next: 0, failures: 0 }
    }

    /// The address to try.
    pub(super) fn address(&self) -> SocketAddr {
        self.addresses[self.next]
    }

    /// Notes a session that was greeted: the next failure is a first one again.
    pub(super) fn greeted(&mut self) {
        self.failures = 0;
    }

    /// Moves on to the next address and gives the wait before it. `jitter` in [0, 1) spreads the
    /// wait over the upper half of its range, so that planes do not come back in step.
    ///
    /// Each address is tried once before any wait grows.
    pub(super) fn failed(&mut self, jitter: f64) -> Duration {
        self.next = (self.next + 1) % self.addresses.len();
        let rounds = self.failures / u32::try_from(self.addresses.len()).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let whole = FIRST.saturating_mul(1u32.checked_shl(rounds).unwrap_or(u32::MAX)).min(MOST);
        whole.mul_f64(0.5 + jitter / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn addresses_take_turns_and_the_wait_grows_by_rounds_up_to_its_bound() {
        let mut retry = Retry::new(vec![address(1), address(2)]);
        let mut seen = Vec::new();
        for _ in 0..14 {
            let port = retry.address().port();
            seen.push((port, retry.failed(1.0).as_millis()));
        }
        let waits = [100, 200, 400, 800, 1600, 3000, 3000];
        let expected: Vec<_> = waits.iter().flat_map(|ms| [(1, *ms), (2, *ms)]).collect();
        assert_eq!(seen, expected);
        assert_eq!(retry.failed(0.0).as_millis(), 1500);
        retry.greeted();
        assert_eq!(retry.failed(0.0).as_millis(), 50);
    }
}
