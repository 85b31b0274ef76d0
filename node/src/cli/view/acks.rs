//! What the data planes answered: a table for people, and the refusals as a report.

use model::{
    Engine, Revision,
    ack::{AckState, Bearing, EngineReport, NodeReport, Refusal},
    api::AcksResponse,
};

use crate::cli::table;

/// Lays out what each engine of each node runs.
#[must_use]
pub fn table(reports: &[NodeReport]) -> String {
    let mut rows = Vec::new();
    for NodeReport { node, connected, engines, .. } in reports {
        if !connected || engines.is_empty() {
            let state = if *connected { "starting" } else { "disconnected" };
            rows.push(vec![node.to_string(), String::new(), state.to_owned()]);
        }
        for EngineReport { engine, revision, ack, notes, ack_latency_us } in engines {
            rows.push(vec![
                node.to_string(),
                engine.to_string(),
                if *connected { state(ack) } else { format!("{} (disconnected)", state(ack)) },
                revision.to_string(),
                ack_latency_us.map(milliseconds).unwrap_or_default(),
                remarks(ack, notes),
            ]);
        }
    }
    if rows.is_empty() {
        return "no node has a data plane\n".to_owned();
    }
    table::render(&["NODE", "ENGINE", "STATE", "REVISION", "ACK AFTER", "NOTES"], &rows)
}

/// Lists the refusals of a revision, one a line: node, engine, object, field, the engine's words.
#[must_use]
pub fn refusals(response: &AcksResponse) -> String {
    let mut lines = Vec::new();
    for report in &response.reports {
        for engine in &report.engines {
            if let AckState::Refused { refusals } = &engine.ack {
                lines.extend(refusals.iter().map(|refusal| {
                    format!("  node {} {}: {}", report.node, engine.engine, sentence(refusal))
                }));
            }
        }
    }
    lines.join("\n")
}

/// Lists who has not answered for a revision, one a line: node, engine, how it stands and why.
#[must_use]
pub fn missing(response: &AcksResponse) -> String {
    let mut lines = Vec::new();
    for node in &response.missing {
        let report = response.reports.iter().find(|report| report.node == *node);
        let Some(report) = report.filter(|report| report.connected) else {
            lines.push(format!("  node {node}: its data plane is not connected"));
            continue;
        };
        for engine in Engine::ALL {
            match report.engines.iter().find(|report| report.engine == engine) {
                None => lines.push(format!("  node {node} {engine}: has not reported yet")),
                Some(report) if answered(report, response.revision) => {}
                Some(EngineReport { revision, ack, notes, .. }) => {
                    let why = remarks(ack, notes);
                    let why = if why.is_empty() { why } else { format!(": {why}") };
                    lines.push(format!(
                        "  node {node} {engine}: {} at revision {revision}{why}",
                        state(ack)
                    ));
                }
            }
        }
    }
    lines.join("\n")
}

fn answered(report: &EngineReport, revision: Revision) -> bool {
    report.revision >= revision && report.bearing() == Bearing::Answer
}

fn sentence(refusal: &Refusal) -> String {
    let Refusal { object, field, resource, message } = refusal;
    let mut out = match object {
        Some(object) => object.to_string(),
        None => resource.clone(),
    };
    if !field.is_empty() {
        out.push(' ');
        out.push_str(field);
    }
    // Envoy ends some of its sentences with a line break.
    format!("{out}: {}", message.trim_end())
}

fn state(ack: &AckState) -> String {
    match ack {
        AckState::Applied => "applied",
        AckState::Pending => "pending",
        AckState::Refused { .. } => "refused",
        AckState::Unavailable { .. } => "unavailable",
    }
    .to_owned()
}

fn milliseconds(us: u64) -> String {
    format!("{}.{} ms", us / 1_000, us % 1_000 / 100)
}

