//! When a certificate is due.

use std::time::{Duration, SystemTime};

use super::LIFETIME;

/// The share of its life that a certificate has left when it is renewed: a third, ten days, in which
/// an operator can repair what hinders the renewal.
const LEFT: Duration = LIFETIME.checked_div(3).expect("three is not zero");

/// Whether a certificate that ends at `expires` is to be renewed at `now`.
pub(crate) fn due(expires: SystemTime, now: SystemTime) -> bool {
    expires.duration_since(now).map_or(true, |left| left <= LEFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_due_in_the_last_third_of_its_life_and_after() {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let now = SystemTime::now();
        let check = |left: Duration, expected: bool| assert_eq!(due(now + left, now), expected);
        check(30 * DAY, false);
        check(11 * DAY, false);
        check(10 * DAY, true);
        check(Duration::ZERO, true);
        assert!(due(now - DAY, now));
    }
}
