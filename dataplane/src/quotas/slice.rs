//! What this node may let through of one limit (pure): what it leased of the owner, and its own share
//! where it hears of no owner.

use std::{collections::VecDeque, time::Duration};

use model::quotas::{Ask, Bucket, Heard, LEASE, QuotaKey, QuotaLimit, Said, Worth};
use tokio::sync::watch;

/// The time that requests are counted in, to ask for as many as the next will bring.
const WINDOW: Duration = Duration::from_millis(100);
/// How long an owner that is out of reach is not asked again.
const ALONE_FOR: Duration = Duration::from_millis(250);
/// How long nobody waits for an owner that has not answered in time.
const SLOW_FOR: Duration = Duration::from_secs(1);
/// An answer that has not come by then does not come.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// Requests of a window from which more is asked for before there is nothing left: below, each is asked
/// for as it comes, so that nothing lies idle here that another node could use.
const AHEAD_FROM: u32 = 4;
/// Leases with an end of their own; of more, the last two end together.
const LEASES_MAX: usize = 8;

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
    /// It passes by what was leased.
    Pass,
    /// It passes by the node's own share.
    PassAlone,
    /// Another may pass after this time at the soonest.
    Refuse(Duration),
    /// That is so by the node's own share.
    RefuseAlone(Duration),
    /// The owner has to be asked.
    Ask,
}

/// Requests that may pass until a time.
#[derive(Clone, Copy, Debug)]
struct Lease {
    count: u32,
    ends: Duration,
    /// The owner that they go back to.
    office: u64,
}

/// What was said with a question that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Duration,
    spent: u32,
}

#[derive(Debug)]
pub(super) struct Slice {
    limit: QuotaLimit,
    /// In the order of their ends.
    leases: VecDeque<Lease>,
    /// What is left of leases that have ended.
    returns: u32,
    /// Before, it is of no use to ask the owner.
    refused_until: Duration,
    /// When the owner has one more at the soonest.
    next: Duration,
    /// Before, there is no owner.
    alone_until: Duration,
    /// Before, nobody waits for it.
    slow_until: Duration,
    alone: Option<Bucket>,
    /// What passed by its own share, has not come back since, and the owner was not told of.
    owed: f64,
    owed_at: Duration,
    heard: Option<(Heard, Duration)>,
    asked: Option<Asked>,
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
            leases: VecDeque::new(),
            returns: 0,
            refused_until: Duration::ZERO,
            next: Duration::ZERO,
            alone_until: Duration::ZERO,
            slow_until: Duration::ZERO,
            alone: None,
            owed: 0.0,
            owed_at: now,
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

