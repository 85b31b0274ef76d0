//! Has the data plane beside this control process try a change on an Envoy, before it is committed.
//!
//! It decides nothing alone: what Envoy refuses is told, and where the change cannot be tried the
//! write goes on, with a warning. Engines are asked again after the commit.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use model::{ConfigError, ConfigErrors, Kind, Object, Plan, Refusal, Revision, Snapshot, Spec};
use serde::Deserialize;
use serde_json::json;

use crate::dataplane_socket::exchange;

/// How long it may take: the data plane gives up before.
const WITHIN: Duration = Duration::from_secs(10);
/// The most that is taken of an answer: refusals, which are few.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Asks the data plane of this node.
#[derive(Clone, Debug)]
pub(crate) struct Preflight {
    /// Its socket; none where the node runs no data plane.
    socket: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    /// What Envoy refuses.
    pub(crate) refused: Vec<ConfigError>,
    /// What is to be known besides, or why it was not tried.
    pub(crate) warnings: Vec<String>,
}

/// What the data plane answers.
#[derive(Debug, Deserialize)]
struct Verdict {
    refusals: Vec<Refusal>,
    of_this_node: Vec<Refusal>,
}

impl Preflight {
    pub(crate) fn new(socket: Option<PathBuf>) -> Self {
        Self { socket }
    }

    /// Tries what a plan changes of the configuration that is present.
    pub(crate) async fn check(&self, present: &Snapshot, plan: &Plan) -> Tried {
        let puts = plan.puts.iter().any(|object| is_worth_a_try(present, object));
        if !puts && !plan.deletes.iter().any(|key| concerns_envoy(key.kind)) {
            return Tried::default();
        }
        let base = present.revision();
        let untried = |reason: String| Tried {
            refused: Vec::new(),
            warnings: vec![format!("not tried on an Envoy before it was committed: {reason}")],
        };
        let Some(socket) = &self.socket else {
            return untried("this node runs no data plane".to_owned());
        };
        match tokio::time::timeout(WITHIN, ask(socket, base, plan)).await {
            Ok(Ok(verdict)) => verdict.into(),
            Ok(Err(reason)) => untried(reason),
            Err(_) => untried(format!("the data plane did not answer within {WITHIN:?}")),
        }
    }
}

/// Tells whether Envoy is told anything of a kind.
fn concerns_envoy(kind: Kind) -> bool {
    !matches!(kind, Kind::PacketFilter | Kind::PrefixList | Kind::QosPolicy | Kind::RolloutPolicy)
}

/// Tells whether Envoy might refuse what is put. Endpoints change most often and must be quick: they
/// are addresses and ports that have been parsed, and make nothing else of Envoy's configuration.
fn is_worth_a_try(present: &Snapshot, object: &Object) -> bool {
    let before = present.get(&object.key()).map(|before| &before.spec);
    match (&object.spec, before) {
        (Spec::Service(service), Some(Spec::Service(before))) => {
            !service.differs_only_in_endpoints(before)
        }
        (spec, _) => concerns_envoy(spec.kind()),
    }
}

async fn ask(socket: &std::path::Path, base: Revision, plan: &Plan) -> Result<Verdict, String> {
    let puts: Vec<_> = plan.puts.iter().map(|object| object.to_value()).collect();
    let question = json!({"base": base, "puts": puts, "deletes": plan.deletes});
    let question = serde_json::to_vec(&question).expect("it has string keys");
    let request = Request::post("/preflight");
    let (response, _connection) = exchange(socket, request, Bytes::from(question))
        .await
        .map_err(|error| format!("the data plane does not answer: {error}"))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| format!("the data plane's answer: {error}"))?.to_bytes();
    if status != StatusCode::OK {
        return Err(String::from_utf8_lossy(&body).trim().to_owned());
    }
    serde_json::from_slice(&body).map_err(|error| format!("the data plane's answer: {error}"))
}

