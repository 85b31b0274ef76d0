//! What would become of a packet: a line for each decision.

use model::explain::Explanation;

use crate::cli::table;

/// Lays out the decisions.
#[must_use]
pub fn table(explanation: &Explanation) -> String {
    let Explanation { node, revision, live, decisions, .. } = explanation;
    let rows: Vec<Vec<String>> = decisions
        .iter()
        .map(|decision| {
            let object = decision.object.as_ref().map(ToString::to_string).unwrap_or_default();
            let changed = decision.object_revision.map(|it| it.to_string()).unwrap_or_default();
            vec![decision.step.clone(), decision.said.clone(), object, changed]
        })
        .collect();
    let at = if *live { "what runs, with its connections" } else { "without connections" };
    format!(
        "node {node}, revision {revision} ({at})\n{}",
        table::render(&["STEP", "DECISION", "OBJECT", "CHANGED"], &rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_decision_is_a_line_with_its_object_and_revision() {
        let explanation: Explanation = serde_json::from_str(
            r#"{"node":2,"revision":12,"live":true,"verdict":"dropped","reason":"filtered","frame":"",
            "decisions":[{"step":"parse","said":"IPv4 TCP"},
            {"step":"filter","said":"rules[1] denies","object":"PacketFilter/default/edge","objectRevision":7}]}"#,
        )
        .unwrap();
        let expected = "\
node 2, revision 12 (what runs, with its connections)
STEP    DECISION         OBJECT                     CHANGED
parse   IPv4 TCP         -                          -
filter  rules[1] denies  PacketFilter/default/edge  7
";
        assert_eq!(table(&explanation), expected);
    }
}
