//! How long engines take to answer for a revision (pure).

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use model::{AckState, Engine, EngineReport, Revision, cluster::NodeId};

/// Revisions whose time is remembered: more than an engine falls behind and still matters.
const REVISIONS_MAX: usize = 1_024;

/// When revisions were committed, and up to which each engine has answered.
#[derive(Debug, Default)]
pub(super) struct Delays {
    committed: VecDeque<(Revision, Instant)>,
    answered: BTreeMap<(NodeId, Engine), Answered>,
}

#[derive(Debug)]
struct Answered {
    revision: Revision,
    /// How long that revision took; nothing where its commit was not seen.
    took: Option<Duration>,
}

impl Delays {
    /// Notes that a revision is committed; the first time counts.
    pub(super) fn committed(&mut self, now: Instant, revision: Revision) {
        if self.committed.back().is_some_and(|(newest, _)| *newest >= revision) {
            return;
        }
        if self.committed.len() == REVISIONS_MAX {
            self.committed.pop_front();
        }
        self.committed.push_back((revision, now));
    }

    /// Takes an engine's answer; returns how long each revision took that it answers for.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        node: NodeId,
        report: &EngineReport,
    ) -> Vec<Duration> {
        if !matches!(report.ack, AckState::Applied | AckState::Refused { .. }) {
            return Vec::new();
        }
        let answered = (node, report.engine);
        // An engine that has just connected answers for what was committed long ago.
        let Some(before) = self.answered.get(&answered).map(|before| before.revision) else {
            self.answered.insert(answered, Answered { revision: report.revision, took: None });
            return Vec::new();
        };
        let newly = |revision: Revision| before < revision && revision <= report.revision;
        let all = self.committed.iter().filter(|(revision, _)| newly(*revision));
        let times: Vec<Duration> = all.map(|(_, at)| now.duration_since(*at)).collect();
        if before != report.revision {
            let took = self.committed.iter().find(|(revision, _)| *revision == report.revision);
            let took = took.filter(|(revision, _)| newly(*revision));
            let took = took.map(|(_, at)| now.duration_since(*at));
            self.answered.insert(answered, Answered { revision: report.revision, took });
        }
        times
    }

    /// Returns how long an engine took to answer for the revision that it answered for last.
    pub(super) fn took(&self, node: NodeId, report: &EngineReport) -> Option<Duration> {
        let answered = self.answered.get(&(node, report.engine))?;
        answered.took.filter(|_| answered.revision == report.revision)
    }

    /// Forgets an engine's answers: its data plane is gone, and begins anew.
    pub(super) fn gone(&mut self, node: NodeId) {
        self.answered.retain(|(of, _), _| *of != node);
    }
}

/// Says once what the metric is.
pub(crate) fn describe() {
    metrics::describe_histogram!(
        METRIC,
        metrics::Unit::Seconds,
        "Time from a revision's commit on this node to the answer of an engine of a data plane that is \
         connected to it, by engine"
    );
}

/// Records what was found.
pub(super) fn record(engine: Engine, times: &[Duration]) {
    for time in times {
        let engine = engine.to_string();
        metrics::histogram!(METRIC, "engine" => engine).record(time.as_secs_f64());
    }
}

const METRIC: &str = "marchproxy_commit_to_ack_seconds";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_revision_is_timed_once_for_each_engine() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let report = |revision: u64, ack: AckState| {
            EngineReport::new(Engine::Envoy, Revision(revision), ack)
        };
        let mut delays = Delays::default();
        let check = |delays: &mut Delays,
                     now: u64,
                     report: EngineReport,
                     expected: &[u64]|
         -> Option<Duration> {
            let found = delays.answered(at(now), NodeId(1), &report);
            let expected: Vec<_> = expected.iter().map(|ms| Duration::from_millis(*ms)).collect();
            assert_eq!(found, expected, "{report:?}");
            delays.took(NodeId(1), &report)
        };
        delays.committed(at(0), Revision(1));
        assert_eq!(check(&mut delays, 900, report(1, AckState::Applied), &[]), None);
        delays.committed(at(1_000), Revision(2));
        delays.committed(at(1_002), Revision(3));
        delays.committed(at(2_000), Revision(3));
        assert_eq!(check(&mut delays, 1_003, report(2, AckState::Pending), &[]), None);
        let refused = report(3, AckState::Refused { refusals: vec![] });
        let took = Some(Duration::from_millis(2));
        assert_eq!(check(&mut delays, 1_004, refused, &[4, 2]), took);
        assert_eq!(check(&mut delays, 1_005, report(3, AckState::Applied), &[]), took);
        delays.gone(NodeId(1));
        assert_eq!(check(&mut delays, 5_000, report(3, AckState::Applied), &[]), None);
    }
}
