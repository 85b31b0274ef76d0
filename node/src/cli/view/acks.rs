//! What the data planes answered: a table for people, and the refusals as a report.

use model::{
    ack::{AckState, EngineReport, NodeReport, Refusal},
    api::AcksResponse,
};

use crate::cli::table;

/// Lays out what each engine of each node runs.
#[must_use]
pub fn table(reports: &[NodeReport]) -> String {
    let mut rows = Vec::new();
    for NodeReport { node, connected, engines } in reports {
        if !connected || engines.is_empty() {
            let state = if *connected { "starting" } else { "disconnected" };
            rows.push(vec![node.to_string(), String::new(), state.to_owned()]);
        }
        for EngineReport { engine, revision, ack, notes } in engines {
            rows.push(vec![
                node.to_string(),
                engine.to_string(),
                if *connected { state(ack) } else { format!("{} (disconnected)", state(ack)) },
                revision.to_string(),
                remarks(ack, notes),
            ]);
        }
    }
    if rows.is_empty() {
        return "no node has a data plane\n".to_owned();
    }
    table::render(&["NODE", "ENGINE", "STATE", "REVISION", "NOTES"], &rows)
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

/// Names nodes: `node 2, node 3`.
#[must_use]
pub fn missing(response: &AcksResponse) -> String {
    let nodes: Vec<_> = response.missing.iter().map(|node| format!("node {node}")).collect();
    if nodes.is_empty() { "every engine".to_owned() } else { nodes.join(", ") }
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
    use model::{Engine, Revision, api::AckOutcome, cluster::NodeId};

    use super::*;

    fn engine(engine: Engine, ack: AckState) -> EngineReport {
        EngineReport { engine, revision: Revision(12), ack, notes: vec![] }
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
                    engine(Engine::Envoy, AckState::Applied),
                    engine(Engine::Xdp, unavailable),
                ],
            },
            NodeReport { node: NodeId(3), connected: false, engines: vec![] },
        ]
    }

    #[test]
    fn engines_are_listed_by_node() {
        let expected = "\
NODE  ENGINE  STATE         REVISION  NOTES
1     envoy   applied       12        -
1     xdp     unavailable   12        no CAP_BPF
3     -       disconnected
";
        assert_eq!(table(&reports()), expected);
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
            }],
        };
        assert_eq!(
            refusals(&response),
            "  node 2 envoy: HTTPRoute/default/shop spec.rules[0].matches[0].path.regex: \
             no argument for repetition operator: *"
        );
    }
}
