//! A rollout: which revision, how far it has come, and why it stands.

use model::{Rollout, rollout::Phase};

use super::time;
use crate::cli::table;

/// Lays out the newest rollout.
#[must_use]
pub fn table(rollout: Option<&Rollout>) -> String {
    let Some(rollout) = rollout else {
        return "no rollout yet: a RolloutPolicy begins one with each change\n".to_owned();
    };
    let phase = match rollout.phase {
        Phase::Running => "running",
        Phase::Paused => "paused",
        Phase::Completed => "completed",
        Phase::Aborted => "aborted",
    };
    let nodes = rollout.nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let row = vec![
        rollout.target.to_string(),
        rollout.base.to_string(),
        phase.to_owned(),
        rollout.step.map(|step| (step + 1).to_string()).unwrap_or_default(),
        if rollout.phase.is_under_way() { nodes } else { "all".to_owned() },
        time(rollout.since_ms),
        rollout.reason.clone(),
    ];
    table::render(&["REVISION", "BEFORE", "PHASE", "STEP", "NODES", "SINCE", "REASON"], &[row])
}

#[cfg(test)]
mod tests {
    use model::{Revision, cluster::NodeId};

    use super::*;

    #[test]
    fn a_rollout_is_one_line() {
        let mut rollout = Rollout {
            base: Revision(11),
            target: Revision(12),
            step: Some(0),
            nodes: [NodeId(1), NodeId(4)].into(),
            phase: Phase::Running,
            reason: String::new(),
            since_ms: 0,
        };
        let expected = "\
REVISION  BEFORE  PHASE    STEP  NODES  SINCE                 REASON
12        11      running  1     1,4    1970-01-01 00:00:00Z  -
";
        assert_eq!(table(Some(&rollout)), expected);
        (rollout.phase, rollout.reason) = (Phase::Aborted, "node 1 (a): 5xx".into());
        assert!(table(Some(&rollout)).contains("aborted  1     all    "));
        assert!(table(None).starts_with("no rollout yet"));
    }
}
