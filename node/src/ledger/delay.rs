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
    answered: BTreeMap<(NodeId, Engine), Revision>,
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
        let before = self.answered.insert((node, report.engine), report.revision);
        // An engine that has just connected answers for what was committed long ago.
        let Some(before) = before else { return Vec::new() };
        let newly = |revision: Revision| before < revision && revision <= report.revision;
        let all = self.committed.iter().filter(|(revision, _)| newly(*revision));
        all.map(|(_, at)| now.duration_since(*at)).collect()
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
        let report = |revision: u64, ack: AckState| EngineReport {
            engine: Engine::Envoy,
            revision: Revision(revision),
            ack,
            notes: vec![],
        };
        let mut delays = Delays::default();
        let check = |delays: &mut Delays, now: u64, report: EngineReport, expected: &[u64]| {
            let found = delays.answered(at(now), NodeId(1), &report);
            let expected: Vec<_> = expected.iter().map(|ms| Duration::from_millis(*ms)).collect();
            assert_eq!(found, expected, "{report:?}");
        };
        delays.committed(at(0), Revision(1));
        check(&mut delays, 900, report(1, AckState::Applied), &[]);
        delays.committed(at(1_000), Revision(2));
        delays.committed(at(1_002), Revision(3));
        delays.committed(at(2_000), Revision(3));
        check(&mut delays, 1_003, report(2, AckState::Pending), &[]);
        check(&mut delays, 1_004, report(3, AckState::Refused { refusals: vec![] }), &[4, 2]);
        check(&mut delays, 1_005, report(3, AckState::Applied), &[]);
        delays.gone(NodeId(1));
        check(&mut delays, 5_000, report(3, AckState::Applied), &[]);
    }
}
