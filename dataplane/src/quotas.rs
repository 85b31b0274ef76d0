//! Limits of requests that all nodes count together (`scope: Cluster` of a `RateLimit`).
//!
//! ```text
//! Envoy ══its rate-limit service══▶ service ─▶ slices (pure) ─▶ link ══QUIC══▶ control node ─▶ the owner
//!                                   ◀───────── pass, refuse ◀── leases ◀══════
//! ```
//! Each request is decided here, by what was leased of the limit's owner; only when there is nothing left
//! does one wait for an answer, and for 50 ms at most. Where there is no owner, or none that answers, this
//! node has a share of its own, and tells later what it let through by it.
//!
//! **Invariant.** No request fails because of what happens to an owner: it passes or is refused.

mod link;
mod service;
mod slice;
mod wire;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use model::quotas::{Answers, Ask, QuotaKey, QuotaLimit, Table};
use tokio::sync::{Notify, watch};

pub use link::exchange;
pub(crate) use link::keep;
pub(crate) use service::{LIMIT, POLICY, Service, TARGET, limit_text};
use slice::{Reach, Slice, Verdict};

/// How long a request waits for the owner: several round trips within a region. In a wider cluster
/// requests that come before anything was leased are decided by the share that a node has of its own.
const PATIENCE: Duration = Duration::from_millis(50);
/// Limits and values of them that are known at once, at some 400 bytes.
const SLICES_MAX: usize = 200_000;
/// The nodes that a node takes itself for one of, until it hears how many there are: so many that a few
/// that start at once do not exceed a limit.
const NODES_UNHEARD: u32 = 10;
/// Asks of one message.
const ASKS_MAX: usize = 1_000;

/// What this node may let through; clones share it.
#[derive(Clone, Debug)]
pub struct Quotas(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    patience: Duration,
    state: Mutex<State>,
    /// There is something to ask.
    asks: Notify,
}

#[derive(Debug)]
struct State {
    slices: Table<Slice>,
    /// Those to ask for.
    queue: VecDeque<QuotaKey>,
    /// When leases end, in order.
    leases: VecDeque<(Duration, QuotaKey)>,
    /// Whether there is somebody to ask.
    linked: bool,
    nodes: u32,
}

/// A limit that a request has to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) key: QuotaKey,
    pub(crate) limit: QuotaLimit,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Of each limit, in its order.
    pub(crate) limits: Vec<Told>,
}

/// What a limit says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// How many more may pass.
    pub(crate) left: u32,
    /// It is refused, and after this time another may pass at the soonest.
    pub(crate) refused: Option<Duration>,
    /// That is so by this node's own share.
    pub(crate) alone: bool,
}

impl Decision {
    pub(crate) fn passes(&self) -> bool {
        self.limits.iter().all(|limit| limit.refused.is_none())
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self::with_patience(PATIENCE)
    }
}

impl Quotas {
    /// Begins without an owner. A request waits so long for one that is there.
    #[must_use]
    pub fn with_patience(patience: Duration) -> Self {
        let state = State {
            slices: Table::new(SLICES_MAX, rand::random()),
            queue: VecDeque::new(),
            leases: VecDeque::new(),
            linked: false,
            nodes: NODES_UNHEARD,
        };
        let (state, asks) = (Mutex::new(state), Notify::new());
        Self(Arc::new(Inner { began: Instant::now(), patience, state, asks }))
    }

    /// Tells whether there is somebody to ask.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.state().linked
    }

    fn now(&self) -> Duration {
        self.0.began.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here leaves anything half done.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides about a request that has come, for which all limits have to let it pass.
    pub(crate) async fn decide(&self, limits: &[Counted]) -> Decision {
        let deadline = tokio::time::Instant::now() + self.0.patience;
        let mut first = true;
        loop {
            let (decided, asks) = {
                let mut state = self.state();
                let decided = state.decide(limits, first, self.now());
                (decided, !state.queue.is_empty())
            };
            if asks {
                self.0.asks.notify_one();
            }
            let answers = match decided {
                Ok(decision) => return decision,
                Err(answers) => Waiting { quotas: self, answers },
            };
            answers.wait_until(deadline).await;
            first = false;
        }
    }

    /// Takes in answers.
    fn answered(&self, answers: Answers) {
        let now = self.now();
        let mut state = self.state();
        state.linked = true;
        state.nodes = answers.nodes.max(1);
        for answer in answers.answers {
            // One that has been forgotten loses what it was granted.
            let Some(slice) = state.slices.get_mut(answer.key) else { continue };
            slice.answered(answer.said, now);
            if let Some(ends) = slice.ends() {
                state.leases.push_back((ends, answer.key));
            }
        }
        metrics::gauge!("marchproxy_quota_keys").set(state.slices.len() as f64);
    }

    /// Returns what there is to ask.
    fn asks(&self) -> Vec<Ask> {
        let now = self.now();
        let mut state = self.state();
        state.end_leases(now);
        let mut asks = Vec::new();
        while asks.len() < ASKS_MAX
            && let Some(key) = state.queue.pop_front()
        {
            asks.extend(state.slices.get_mut(key).map(|slice| slice.ask(key, now)));
        }
        if !state.queue.is_empty() {
            self.0.asks.notify_one();
        }
        asks
    }

    /// There is nobody to ask any more.
    fn unlinked(&self) {
        let mut state = self.state();
        state.linked = false;
        state.queue.clear();
        state.slices.values_mut().for_each(Slice::lost);
    }
}

