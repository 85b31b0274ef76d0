//! Waits between two looks at a condition that has a deadline.

use std::time::Duration;

/// Waits for a moment.
#[expect(clippy::disallowed_methods, reason = "callers look at a condition again, with a deadline")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
