//! The pages, over a real socket.

use model::Revision;
use runtime::supervision::{ChildSpec, SupervisorHandle};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::*;

struct Fixed(FlowHub);
impl Pages for Fixed {
    fn explain(&self, question: Question) -> BoxFuture<'_, Result<Explanation, ExplainError>> {
        let refused = question.request.to_frame().map(drop);
        Box::pin(async { Err(refused.map_or_else(Into::into, |()| ExplainError::NotRunning)) })
    }

    fn endpoints(&self, query: EndpointQuery) -> BoxFuture<'_, Result<EndpointList, CountedError>> {
        Box::pin(async move {
            if query.service.is_some() {
                return Err(CountedError::NotRunning);
            }
            Ok(EndpointList { node: self.0.node(), revision: Revision(4), endpoints: vec![] })
        })
    }

    fn qos(&self) -> BoxFuture<'_, Result<QosReport, CountedError>> {
        let report = QosReport {
            node: self.0.node(),
            revision: Revision(4),
            listeners: vec![],
            classes: vec![],
            workers: vec![],
        };
        Box::pin(async { Ok(report) })
    }

    fn restart_envoy(&self, _restart: Restart) -> BoxFuture<'_, Result<(), RestartError>> {
        Box::pin(async { Err(RestartError::NothingRuns) })
    }

    fn preflight(&self, candidate: Candidate) -> BoxFuture<'_, Result<Verdict, PreflightError>> {
        let (base, present) = (candidate.base, Revision(4));
        Box::pin(async move { Err(PreflightError::OtherBase { base, present }) })
    }

    fn hand_over(&self) {}

    fn flows(&self) -> &FlowHub {
        &self.0
    }

    fn metrics(&self) -> String {
        "a_metric 1\n".to_owned()
    }

    fn status(&self) -> serde_json::Value {
        serde_json::json!({"revision": 4})
    }
}

/// The one event, as a chunk (RFC 9112, section 7.1) and the end of the body.
const LOST: &str =
    "\r\n{\"event\":\"lost\",\"node\":3,\"ring\":1,\"heldBack\":2,\"slow\":0}\n\r\n0\r\n\r\n";

async fn get(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn pages_are_served_to_the_owner_only_and_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("dataplane.sock");
    let place = socket.clone();
    let spec = move || {
        let place = place.clone();
        ChildSpec::actor("admin", move || {
            let hub = FlowHub::new(model::cluster::NodeId(3));
            hub.lost(1, 2);
            let pages = Arc::new(Fixed(hub));
            (AdminActor, AdminArguments { socket: place.clone(), pages })
        })
    };
    // The second round finds the first one's socket file.
    for _ in 0..2 {
        let (supervisor, _join) = SupervisorHandle::start(vec![spec()]).await.unwrap();
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        let check = async |request: &str, status: &str, body: &str| {
            let answer = get(&socket, request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
            assert!(answer.ends_with(body), "{request}: {answer}");
        };
        check("GET /healthz", "200", "ok\n").await;
        check("GET /metrics", "200", "a_metric 1\n").await;
        check("GET /status", "200", "{\"revision\":4}").await;
        check("GET /flows", "200", LOST).await;
        check("GET /flows?%7B%22verdict%22%3A%22dropped%22%7D", "200", LOST).await;
        check("GET /flows?%7B%22verdict%22%3A1%7D", "400", "column 12\n").await;
        check("GET /flows?%7", "400", "no UTF-8\n").await;
        let none = "{\"node\":3,\"revision\":4,\"endpoints\":[]}";
        check("GET /endpoints", "200", none).await;
        check("GET /endpoints?%7B%22service%22%3A%22a%22%7D", "503", "status`\n").await;
        check("GET /endpoints?%7B%22verdict%22%3A1%7D", "400", "column 10\n").await;
        check("GET /qos", "200", "\"listeners\":[],\"classes\":[],\"workers\":[]}").await;
        check("GET /", "404", "to POST to /explain, /preflight, /envoy/restart and /hand-over\n")
            .await;
        check("POST /envoy/restart", "503", "no Envoy runs here\n").await;
        check("POST /envoy/restart?%7B%22gently%22%3A1%7D", "400", "column 9\n").await;
        check("POST /hand-over", "200", "{}").await;
        check("POST /status", "405", "only GET\n").await;
        supervisor.stop("test over").await;
    }
}