impl From<Verdict> for Tried {
    fn from(verdict: Verdict) -> Self {
        let refused = verdict.refusals.into_iter().map(|refusal| ConfigError {
            object: refusal.object,
            document: 0,
            path: refusal.field,
            value: String::new(),
            message: format!("Envoy refuses it: {}", refusal.message.trim()),
            remedy: "write what Envoy takes, or insist with `--force`".to_owned(),
        });
        let warnings = verdict.of_this_node.into_iter().map(|refusal| {
            let object = refusal.object.map(|object| object.to_string()).unwrap_or_default();
            format!("this node's Envoy refuses {object} for now: {}", refusal.message.trim())
        });
        Self { refused: refused.collect(), warnings: warnings.collect() }
    }
}

impl Tried {
    /// What refuses the write, where it is not forced.
    pub(crate) fn errors(&self) -> Option<ConfigErrors> {
        (!self.refused.is_empty()).then(|| ConfigErrors(self.refused.clone()))
    }
}

#[cfg(test)]
mod tests {
    use model::{Snapshot, plan_apply};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixListener,
    };

    use super::*;

    fn plan(yaml: &str) -> Plan {
        plan_apply(&Snapshot::default(), model::parse::parse_documents(yaml).unwrap()).unwrap()
    }

    const SERVICE: &str = "kind: Service\nmetadata: { name: a }\nspec: { endpoints: [{ address: \
                           10.0.0.1, port: 1 }] }\n";

    /// Has a data plane answer so, and returns what came of it.
    async fn answered(status: &str, body: &str) -> Tried {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("dataplane.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            assert!(request.starts_with("POST /preflight HTTP/1.1"), "{request}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (plan, preflight) = (plan(SERVICE), Preflight::new(Some(socket)));
        let present = Snapshot::default();
        tokio::join!(serve, preflight.check(&present, &plan)).1
    }

    #[tokio::test]
    async fn a_refusal_is_an_error_and_what_was_not_tried_a_warning() {
        let refusal = r#"{"object":"Service/default/a","field":"spec.tls","resource":"Cluster a","message":"no"}"#;
        let tried =
            answered("200 OK", &format!(r#"{{"refusals":[{refusal}],"of_this_node":[]}}"#)).await;
        let [error] = tried.refused.as_slice() else { panic!("{tried:?}") };
        assert_eq!(error.object, Some("Service/default/a".parse().unwrap()));
        assert_eq!(
            (error.path.as_str(), error.message.as_str()),
            ("spec.tls", "Envoy refuses it: no")
        );
        assert!(tried.warnings.is_empty() && tried.errors().is_some());

        let tried =
            answered("200 OK", &format!(r#"{{"refusals":[],"of_this_node":[{refusal}]}}"#)).await;
        assert!(tried.errors().is_none());
        assert_eq!(tried.warnings, ["this node's Envoy refuses Service/default/a for now: no"]);

        for (status, body) in [("503 No", "no Envoy"), ("404 Old", "no page"), ("200 OK", "{}")] {
            let tried = answered(status, body).await;
            assert!(tried.errors().is_none() && tried.warnings.len() == 1, "{tried:?}");
        }
    }

    #[tokio::test]
    async fn only_what_envoy_is_told_of_is_tried() {
        let nobody = Preflight::new(None);
        let is_tried = async |present: &Snapshot, yaml: &str| {
            let documents = model::parse::parse_documents(yaml).unwrap();
            let plan = plan_apply(present, documents).unwrap();
            assert!(!plan.is_empty(), "{yaml}");
            !nobody.check(present, &plan).await.warnings.is_empty()
        };
        let nothing = Snapshot::default();
        assert!(is_tried(&nothing, SERVICE).await);
        let lists = "kind: PrefixList\nmetadata: { name: a }\nspec: { prefixes: [10.0.0.0/8] }\n";
        assert!(!is_tried(&nothing, lists).await);

        // Endpoints of a service that is there, and nothing besides.
        let present = plan(SERVICE).next;
        let moved = SERVICE.replace("10.0.0.1", "10.0.0.2");
        assert!(!is_tried(&present, &moved).await);
        let slower = moved.replace("spec: {", "spec: { connectTimeout: 9s,");
        assert!(is_tried(&present, &slower).await);
        assert!(
            is_tried(&present, &format!("{moved}---\n{}", SERVICE.replace("a }", "b }"))).await
        );
        let remove = model::plan_delete(&present, &["Service/default/a".parse().unwrap()]);
        assert!(!nobody.check(&present, &remove.unwrap()).await.warnings.is_empty());
    }
}
