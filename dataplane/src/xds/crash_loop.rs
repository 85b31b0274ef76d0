//! Which configuration Envoy is told when it crashes over and over: the last one that it is known to
//! live with (pure).
//!
//! **Invariants.** A configuration is proven when Envoy has answered for it and then lived for a time.
//! What stands in for another one is proven. A new revision is always tried.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use model::{ObjectKey, Refusal, Revision, Snapshot};

/// Configurations that are remembered until they are proven; of more, the newer ones are left out.
const ON_TRIAL_MAX: usize = 8;

/// When Envoy counts as crashing over and over, and a configuration as proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashLimits {
    /// So many crashes…
    pub crashes: usize,
    /// …within this time.
    pub within: Duration,
    /// How long Envoy has to live with a configuration.
    pub proven_after: Duration,
}

impl Default for CrashLimits {
    /// Three within a minute: one may be chance, and traffic waits for every further one. Half a
    /// minute of traffic: what crashes later than that is not known by the revision it began with.
    fn default() -> Self {
        Self { crashes: 3, within: Duration::from_secs(60), proven_after: Duration::from_secs(30) }
    }
}

/// How often Envoy has crashed, as its actor tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crashes {
    /// How often.
    pub count: u64,
    /// How it ended the last time.
    pub exit: String,
}

/// Follows answers and crashes.
#[derive(Debug)]
pub(super) struct CrashLoop {
    limits: CrashLimits,
    /// The newest crashes, the oldest first.
    crashes: VecDeque<Instant>,
    /// What Envoy has answered for since it crashed last, and when, the oldest first.
    on_trial: VecDeque<(Instant, Snapshot)>,
    proven: Option<Snapshot>,
    withheld: Option<Withheld>,
}

#[derive(Debug)]
struct Withheld {
    revision: Revision,
    instead: Snapshot,
    refusal: Refusal,
}

impl CrashLoop {
    pub(super) fn new(limits: CrashLimits) -> Self {
        Self {
            limits,
            crashes: VecDeque::new(),
            on_trial: VecDeque::new(),
            proven: None,
            withheld: None,
        }
    }

    /// Returns what Envoy is to be told in place of `desired`, and why, when that is to be.
    pub(super) fn instead(&mut self, desired: &Snapshot) -> Option<(Snapshot, Refusal)> {
        // Another revision is another try.
        self.withheld.take_if(|withheld| withheld.revision != desired.revision());
        let withheld = self.withheld.as_ref()?;
        Some((withheld.instead.clone(), withheld.refusal.clone()))
    }

    /// Notes that Envoy has answered for a configuration.
    pub(super) fn answered(&mut self, now: Instant, config: &Snapshot) {
        if self.withheld.is_some() {
            return;
        }
        self.prove(now);
        let known = self.on_trial.iter().map(|(_, config)| config).chain(&self.proven);
        if known.into_iter().any(|known| known.revision() == config.revision()) {
            return;
        }
        if self.on_trial.len() == ON_TRIAL_MAX {
            // The oldest is the next to be proven.
            self.on_trial.pop_back();
        }
        self.on_trial.push_back((now, config.clone()));
    }

    /// Notes a crash; tells whether [`Self::instead`] says something else for `desired` from now on.
    pub(super) fn crashed(&mut self, now: Instant, desired: &Snapshot, exit: &str) -> bool {
        self.prove(now);
        self.on_trial.clear();
        let CrashLimits { crashes, within, .. } = self.limits;
        self.crashes.retain(|crash| now.duration_since(*crash) < within);
        self.crashes.push_back(now);
        if self.crashes.len() < crashes || self.withheld.is_some() {
            return false;
        }
        let Some(proven) =
            self.proven.as_ref().filter(|proven| proven.revision() != desired.revision())
        else {
            return false;
        };
        let first = self.crashes.front().map_or(Duration::ZERO, |first| now.duration_since(*first));
        let message = format!(
            "Envoy {exit}: {} crashes within {first:.1?} of revision {}; revision {} runs in its place",
            self.crashes.len(),
            desired.revision(),
            proven.revision(),
        );
        let refusal = Refusal {
            object: only_change(proven, desired),
            field: String::new(),
            resource: "process".to_owned(),
            message,
        };
        let (revision, instead) = (desired.revision(), proven.clone());
        self.withheld = Some(Withheld { revision, instead, refusal });
        self.crashes.clear();
        true
    }