fn remarks(ack: &AckState, notes: &[String]) -> String {
    let first = match ack {
        AckState::Unavailable { reason } => vec![reason.clone()],
        AckState::Refused { refusals } => refusals.iter().map(sentence).collect(),
        AckState::Applied | AckState::Pending => Vec::new(),
    };
    first.iter().chain(notes).cloned().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use model::{api::AckOutcome, cluster::NodeId};

    use super::*;

    fn engine(engine: Engine, ack: AckState) -> EngineReport {
        EngineReport::new(engine, Revision(12), ack)
    }

    fn refused() -> AckState {
        AckState::Refused {
            refusals: vec![Refusal {
                object: Some("HTTPRoute/default/shop".parse().unwrap()),
                field: "spec.rules[0].matches[0].path.regex".to_owned(),
                resource: "RouteConfiguration http/shop".to_owned(),
                message: "no argument for repetition operator: *".to_owned(),
            }],
        }
    }

    fn reports() -> Vec<NodeReport> {
        let unavailable = AckState::Unavailable { reason: "no CAP_BPF".to_owned() };
        vec![
            NodeReport {
                node: NodeId(1),
                connected: true,
                engines: vec![
                    EngineReport {
                        ack_latency_us: Some(12_345),
                        ..engine(Engine::Envoy, AckState::Applied)
                    },
                    engine(Engine::Xdp, unavailable),
                ],
                addresses: vec![],
            },
            NodeReport { node: NodeId(3), connected: false, engines: vec![], addresses: vec![] },
        ]
    }

    #[test]
    fn engines_are_listed_by_node() {
        let expected = "\
NODE  ENGINE  STATE         REVISION  ACK AFTER  NOTES
1     envoy   applied       12        12.3 ms    -
1     xdp     unavailable   12        -          no CAP_BPF
3     -       disconnected
";
        assert_eq!(table(&reports()), expected);
    }

    #[test]
    fn who_has_not_answered_is_named_with_what_is_known_of_it() {
        let pending = EngineReport {
            notes: vec!["loading the program".to_owned()],
            ..engine(Engine::Xdp, AckState::Pending)
        };
        let lost = AckState::Unavailable { reason: "Envoy is not connected".to_owned() };
        // It has answered for the revision, and ended since.
        let gone = EngineReport { revision: Revision(13), ..engine(Engine::Envoy, lost.clone()) };
        let no_xdp = AckState::Unavailable { reason: "XDP is not asked for".to_owned() };
        let no_xdp = EngineReport { revision: Revision(13), ..engine(Engine::Xdp, no_xdp) };
        let report =
            |node, connected, engines| NodeReport { node, connected, engines, addresses: vec![] };
        let response = AcksResponse {
            revision: Revision(13),
            outcome: AckOutcome::Pending,
            missing: [1, 3, 4, 5, 6].map(NodeId).to_vec(),
            reports: vec![
                report(NodeId(1), true, vec![engine(Engine::Envoy, lost), pending]),
                report(NodeId(2), true, vec![]),
                report(NodeId(3), false, vec![]),
                report(NodeId(4), true, vec![engine(Engine::Envoy, AckState::Applied)]),
                report(NodeId(6), true, vec![gone, no_xdp]),
            ],
        };
        let expected = [
            "  node 1 envoy: unavailable at revision 12: Envoy is not connected",
            "  node 1 xdp: pending at revision 12: loading the program",
            "  node 3: its data plane is not connected",
            "  node 4 envoy: applied at revision 12",
            "  node 4 xdp: has not reported yet",
            "  node 5: its data plane is not connected",
            "  node 6 envoy: unavailable at revision 13: Envoy is not connected",
        ];
        assert_eq!(missing(&response), expected.join("\n"));
    }

    #[test]
    fn a_refusal_names_node_engine_object_field_and_the_words_of_the_engine() {
        let response = AcksResponse {
            revision: Revision(12),
            outcome: AckOutcome::Refused,
            missing: vec![],
            reports: vec![NodeReport {
                node: NodeId(2),
                connected: true,
                engines: vec![engine(Engine::Envoy, refused())],
                addresses: vec![],
            }],
        };
        assert_eq!(
            refusals(&response),
            "  node 2 envoy: HTTPRoute/default/shop spec.rules[0].matches[0].path.regex: \
             no argument for repetition operator: *"
        );
    }
}