    /// Counts a request that has come, and that no other limit refuses.
    pub(super) fn came(&mut self, now: Duration) {
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

    /// Puts aside what is left of leases that have ended.
    fn end_leases(&mut self, now: Duration) {
        while let Some(lease) = self.leases.pop_front_if(|lease| lease.ends <= now) {
            // Another owner has never given it.
            if self.heard.is_some_and(|(heard, _)| heard.office == lease.office) {
                self.returns = self.returns.saturating_add(lease.count);
            }
        }
    }

    fn have(&self) -> u32 {
        self.leases.iter().fold(0, |sum, lease| sum.saturating_add(lease.count))
    }

    /// Says what would become of a request.
    pub(super) fn verdict(&mut self, reach: Reach, now: Duration) -> Verdict {
        self.used = now;
        self.end_leases(now);
        if !self.leases.is_empty() {
            return Verdict::Pass;
        }
        if now < self.refused_until {
            return Verdict::Refuse(self.refused_until.max(self.next) - now);
        }
        if reach.owner && now >= self.alone_until && now >= self.slow_until {
            return Verdict::Ask;
        }
        let alone = self.alone(reach.nodes, now);
        if alone.left() > 0 { Verdict::PassAlone } else { Verdict::RefuseAlone(alone.wait(1)) }
    }

    /// Lets a request through for which the verdict is to.
    pub(super) fn pass(&mut self, now: Duration) {
        if let Some(lease) = self.leases.front_mut() {
            lease.count -= 1;
            if lease.count == 0 {
                self.leases.pop_front();
            }
        } else if let Some(alone) = &mut self.alone {
            let taken = alone.take(1);
            self.owe(now);
            self.owed += f64::from(taken);
        }
    }

    /// Lets what is owed come back as the node's own share does.
    fn owe(&mut self, now: Duration) {
        let limit = self.alone.as_ref().map_or(self.limit, Bucket::limit);
        let rate = f64::from(limit.requests) * 1_000.0 / limit.interval_ms as f64;
        let back = now.saturating_sub(self.owed_at).as_secs_f64() * rate;
        self.owed = (self.owed - back).max(0.0);
        self.owed_at = now;
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
                    let (part, whole) = (i64::from(limit.burst), i64::from(self.limit.burst));
                    // Rounded up: where there is one, one passes.
                    Bucket::with(limit, (part * left.left() + whole - 1).div_euclid(whole), now)
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

    /// The answer has not come in time.
    pub(super) fn late(&mut self, now: Duration) {
        self.slow_until = now + SLOW_FOR;
    }

    /// Begins to ask, if the owner should hear something and there is a use in it.
    pub(super) fn begins_to_ask(&mut self, now: Duration) -> bool {
        let awaited = self.asked.is_some_and(|asked| now < asked.at + ANSWERED_WITHIN);
        if awaited || now < self.alone_until {
            return false;
        }
        self.lost();
        self.end_leases(now);
        let begins = self.wanted(now) > 0 || self.returns > 0 || self.owed >= 1.0;
        if begins {
            self.asked = Some(Asked { at: now, spent: 0 });
        }
        begins
    }

    /// Returns how many more this node would have: those that wait, and what the next window brings, before
    /// it runs out of what it has.
    fn wanted(&self, now: Duration) -> u32 {
        if now < self.refused_until {
            return 0;
        }
        let have = self.have();
        let ahead = Some(self.expected()).filter(|it| *it >= AHEAD_FROM && have < it / 2);
        let wanted = ahead.unwrap_or(0).max(self.waiting);
        wanted.min(self.limit.burst).saturating_sub(have)
    }

    /// Makes the question.
    pub(super) fn ask(&mut self, key: QuotaKey, now: Duration) -> Ask {
        self.turn(now);
        self.end_leases(now);
        self.owe(now);
        // Bounded by the burst of a share.
        let spent = self.owed as u32;
        self.owed -= f64::from(spent);
        self.asked = Some(Asked { at: now, spent });
        let heard = self.heard.map(|(heard, at)| Heard {
            age_ms: u64::try_from(now.saturating_sub(at).as_millis()).unwrap_or(u64::MAX),
            ..heard
        });
        let returned = std::mem::take(&mut self.returns);
        Ask { key, limit: self.limit, want: self.wanted(now), returned, spent, heard }
    }

    /// Takes in an answer.
    pub(super) fn answered(&mut self, said: Said, now: Duration) {
        self.slow_until = Duration::ZERO;
        match said {
            Said::Leased { granted, left, wait_ms, next_ms, office } => {
                self.asked = None;
                self.end_leases(now);
                self.lease(Lease { count: granted, ends: now + LEASE, office });
                self.refused_until = now + Duration::from_millis(wait_ms.into());
                self.next = now.saturating_add(Duration::from_millis(next_ms));
                if self.heard.is_some_and(|(heard, _)| heard.office != office) {
                    self.returns = 0;
                }
                self.heard = Some((Heard { office, left, age_ms: 0 }, now));
                self.alone = None;
            }
            Said::Alone => {
                self.lost();
                self.alone_until = now + ALONE_FOR;
            }
        }
        self.answer = None;
    }

    fn lease(&mut self, lease: Lease) {
        if lease.count == 0 {
            return;
        }
        let full = self.leases.len() >= LEASES_MAX;
        match self.leases.back_mut().filter(|last| full && last.office == lease.office) {
            // They end with the earlier.
            Some(last) => last.count = last.count.saturating_add(lease.count),
            None => self.leases.push_back(lease),
        }
    }

    /// No answer will come to what was asked. What was said of spent requests may not have been heard, and
    /// is said again: rather twice than not at all.
    pub(super) fn lost(&mut self) {
        if let Some(asked) = self.asked.take() {
            self.owed += f64::from(asked.spent);
        }
    }

    /// Returns when the last of the leases ends.
    pub(super) fn ends(&self) -> Option<Duration> {
        self.leases.back().map(|lease| lease.ends)
    }

    /// Returns about how many more may pass, of all nodes'.
    pub(super) fn left(&self) -> u32 {
        let left = match (&self.alone, &self.heard) {
            (Some(alone), _) => alone.left(),
            (None, Some((heard, _))) => heard.left.max(0) + i64::from(self.have()),
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
        let holds = self.waiting > 0 || !self.leases.is_empty() || self.owed >= 1.0;
        if idle > full && !holds {
            return 0;
        }
        u64::MAX - u64::try_from(idle.as_millis()).unwrap_or(u64::MAX - 1)
    }
}

#[cfg(test)]
#[path = "slice/simulation.rs"]
mod simulation;
#[cfg(test)]
#[path = "slice/tests.rs"]
mod tests;