impl State {
    /// Decides, or says for what answers to wait. Nothing is used up of a limit where another refuses, nor
    /// is more asked for.
    fn decide(
        &mut self,
        limits: &[Counted],
        first: bool,
        now: Duration,
    ) -> Result<Decision, Vec<(QuotaKey, watch::Receiver<()>)>> {
        let reach = Reach { owner: self.linked, nodes: self.nodes };
        let verdicts = limits.iter().map(|Counted { key, limit }| {
            self.slices.entry(*key, now, || Slice::new(*limit, now)).verdict(reach, now)
        });
        let verdicts: Vec<Verdict> = verdicts.collect();
        let refuses =
            |verdict: &Verdict| matches!(verdict, Verdict::Refuse(_) | Verdict::RefuseAlone(_));
        let refusing = verdicts.iter().filter(|verdict| refuses(verdict)).count();
        let waits = refusing == 0 && verdicts.contains(&Verdict::Ask);
        let mut decision = Decision { limits: Vec::with_capacity(limits.len()) };
        let mut answers = Vec::new();
        for (Counted { key, limit }, verdict) in limits.iter().zip(&verdicts) {
            let slice = self.slices.entry(*key, now, || Slice::new(*limit, now));
            let by_others = refusing > usize::from(refuses(verdict));
            if first && !by_others {
                slice.came(now);
            }
            if waits && *verdict == Verdict::Ask {
                answers.push((*key, slice.wait()));
            }
            if refusing == 0 && !waits {
                slice.pass(now);
            }
            decision.limits.push(Told {
                left: slice.left(),
                refused: match verdict {
                    Verdict::Refuse(wait) | Verdict::RefuseAlone(wait) => Some(*wait),
                    Verdict::Pass | Verdict::PassAlone | Verdict::Ask => None,
                },
                alone: matches!(verdict, Verdict::PassAlone | Verdict::RefuseAlone(_)),
            });
            if self.linked && !by_others && slice.begins_to_ask(now) {
                self.queue.push_back(*key);
            }
        }
        if waits { Err(answers) } else { Ok(decision) }
    }

    /// Has leases returned that have ended.
    fn end_leases(&mut self, now: Duration) {
        while self.leases.front().is_some_and(|(ends, _)| *ends <= now) {
            let Some((_, key)) = self.leases.pop_front() else { break };
            if let Some(slice) = self.slices.get_mut(key)
                && slice.begins_to_ask(now)
            {
                self.queue.push_back(key);
            }
        }
    }
}

/// A request that waits for answers; one that goes away meanwhile waits no more either.
struct Waiting<'a> {
    quotas: &'a Quotas,
    answers: Vec<(QuotaKey, watch::Receiver<()>)>,
}

impl Waiting<'_> {
    /// Waits for all answers; nobody waits again for those that are late.
    async fn wait_until(mut self, deadline: tokio::time::Instant) {
        let all = async {
            for (_, answer) in &mut self.answers {
                // It is never sent anything, but closed.
                let _ = answer.changed().await;
            }
        };
        if tokio::time::timeout_at(deadline, all).await.is_err() {
            let (mut state, now) = (self.quotas.state(), self.quotas.now());
            for (key, answer) in &self.answers {
                // One that is closed has come.
                if answer.has_changed().is_ok()
                    && let Some(slice) = state.slices.get_mut(*key)
                {
                    slice.late(now);
                }
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.quotas.state();
        for (key, _) in &self.answers {
            if let Some(slice) = state.slices.get_mut(*key) {
                slice.waited();
            }
        }
    }
}

/// The metrics that are written here, with their meaning.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_counter!(
        "marchproxy_quota_requests_total",
        Unit::Count,
        "Requests that a limit of all nodes together was for, by policy, outcome and by whose count"
    );
    describe_gauge!(
        "marchproxy_quota_keys",
        Unit::Count,
        "Limits of all nodes together, and values of them, that this process knows"
    );
    describe_gauge!(
        "marchproxy_quota_linked",
        Unit::Count,
        "Whether the owners of limits of all nodes together can be asked"
    );
}

#[cfg(test)]
#[path = "quotas/tests.rs"]
mod tests;
