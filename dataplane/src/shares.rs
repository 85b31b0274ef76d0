//! Shares of the limits that nodes share, as they are lent to this node.

use std::time::{Duration, Instant};

use model::shares::{LoanId, ShareKey};
use runtime::push::ShareGrant;

/// The longest loan that is believed.
const LEASE_MAX: Duration = Duration::from_secs(60);

/// What was lent last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loan {
    grant: ShareGrant,
    until: Instant,
}

impl Loan {
    /// Takes over what was heard at a time.
    #[must_use]
    pub fn new(grant: ShareGrant, now: Instant) -> Self {
        let until = now + Duration::from_millis(grant.lease_ms).min(LEASE_MAX);
        Self { grant, until }
    }

    /// Returns which loan it is.
    #[must_use]
    pub fn id(&self) -> LoanId {
        self.grant.loan
    }

    /// Returns the share of a limit in bytes a second; `None` when nothing was lent of it.
    #[must_use]
    pub fn share(&self, key: &ShareKey, now: Instant) -> Option<u64> {
        let share = self.grant.shares.iter().find(|share| share.key == *key)?;
        Some(if now < self.until { share.bytes_per_s } else { share.bytes_per_s.min(share.alone) })
    }
}

#[cfg(test)]
mod tests {
    use model::{flow::Direction, shares::Share};

    use super::*;

    #[test]
    fn when_a_loan_has_ended_no_more_is_left_than_a_node_has_alone() {
        let key = |listener: &str| ShareKey {
            policy: "QoSPolicy/default/gold".parse().unwrap(),
            listener: listener.parse().unwrap(),
            direction: Direction::In,
        };
        let share =
            |listener: &str, bytes_per_s, alone| Share { key: key(listener), bytes_per_s, alone };
        let shares =
            vec![share("Listener/default/a", 900, 300), share("Listener/default/b", 30, 30)];
        let now = Instant::now();
        let loan = LoanId { office: 3, number: 9 };
        let loan = Loan::new(ShareGrant { loan, shares, lease_ms: 5_000 }, now);
        let of =
            |listener: &str, after| loan.share(&key(listener), now + Duration::from_millis(after));
        assert_eq!(of("Listener/default/a", 4_999), Some(900));
        assert_eq!(of("Listener/default/a", 5_000), Some(300));
        assert_eq!(of("Listener/default/b", 9_000), Some(30));
        assert_eq!(of("Listener/default/c", 0), None);
    }
}
