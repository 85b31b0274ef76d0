//! Whether an endpoint counts as healthy, from one probe's outcome to the next. Pure.
//!
//! ```text
//!            success              failure x unhealthy_threshold
//! Unknown ───────────▶ Healthy ─────────────────────────────────▶ Unhealthy
//!    │  (counts as        ▲                                           │
//!    │    healthy)        └──────── success x healthy_threshold ──────┘
//!    └───────────── failure x unhealthy_threshold ───────────────────▶│
//! ```
//! An endpoint that is not known yet counts as healthy: a new node or a new service must not begin
//! by refusing traffic.

/// Outcomes in a row that change the health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thresholds {
    /// Failures that make an endpoint unhealthy, at least 1.
    pub(super) unhealthy: u32,
    /// Successes that make it healthy again, at least 1.
    pub(super) healthy: u32,
}

/// What is known of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// No probe decided yet; with failures in a row so far.
    Unknown { failures: u32 },
    /// It serves; with failures in a row so far, below the threshold.
    Healthy { failures: u32 },
    /// It does not; with successes in a row so far, below the threshold.
    Unhealthy { successes: u32 },
}

impl Health {
    /// What a target begins with, given what was known before it was restarted.
    pub(super) fn begin(known: Option<bool>) -> Self {
        match known {
            None => Self::Unknown { failures: 0 },
            Some(true) => Self::Healthy { failures: 0 },
            Some(false) => Self::Unhealthy { successes: 0 },
        }
    }

    /// Whether it counts as healthy.
    pub(super) fn counts_as_healthy(self) -> bool {
        !matches!(self, Self::Unhealthy { .. })
    }

    /// What is known after one more outcome.
    #[must_use]
    pub(super) fn after(self, success: bool, thresholds: Thresholds) -> Self {
        match (self, success) {
            (Self::Unknown { .. } | Self::Healthy { .. }, true) => Self::Healthy { failures: 0 },
            (Self::Unknown { failures }, false) if failures + 1 < thresholds.unhealthy => {
                Self::Unknown { failures: failures + 1 }
            }
            (Self::Healthy { failures }, false) if failures + 1 < thresholds.unhealthy => {
                Self::Healthy { failures: failures + 1 }
            }
            (Self::Unknown { .. } | Self::Healthy { .. }, false) => {
                Self::Unhealthy { successes: 0 }
            }
            (Self::Unhealthy { successes }, true) if successes + 1 < thresholds.healthy => {
                Self::Unhealthy { successes: successes + 1 }
            }
            (Self::Unhealthy { .. }, true) => Self::Healthy { failures: 0 },
            (Self::Unhealthy { .. }, false) => Self::Unhealthy { successes: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THREE_TWO: Thresholds = Thresholds { unhealthy: 3, healthy: 2 };

    #[test]
    fn every_transition() {
        use Health::{Healthy, Unhealthy, Unknown};
        let check = |from: Health, success: bool, to: Health| {
            assert_eq!(from.after(success, THREE_TWO), to, "{from:?} {success}");
        };
        for failures in 0..3 {
            check(Unknown { failures }, true, Healthy { failures: 0 });
            check(Healthy { failures }, true, Healthy { failures: 0 });
        }
        check(Unknown { failures: 0 }, false, Unknown { failures: 1 });
        check(Unknown { failures: 1 }, false, Unknown { failures: 2 });
        check(Unknown { failures: 2 }, false, Unhealthy { successes: 0 });
        check(Healthy { failures: 0 }, false, Healthy { failures: 1 });
        check(Healthy { failures: 1 }, false, Healthy { failures: 2 });
        check(Healthy { failures: 2 }, false, Unhealthy { successes: 0 });
        check(Unhealthy { successes: 0 }, true, Unhealthy { successes: 1 });
        check(Unhealthy { successes: 1 }, true, Healthy { failures: 0 });
        check(Unhealthy { successes: 0 }, false, Unhealthy { successes: 0 });
        check(Unhealthy { successes: 1 }, false, Unhealthy { successes: 0 });
    }

    #[test]
    fn what_was_known_survives_a_restart_of_the_target() {
        assert!(Health::begin(None).counts_as_healthy());
        assert!(Health::begin(Some(true)).counts_as_healthy());
        assert!(!Health::begin(Some(false)).counts_as_healthy());
    }

    proptest! {
        /// Against the definition, over the whole past: the health is that of the last run of
        /// outcomes long enough to decide.
        #[test]
        fn health_follows_the_last_deciding_run(
            outcomes in prop::collection::vec(any::<bool>(), 0..60),
            unhealthy in 1_u32..5,
            healthy in 1_u32..5,
        ) {
            let thresholds = Thresholds { unhealthy, healthy };
            let (mut state, mut model, mut run) = (Health::begin(None), true, (true, 0_u32));
            for success in outcomes {
                state = state.after(success, thresholds);
                run = if run.0 == success { (success, run.1 + 1) } else { (success, 1) };
                if success && run.1 >= healthy {
                    model = true;
                } else if !success && run.1 >= unhealthy {
                    model = false;
                }
                prop_assert_eq!(state.counts_as_healthy(), model);
            }
        }
    }
}
