//! The answer of `GET /v1/status`, as far as tests ask: voters, leader, and what the engines run.

use anyhow::{Context, Result};
use serde_json::Value;

/// The `revision` in an answer that begins with a JSON document.
///
/// # Errors
/// When there is none.
pub fn revision_in(text: &str) -> Result<u64> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value =
        values.next().and_then(Result::ok).with_context(|| format!("no JSON in {text:?}"))?;
    value["revision"].as_u64().with_context(|| format!("no revision in {text:?}"))
}

/// What an engine's report says, for people: its state, and why.
#[must_use]
pub fn words(report: &Value) -> String {
    let state = report["state"].as_str().unwrap_or("no state");
    let notes = report["notes"].as_array().into_iter().flatten();
    let reasons: Vec<&str> =
        std::iter::once(&report["reason"]).chain(notes).filter_map(Value::as_str).collect();
    if reasons.is_empty() { state.to_owned() } else { format!("{state} ({})", reasons.join("; ")) }
}

/// Whether all data planes run a revision.
#[derive(Debug, PartialEq, Eq)]
pub enum Applied {
    /// They do.
    Yes,
    /// Some have not answered.
    NotYet(String),
    /// One has refused.
    Refused(String),
}

/// The answer of `GET /v1/status`.
#[derive(Debug, Clone)]
pub struct Status(pub Value);

impl Status {
    /// How many nodes vote.
    #[must_use]
    pub fn voters(&self) -> usize {
        self.nodes().filter(|node| node["voter"] == true).count()
    }

    /// The API address of the leader.
    #[must_use]
    pub fn leader_api(&self) -> Option<String> {
        let leader = self.0["leader"].as_u64()?;
        let node = self.nodes().find(|node| node["id"].as_u64() == Some(leader))?;
        node["addresses"]["api"].as_str().map(str::to_owned)
    }

    /// The name of a node.
    #[must_use]
    pub fn name(&self, id: u64) -> Option<&str> {
        self.nodes().find(|node| node["id"] == id)?["addresses"]["name"].as_str()
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.0["revision"].as_u64().unwrap_or(0)
    }

    /// The reports of the data planes' engines: node, engine, report.
    pub fn engines(&self) -> impl Iterator<Item = (u64, &str, &Value)> {
        self.0["reports"].as_array().into_iter().flatten().flat_map(|report| {
            let node = report["node"].as_u64().unwrap_or(0);
            report["engines"]
                .as_array()
                .into_iter()
                .flatten()
                .map(move |engine| (node, engine["engine"].as_str().unwrap_or_default(), engine))
        })
    }

    /// Whether the Envoys of `planes` data planes, and all XDP engines that are there, run a
    /// revision.
    #[must_use]
    pub fn applied(&self, planes: usize, revision: u64) -> Applied {
        let mut envoys = 0;
        for (node, engine, report) in self.engines() {
            let at = report["revision"].as_u64().unwrap_or(0);
            let what = || format!("node {node}, {engine}: {report}");
            match report["state"].as_str() {
                Some("refused") if at >= revision => return Applied::Refused(what()),
                Some("applied") if at >= revision => envoys += usize::from(engine == "envoy"),
                Some("unavailable") if engine == "xdp" => {}
                _ => return Applied::NotYet(what()),
            }
        }
        if envoys >= planes {
            return Applied::Yes;
        }
        Applied::NotYet(format!("{envoys} of {planes} Envoys answered"))
    }

    fn nodes(&self) -> impl Iterator<Item = &Value> {
        self.0["nodes"].as_array().into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(engines: Value) -> Status {
        Status(json!({ "reports": [{ "node": 1, "engines": engines }] }))
    }

    #[test]
    fn applied_means_every_engine_that_is_there() {
        let check = |engines: Value, want: fn(&Applied) -> bool| {
            let got = status(engines.clone()).applied(1, 7);
            assert!(want(&got), "{engines}: {got:?}");
        };
        let envoy = json!({ "engine": "envoy", "revision": 7, "state": "applied" });
        let absent = json!({ "engine": "xdp", "revision": 0, "state": "unavailable" });
        check(json!([envoy]), |got| *got == Applied::Yes);
        check(json!([envoy, absent]), |got| *got == Applied::Yes);
        check(json!([]), |got| matches!(got, Applied::NotYet(_)));
        check(json!([absent]), |got| matches!(got, Applied::NotYet(_)));
        let behind = json!({ "engine": "xdp", "revision": 6, "state": "applied" });
        check(json!([envoy, behind]), |got| matches!(got, Applied::NotYet(_)));
        let refused = json!({ "engine": "xdp", "revision": 7, "state": "refused" });
        check(json!([envoy, refused]), |got| matches!(got, Applied::Refused(_)));
        let old = json!({ "engine": "envoy", "revision": 6, "state": "refused" });
        check(json!([old]), |got| matches!(got, Applied::NotYet(_)));
    }

    #[test]
    fn a_report_is_put_into_words() {
        let check = |report: Value, want: &str| assert_eq!(words(&report), want, "{report}");
        check(json!({ "state": "applied", "notes": [] }), "applied");
        check(json!({ "state": "unavailable", "reason": "no --xdp" }), "unavailable (no --xdp)");
        check(json!({ "state": "applied", "notes": ["native mode"] }), "applied (native mode)");
        check(json!({}), "no state");
    }

    #[test]
    fn the_leader_is_found_by_its_number() {
        let status = Status(json!({
            "leader": 5,
            "nodes": [
                { "id": 1, "voter": true, "addresses": { "api": "127.0.0.11:7800" } },
                { "id": 5, "voter": false, "addresses": { "api": "127.0.0.12:7800" } },
            ],
        }));
        assert_eq!(status.leader_api().as_deref(), Some("127.0.0.12:7800"));
        assert_eq!(status.voters(), 1);
    }

    #[test]
    fn a_revision_is_read_from_the_first_document() {
        assert_eq!(revision_in("{\"revision\": 12}\n{\"x\":1}").unwrap(), 12);
        assert!(revision_in("created").is_err());
    }
}