    /// Finds what Envoy has lived with for long enough.
    fn prove(&mut self, now: Instant) {
        let lived = |answered: Instant| now.duration_since(answered) >= self.limits.proven_after;
        while self.on_trial.front().is_some_and(|(answered, _)| lived(*answered)) {
            self.proven = self.on_trial.pop_front().map(|(_, config)| config);
        }
    }
}

/// The object that a change is about, when it is about one.
fn only_change(old: &Snapshot, new: &Snapshot) -> Option<ObjectKey> {
    match old.diff(new).as_slice() {
        [change] => Some(change.key().clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const LIMITS: CrashLimits = CrashLimits {
        crashes: 3,
        within: Duration::from_secs(60),
        proven_after: Duration::from_secs(30),
    };

    /// A configuration of so many services, by which its revision goes.
    fn config(revision: u64) -> Snapshot {
        let mut config = Snapshot::default();
        for i in 0..revision {
            let yaml = format!(
                "kind: Service\nmetadata: {{ name: s{i} }}\nspec: {{ endpoints: [{{ address: \
                 127.0.0.1, port: 1 }}] }}\n"
            );
            for object in model::parse::parse_documents(&yaml).unwrap() {
                config.put(Arc::new(object));
            }
        }
        config.set_revision(Revision(revision));
        config
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn three_crashes_after_a_revision_bring_back_the_one_before_until_the_next() {
        let (start, exit) = (Instant::now(), "killed by SIGSEGV");
        let mut crash_loop = CrashLoop::new(LIMITS);
        crash_loop.answered(start, &config(1));
        crash_loop.answered(start + seconds(40), &config(2));
        let crash = |at: u64, crash_loop: &mut CrashLoop| {
            crash_loop.crashed(start + seconds(at), &config(2), exit)
        };
        assert!(!crash(41, &mut crash_loop));
        assert!(!crash(42, &mut crash_loop));
        assert!(crash_loop.instead(&config(2)).is_none());
        assert!(crash(43, &mut crash_loop));
        let (instead, refusal) = crash_loop.instead(&config(2)).unwrap();
        assert_eq!(instead.revision(), Revision(1));
        assert_eq!(refusal.object, Some("Service/default/s1".parse().unwrap()));
        assert_eq!(
            refusal.message,
            "Envoy killed by SIGSEGV: 3 crashes within 2.0s of revision 2; revision 1 runs in its place"
        );
        // It does not go further back, and another revision is tried.
        for at in 44..50 {
            assert!(!crash(at, &mut crash_loop));
        }
        assert!(crash_loop.instead(&config(3)).is_none());
        assert!(crash_loop.instead(&config(2)).is_none(), "the hold is over");
    }

    #[test]
    fn what_is_proven_is_what_envoy_has_lived_with() {
        let start = Instant::now();
        let mut crash_loop = CrashLoop::new(LIMITS);
        let crashes = |from: u64, desired: u64, crash_loop: &mut CrashLoop| {
            (from..from + 3)
                .any(|at| crash_loop.crashed(start + seconds(at), &config(desired), "ended"))
        };
        assert!(!crashes(0, 1, &mut crash_loop), "nothing is proven");
        crash_loop.answered(start + seconds(100), &config(1));
        assert!(!crashes(129, 2, &mut crash_loop), "29 s are not 30 s");
        crash_loop.answered(start + seconds(200), &config(1));
        assert!(!crashes(230, 1, &mut crash_loop), "it is the proven one that crashes");
        // Crashes that are far apart are no loop.
        for at in [300, 340, 380, 420] {
            assert!(!crash_loop.crashed(start + seconds(at), &config(2), "ended"));
        }
        // Changes that come quickly are proven one after the other, of many the oldest.
        for revision in 10..40 {
            crash_loop.answered(start + seconds(500 + revision), &config(revision));
        }
        assert!(crashes(541, 39, &mut crash_loop));
        let (instead, _) = crash_loop.instead(&config(39)).unwrap();
        assert_eq!(instead.revision(), Revision(11));
    }
}
