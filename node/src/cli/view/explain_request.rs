//! What would become of a request: a line for each decision, and the request as a service sees it.

use std::fmt::Write as _;

use model::explain::request::{RequestExplanation, UpstreamRequest};

use crate::cli::table;

/// Lays out the decisions.
#[must_use]
pub fn table(explanation: &RequestExplanation) -> String {
    let RequestExplanation { node, revision, live, decisions, upstream, .. } = explanation;
    let rows: Vec<Vec<String>> = decisions
        .iter()
        .map(|decision| {
            let object = decision.object.as_ref().map(ToString::to_string).unwrap_or_default();
            let field = decision.field.clone().unwrap_or_default();
            let changed = decision.object_revision.map(|it| it.to_string()).unwrap_or_default();
            vec![decision.step.clone(), decision.said.clone(), object, field, changed]
        })
        .collect();
    let at = if *live { "the present configuration" } else { "a past configuration" };
    let mut text = format!(
        "node {node}, revision {revision} ({at})\n{}",
        table::render(&["STEP", "DECISION", "OBJECT", "FIELD", "CHANGED"], &rows)
    );
    if let Some(UpstreamRequest { method, host, target, headers }) = upstream {
        let _ = write!(text, "\nto the service:\n  {method} {target}\n  host: {host}\n");
        for header in headers {
            let _ = writeln!(text, "  {}: {}", header.name, header.value);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_decision_is_a_line_with_its_object_and_field() {
        let explanation: RequestExplanation = serde_json::from_str(
            r#"{"node":2,"revision":12,"live":true,"outcome":"forwarded","decisions":[
            {"step":"request","said":"GET /cart, host shop.example"},
            {"step":"route","said":"prefix /cart","object":"HTTPRoute/shop/web",
             "field":"spec.rules[0].matches[1]","objectRevision":7}],
            "upstream":{"method":"GET","host":"a.example","target":"/v2",
             "headers":[{"name":"x-a","value":"1"}]}}"#,
        )
        .unwrap();
        let expected = "\
node 2, revision 12 (the present configuration)
STEP     DECISION                      OBJECT              FIELD                     CHANGED
request  GET /cart, host shop.example  -                   -                         -
route    prefix /cart                  HTTPRoute/shop/web  spec.rules[0].matches[1]  7

to the service:
  GET /v2
  host: a.example
  x-a: 1
";
        assert_eq!(table(&explanation), expected);
    }
}
