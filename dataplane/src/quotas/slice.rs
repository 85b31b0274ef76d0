//! What this node may let through of one limit (pure): what it leased of the owner, and its own share
//! where it hears of no owner.

use std::time::Duration;

use model::quotas::{Ask, Bucket, Heard, LEASE, QuotaKey, QuotaLimit, Said, Worth};
use tokio::sync::watch;

/// The time that requests are counted in, to ask for as many as the next will bring.
const WINDOW: Duration = Duration::from_millis(100);
/// How long an owner that is out of reach is not asked again.
const ALONE_FOR: Duration = Duration::from_millis(250);
/// An answer that has not come by then does not come.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// Requests of a window from which more is asked for before there is nothing left: below, each is asked
/// for as it comes, so that nothing lies idle here that another node could use.
const AHEAD_FROM: u32 = 4;

/// How things stand with the owners of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// Whether one can be asked.
    pub(super) owner: bool,
    /// One of so many nodes is this, where none can be.
    pub(super) nodes: u32,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// Another may pass after this time at the soonest.
    Refuse(Duration),
    /// The owner has to be asked.
    Ask,
}

#[derive(Debug)]
pub(super) struct Slice {
    limit: QuotaLimit,
    /// What may pass until `until`.
    have: u32,
    until: Duration,
    /// Before, the owner has no more.
    refused_until: Duration,
    /// Before, there is no owner.
    alone_until: Duration,
    alone: Option<Bucket>,
    /// What passed by its own share, and the owner was not told of.
    spent: u32,
    heard: Option<(Heard, Duration)>,
    /// Since when an answer is awaited.
    asked: Option<Duration>,
    waiting: u32,
    /// Closed by the next answer.
    answer: Option<watch::Sender<()>>,
    window: Duration,
    counted: u32,
    counted_before: u32,
    used: Duration,
}

impl Slice {
    pub(super) fn new(limit: QuotaLimit, now: Duration) -> Self {
        Self {
            limit,
            have: 0,
            until: now,
            refused_until: Duration::ZERO,
            alone_until: Duration::ZERO,
            alone: None,
            spent: 0,
            heard: None,
            asked: None,
            waiting: 0,
            answer: None,
            window: now,
            counted: 0,
            counted_before: 0,
            used: now,
        }
    }

    /// Counts a request that has come.
    pub(super) fn came(&mut self, now: Duration) {
        self.used = now;
        self.turn(now);
        self.counted = self.counted.saturating_add(1);
    }

