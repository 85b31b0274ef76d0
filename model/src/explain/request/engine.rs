//! Whether the node's Envoy runs the configuration that was asked.

use super::decision;
use crate::{
    ack::{AckState, Engine, NodeReport},
    explain::Decision,
    revision::Revision,
};

/// Says how the Envoy of a node stands to a revision; by the report of its data plane, if there is
/// one.
#[must_use]
pub fn engine(report: Option<&NodeReport>, revision: Revision) -> Decision {
    let report = report.filter(|report| report.connected);
    let envoy = report.and_then(|it| it.engines.iter().find(|one| one.engine == Engine::Envoy));
    let said = match envoy.map(|envoy| (&envoy.ack, envoy.revision)) {
        None => "the node's data plane is not heard: what it runs is not known".to_owned(),
        Some((AckState::Unavailable { reason }, _)) => {
            format!("the node's Envoy takes no requests: {reason}")
        }
        Some((AckState::Refused { refusals }, _)) => {
            let what: Vec<&str> = refusals.iter().map(|it| it.resource.as_str()).collect();
            format!("the node's Envoy goes on with what was before of {}", what.join(", "))
        }
        Some((AckState::Applied, at)) if at >= revision => {
            "the node's Envoy runs all of it".to_owned()
        }
        Some((AckState::Applied | AckState::Pending, at)) => {
            format!(
                "the node's Envoy is at revision {at}, and yet to get this one or to answer for it"
            )
        }
    };
    decision("engine", said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ack::EngineReport, cluster::NodeId};

    #[test]
    fn what_envoy_does_not_run_is_said() {
        let check = |ack: AckState, at: u64, expected: &str| {
            let envoy = EngineReport {
                engine: Engine::Envoy,
                revision: Revision(at),
                ack,
                notes: Vec::new(),
                ack_latency_us: None,
            };
            let report = NodeReport {
                node: NodeId(1),
                connected: true,
                engines: vec![envoy],
                addresses: Vec::new(),
            };
            let said = engine(Some(&report), Revision(7)).said;
            assert!(said.contains(expected), "{said}");
        };
        check(AckState::Applied, 7, "runs all of it");
        check(AckState::Applied, 6, "at revision 6");
        check(AckState::Pending, 6, "yet to get this one");
        check(AckState::Unavailable { reason: "no binary".into() }, 0, "no binary");
        let refusals = vec![crate::Refusal {
            object: None,
            field: String::new(),
            resource: "Cluster s/one".into(),
            message: String::new(),
        }];
        check(AckState::Refused { refusals }, 7, "what was before of Cluster s/one");
        assert!(engine(None, Revision(7)).said.contains("not heard"));
    }
}
