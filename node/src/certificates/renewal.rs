//! When a certificate is due.

use std::time::{Duration, SystemTime};

use runtime::identity::Validity;

/// How long the certificates of nodes are valid: thirty days, renewed in the last third, so that an
/// operator has ten days to repair what hinders a renewal.
///
/// No flag sets it: the only reason for another one is a test that lives through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(Duration);

/// The share of its life that a certificate has left when it is renewed.
const LEFT: u32 = 3;
/// How often in its life it is looked whether a certificate is due: once an hour in thirty days.
const LOOKS: u32 = 720;

impl Lifetime {
    /// Another lifetime than the default. Certificates count in whole seconds.
    #[must_use]
    pub const fn new(lifetime: Duration) -> Self {
        Self(lifetime)
    }

    /// The validity of a certificate that is issued at `now`.
    pub(crate) fn validity(self, now: SystemTime) -> Validity {
        Validity { from: now, lifetime: self.0 }
    }

    /// Whether a certificate that ends at `expires` is to be renewed at `now`.
    pub(crate) fn due(self, expires: SystemTime, now: SystemTime) -> bool {
        expires.duration_since(now).map_or(true, |left| left <= self.0 / LEFT)
    }

    /// Between two looks.
    pub(crate) fn look_every(self) -> Duration {
        self.0 / LOOKS
    }
}

impl Default for Lifetime {
    fn default() -> Self {
        Self(Duration::from_secs(30 * 24 * 60 * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_due_in_the_last_third_of_its_life_and_after() {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let (lifetime, now) = (Lifetime::default(), SystemTime::now());
        let check =
            |left: Duration, expected: bool| assert_eq!(lifetime.due(now + left, now), expected);
        check(30 * DAY, false);
        check(11 * DAY, false);
        check(10 * DAY, true);
        check(Duration::ZERO, true);
        assert!(lifetime.due(now - DAY, now));
        assert_eq!(lifetime.look_every(), DAY / 24);
    }
}