    fn turn(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.window);
        if passed < WINDOW {
            return;
        }
        self.counted_before = if passed < WINDOW * 2 { self.counted } else { 0 };
        self.counted = 0;
        self.window = now;
    }

    /// Returns the requests that the next window brings, as the last ones did.
    fn expected(&self) -> u32 {
        self.counted.max(self.counted_before)
    }

    /// Says what would become of a request.
    pub(super) fn verdict(&mut self, reach: Reach, now: Duration) -> Verdict {
        if self.have > 0 && now < self.until {
            return Verdict::Pass;
        }
        if now < self.refused_until {
            return Verdict::Refuse(self.refused_until - now);
        }
        if reach.owner && now >= self.alone_until {
            return Verdict::Ask;
        }
        let alone = self.alone(reach.nodes, now);
        if alone.left() > 0 { Verdict::Pass } else { Verdict::Refuse(alone.wait(1)) }
    }

    /// Lets a request through for which the verdict is to; tells whether by what was leased.
    pub(super) fn pass(&mut self, now: Duration) -> bool {
        let leased = self.have > 0 && now < self.until;
        if leased {
            self.have -= 1;
        } else if let Some(alone) = &mut self.alone {
            self.spent = self.spent.saturating_add(alone.take(1));
        }
        leased
    }

    /// Returns its own share, which begins with that of what was left when it last heard of an owner.
    fn alone(&mut self, nodes: u32, now: Duration) -> &mut Bucket {
        let limit = self.limit.alone(nodes);
        let alone = match self.alone.take() {
            Some(alone) if alone.limit() == limit => alone,
            Some(alone) => Bucket::with(limit, alone.left(), now),
            None => match &self.heard {
                Some((heard, at)) => {
                    let mut left = Bucket::with(self.limit, heard.left, *at);
                    left.refill(now);
                    let share = i64::from(limit.burst) * left.left() / i64::from(self.limit.burst);
                    Bucket::with(limit, share, now)
                }
                None => Bucket::full(limit, now),
            },
        };
        let alone = self.alone.insert(alone);
        alone.refill(now);
        alone
    }

    /// Lets a request wait for the answer; it wakes when what this returns closes.
    pub(super) fn wait(&mut self) -> watch::Receiver<()> {
        self.waiting = self.waiting.saturating_add(1);
        self.answer.get_or_insert_with(|| watch::channel(()).0).subscribe()
    }

    /// Returns how many requests wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> u32 {
        self.waiting
    }

    /// One request waits no more.
    pub(super) fn waited(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Tells whether more should be asked for before it is needed.
    pub(super) fn runs_out(&self, now: Duration) -> bool {
        let expected = self.expected();
        let still = if now < self.until { self.have } else { 0 };
        expected >= AHEAD_FROM && still < expected / 2 && now >= self.refused_until
    }

    /// Begins to ask, unless an answer is awaited or would be of no use.
    pub(super) fn begins_to_ask(&mut self, now: Duration) -> bool {
        let awaited = self.asked.is_some_and(|at| now < at + ANSWERED_WITHIN);
        let begins = !awaited && now >= self.alone_until;
        if begins {
            self.asked = Some(now);
        }
        begins
    }

    /// Tells whether there is something that the owner should hear of.
    pub(super) fn owes(&self) -> bool {
        self.spent > 0
    }

    /// Makes the question, with what lies idle; `None` where there is nothing to say.
    pub(super) fn ask(&mut self, key: QuotaKey, now: Duration) -> Option<Ask> {
        self.turn(now);
        let over = now >= self.until;
        let returned = if over { std::mem::take(&mut self.have) } else { 0 };
        let refused = now < self.refused_until;
        let wanted = self.expected().max(self.waiting).min(self.limit.burst);
        // What has come is on its way already, or nobody waits for it.
        let want = if refused || (self.waiting == 0 && self.expected() < AHEAD_FROM) {
            0
        } else {
            wanted.saturating_sub(self.have)
        };
        let spent = std::mem::take(&mut self.spent);
        if want == 0 && returned == 0 && spent == 0 {
            self.asked = None;
            return None;
        }
        let heard = self.heard.map(|(heard, at)| Heard {
            age_ms: u64::try_from(now.saturating_sub(at).as_millis()).unwrap_or(u64::MAX),
            ..heard
        });
        Some(Ask { key, limit: self.limit, want, returned, spent, heard })
    }

    /// Takes in an answer.
    pub(super) fn answered(&mut self, said: Said, now: Duration) {
        self.asked = None;
        self.answer = None;
        match said {
            Said::Leased { granted, left, wait_ms, office } => {
                if now >= self.until {
                    self.have = 0;
                }
                self.have = self.have.saturating_add(granted);
                if granted > 0 {
                    self.until = now + LEASE;
                }
                self.refused_until = now + Duration::from_millis(wait_ms.into());
                self.heard = Some((Heard { office, left, age_ms: 0 }, now));
                self.alone = None;
            }
            Said::Alone => self.alone_until = now + ALONE_FOR,
        }
    }

    /// No answer will come to what was asked.
    pub(super) fn lost(&mut self) {
        self.asked = None;
        self.answer = None;
    }

    /// Returns when a lease ends of which something is left.
    pub(super) fn ends(&self) -> Option<Duration> {
        (self.have > 0).then_some(self.until)
    }

    /// Returns about how many more may pass, of all nodes'.
    pub(super) fn left(&self) -> u32 {
        let left = match (&self.alone, &self.heard) {
            (Some(alone), _) => alone.left(),
            (None, Some((heard, _))) => heard.left.max(0) + i64::from(self.have),
            (None, None) => 0,
        };
        u32::try_from(left.clamp(0, self.limit.burst.into())).unwrap_or(0)
    }
}

impl Worth for Slice {
    /// What was heard is worth something until the limit is full again, and that which was used last
    /// the most.
    fn worth(&self, now: Duration) -> u64 {
        let idle = now.saturating_sub(self.used);
        let full = self.limit.pause().saturating_mul(self.limit.burst).max(LEASE * 2);
        if idle > full && self.waiting == 0 && self.have == 0 && self.spent == 0 {
            return 0;
        }
        u64::MAX - u64::try_from(idle.as_millis()).unwrap_or(u64::MAX - 1)
    }
}

#[cfg(test)]
#[path = "slice/tests.rs"]
mod tests;
