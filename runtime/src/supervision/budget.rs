//! How many restarts within how much time, and how long to wait before each. Pure: `now` comes in.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// At most `max_restarts` within any span of `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartBudget {
    /// Restarts that are granted within the window; zero grants none.
    pub max_restarts: u32,
    /// The window, which slides.
    pub window: Duration,
}

impl Default for RestartBudget {
    /// Ten in a minute: with the default backoff a child that dies at once is given up after some
    /// twenty seconds, one that dies every ten seconds lives on.
    fn default() -> Self {
        Self { max_restarts: 10, window: Duration::from_secs(60) }
    }
}

/// The budget does not grant another restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{max_restarts} restarts within {window:?} are used up")]
pub struct BudgetExhausted {
    /// What was granted.
    pub max_restarts: u32,
    /// Within which time.
    pub window: Duration,
}

/// The restarts of one child, as far as its budget looks back.
#[derive(Debug, Clone)]
pub struct RestartHistory {
    budget: RestartBudget,
    /// Oldest first; never longer than `max_restarts`.
    restarts: VecDeque<Instant>,
}

impl RestartHistory {
    /// A child that was not restarted yet.
    #[must_use]
    pub fn new(budget: RestartBudget) -> Self {
        Self { budget, restarts: VecDeque::new() }
    }

    /// Takes one restart off the budget and returns how many the window holds with it.
    ///
    /// A restart leaves the window when it is `window` or more in the past.
    ///
    /// # Errors
    /// The window is full; the history is unchanged then.
    pub fn spend(&mut self, now: Instant) -> Result<u32, BudgetExhausted> {
        while self.restarts.front().is_some_and(|oldest| self.is_past(*oldest, now)) {
            self.restarts.pop_front();
        }
        let used = u32::try_from(self.restarts.len()).expect("bounded by max_restarts");
        if used >= self.budget.max_restarts {
            let RestartBudget { max_restarts, window } = self.budget;
            return Err(BudgetExhausted { max_restarts, window });
        }
        self.restarts.push_back(now);
        Ok(used + 1)
    }

    fn is_past(&self, restart: Instant, now: Instant) -> bool {
        now.saturating_duration_since(restart) >= self.budget.window
    }
}

/// The wait before a restart: `first`, doubled for each restart in the window, at most `most`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Wait before the first restart.
    pub first: Duration,
    /// Greatest wait.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(50), most: Duration::from_secs(5) }
    }
}

impl Backoff {
    /// The wait before the `nth` restart of the window, counted from 1.
    #[must_use]
    pub fn delay(&self, nth: u32) -> Duration {
        let factor = 1u32.checked_shl(nth.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn granted(max_restarts: u32, window_ms: u64, at_ms: &[u64]) -> Vec<bool> {
        let budget = RestartBudget { max_restarts, window: Duration::from_millis(window_ms) };
        let (mut history, start) = (RestartHistory::new(budget), Instant::now());
        at_ms.iter().map(|ms| history.spend(start + Duration::from_millis(*ms)).is_ok()).collect()
    }

    #[test]
    fn a_window_grants_its_number_and_slides() {
        assert_eq!(granted(0, 10, &[0, 100]), [false, false]);
        assert_eq!(granted(1, 10, &[0, 9, 10, 19, 20]), [true, false, true, false, true]);
        assert_eq!(granted(2, 10, &[0, 5, 9, 10, 11, 15]), [true, true, false, true, false, true]);
    }

    /// All sequences of up to eight restarts at times 0..6 against the definition: granted exactly
    /// when fewer than `max` granted ones lie within the window before it.
    #[test]
    fn every_short_sequence_agrees_with_the_definition() {
        for max in 0..4u32 {
            for window in 1..5u64 {
                for code in 0..6usize.pow(5) {
                    let mut steps: Vec<u64> =
                        (0..5).map(|n| (code / 6usize.pow(n) % 6) as u64).collect();
                    steps.sort_unstable();
                    let mut reference: Vec<u64> = Vec::new();
                    let expected: Vec<bool> = steps
                        .iter()
                        .map(|at| {
                            let inside = reference.iter().filter(|r| at - **r < window).count();
                            let grant = inside < max as usize;
                            if grant {
                                reference.push(*at);
                            }
                            grant
                        })
                        .collect();
                    assert_eq!(granted(max, window, &steps), expected, "{max} {window} {steps:?}");
                }
            }
        }
    }

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let backoff =
            Backoff { first: Duration::from_millis(50), most: Duration::from_millis(300) };
        let ms: Vec<u128> = (0..6).map(|n| backoff.delay(n).as_millis()).collect();
        assert_eq!(ms, [50, 50, 100, 200, 300, 300]);
        assert_eq!(backoff.delay(u32::MAX), backoff.most);
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_its_number(
            max in 1u32..5,
            window in 1u64..50,
            mut at in prop::collection::vec(0u64..200, 0..60),
        ) {
            at.sort_unstable();
            let grants = granted(max, window, &at);
            let taken: Vec<u64> =
                at.iter().zip(&grants).filter(|(_, grant)| **grant).map(|(at, _)| *at).collect();
            for from in &taken {
                let inside = taken.iter().filter(|t| *t >= from && **t - from < window).count();
                prop_assert!(inside <= max as usize);
            }
        }
    }
}
