//! Which clusters may go: those that nothing Envoy has refers to, after a time for the requests
//! that still use them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a cluster stays after the last route to it went: the longest ordinary request. Longer
/// ones (downloads, websockets) to a service that was taken away are cut.
pub(super) const LINGER: Duration = Duration::from_secs(60);

/// Counts references to clusters and holds those that are to go.
#[derive(Clone, Debug)]
pub(super) struct ClusterUse {
    references: HashMap<Arc<str>, usize>,
    /// Clusters that are wanted no more, with the time when they may go; none while referred to.
    leaving: BTreeMap<Arc<str>, Option<Instant>>,
    /// Whether all that Envoy may have is counted: until then any cluster may be referred to.
    complete: bool,
    linger: Duration,
    /// What nothing refers to any more since this was asked last.
    unused: Vec<Arc<str>>,
}

impl Default for ClusterUse {
    fn default() -> Self {
        Self {
            references: HashMap::new(),
            leaving: BTreeMap::new(),
            complete: false,
            linger: LINGER,
            unused: Vec::new(),
        }
    }
}

impl ClusterUse {
    /// Counts for a client that has nothing but what it is sent, and no requests that go on.
    pub(super) fn of_nothing() -> Self {
        Self { complete: true, linger: Duration::ZERO, ..Self::default() }
    }

    /// Notes that Envoy got, or is about to get, something that refers to these.
    pub(super) fn add(&mut self, clusters: &[Arc<str>]) {
        for cluster in clusters {
            *self.references.entry(cluster.clone()).or_default() += 1;
            if let Some(deadline) = self.leaving.get_mut(cluster) {
                *deadline = None;
            }
        }
    }

    /// Notes that Envoy dropped something that referred to these.
    pub(super) fn drop(&mut self, clusters: &[Arc<str>], now: Instant) {
        for cluster in clusters {
            let Some(count) = self.references.get_mut(cluster) else { continue };
            *count -= 1;
            if *count == 0 {
                self.references.remove(cluster);
                self.unused.push(cluster.clone());
                if let Some(deadline) = self.leaving.get_mut(cluster) {
                    *deadline = self.complete.then(|| now + self.linger);
                }
            }
        }
    }

    /// Walks over all that is referred to.
    pub(super) fn used(&self) -> impl Iterator<Item = &Arc<str>> {
        self.references.keys()
    }

    /// Takes what nothing refers to any more since this was asked last.
    pub(super) fn take_unused(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.unused)
    }

    /// Notes that a cluster is wanted no more.
    pub(super) fn leave(&mut self, cluster: &Arc<str>, now: Instant) {
        let unused = self.complete && !self.references.contains_key(cluster);
        let deadline = unused.then(|| now + self.linger);
        self.leaving.entry(cluster.clone()).or_insert(deadline);
    }

    /// Notes that all that Envoy may have is counted: what nothing refers to lingers from now on.
    pub(super) fn complete(&mut self, now: Instant) {
        self.complete = true;
        for (cluster, deadline) in &mut self.leaving {
            if !self.references.contains_key(cluster) {
                deadline.get_or_insert(now + self.linger);
            }
        }
    }

    /// Tells whether [`Self::complete`] was called.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Notes that a cluster is wanted after all, or gone.
    pub(super) fn stay(&mut self, cluster: &str) {
        self.leaving.remove(cluster);
    }

    /// Lists the clusters that may go by now.
    pub(super) fn due(&self, now: Instant) -> Vec<Arc<str>> {
        let due = self.leaving.iter().filter(|(_, at)| at.is_some_and(|at| at <= now));
        due.map(|(name, _)| name.clone()).collect()
    }

    /// Returns when the next one may go.
    pub(super) fn next(&self) -> Option<Instant> {
        self.leaving.values().flatten().min().copied()
    }
}
