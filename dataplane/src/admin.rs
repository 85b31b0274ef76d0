//! The data plane's own HTTP, on a Unix socket with mode 0600: metrics, health, status, flows.
//!
//! Owns the socket. Child of the root supervisor, restarted under a budget; its death harms no
//! traffic. Whoever may open the socket is root or the data plane's user, so nothing asks who calls.

mod questions;

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, future::BoxFuture};
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use model::{
    explain::Explanation,
    qos_report::QosReport,
    traffic::{EndpointList, EndpointQuery},
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::{net::UnixListener, sync::Semaphore};

use crate::{
    envoy::{Restart, RestartError},
    preflight::{Candidate, PreflightError, Verdict},
    tasks::Task,
    xdp::{
        engine::EngineError,
        explain::{ExplainError, Question},
        flows::FlowHub,
    },
};

/// A page, or a stream that may have no end.
type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Requests served at once; scrapes and people, never traffic. Many more than may follow flows.
const CONNECTIONS: usize = 32;

/// How long a caller may take over its request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(5);

/// What the pages show.
pub trait Pages: Send + Sync + 'static {
    /// The metrics, in Prometheus' text format.
    fn metrics(&self) -> String;
    /// The status, as JSON.
    fn status(&self) -> serde_json::Value;
    /// Who has the events of flows.
    fn flows(&self) -> &FlowHub;
    /// Lists the endpoints of L4 with what was counted.
    fn endpoints(&self, query: EndpointQuery) -> BoxFuture<'_, Result<EndpointList, CountedError>>;
    /// Tells of QoS policies.
    fn qos(&self) -> BoxFuture<'_, Result<QosReport, CountedError>>;
    /// Replaces Envoy by another one; answers when that takes traffic.
    fn restart_envoy(&self, restart: Restart) -> BoxFuture<'_, Result<(), RestartError>>;
    /// Tries a change of the configuration on an Envoy that takes no traffic.
    fn preflight(&self, candidate: Candidate) -> BoxFuture<'_, Result<Verdict, PreflightError>>;
    /// Asks for the hand-over to the next data plane; this one ends soon after.
    fn hand_over(&self);
    /// Says what would become of a packet.
    fn explain(&self, question: Question) -> BoxFuture<'_, Result<Explanation, ExplainError>>;
}

/// Tells why what was counted is not told.
#[derive(Debug, thiserror::Error)]
pub enum CountedError {
    /// XDP runs nothing here.
    #[error("XDP runs nothing on this node: see `marchproxy status`")]
    NotRunning,
    /// The counters were not read.
    #[error("the counters were not read")]
    Counters(#[from] EngineError),
}

/// The socket cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {}", path.display())]
pub struct AdminError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// What the admin server works with.
#[derive(Clone)]
pub struct AdminArguments {
    /// The socket's path; an old socket there is replaced.
    pub socket: PathBuf,
    /// What it shows.
    pub pages: Arc<dyn Pages>,
}

/// What the admin actor hears.
#[derive(Debug)]
pub enum AdminMessage {
    /// The socket no longer accepts.
    AcceptFailed(io::Error),
}

/// The admin actor.
#[derive(Debug)]
pub struct AdminActor;

/// Accepts while it lives.
#[derive(Debug)]
pub struct AdminState {
    _accepting: Task,
}

impl Actor for AdminActor {
    type Msg = AdminMessage;
    type State = AdminState;
    type Arguments = AdminArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<AdminMessage>,
        arguments: AdminArguments,
    ) -> Result<AdminState, ActorProcessingErr> {
        let listener = bind(&arguments.socket)
            .map_err(|source| AdminError { path: arguments.socket.clone(), source })?;
        let accepting = Task::spawn(async move {
            let error = accept(listener, arguments.pages).await;
            // When the actor ended first, there is nobody to tell.
            let _ = myself.cast(AdminMessage::AcceptFailed(error));
        });
        Ok(AdminState { _accepting: accepting })
    }

    async fn handle(
        &self,
        _myself: ActorRef<AdminMessage>,
        message: AdminMessage,
        _state: &mut AdminState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AdminMessage::AcceptFailed(error) => Err(error.into()),
        }
    }
}

/// Binds beside the path and renames, so that the socket never stands there with a loose mode.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&beside)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
    fs::rename(&beside, path)?;
    Ok(listener)
}

/// Serves until the socket fails.
async fn accept(listener: UnixListener, pages: Arc<dyn Pages>) -> io::Error {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => return error,
        };
        let pages = Arc::clone(&pages);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let pages = Arc::clone(&pages);
                async move { Ok::<_, Infallible>(respond(request, pages.as_ref()).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "an admin request failed");
            }
            drop(place);
        });
    }
}

async fn respond(request: Request<Incoming>, pages: &dyn Pages) -> Response<Body> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if request.method() == Method::POST && request.uri().path() == "/explain" {
        return match questions::explain(request.into_body(), pages).await {
            Ok(answer) => page(StatusCode::OK, "application/json", answer),
            Err((status, reason)) => page(status, TEXT, format!("{reason}\n")),
        };
    }
    if request.method() == Method::POST && request.uri().path() == "/envoy/restart" {
        return match questions::restart_envoy(request.uri().query(), pages).await {
            Ok(()) => page(StatusCode::OK, "application/json", "{}".to_owned()),
            Err((status, reason)) => page(status, TEXT, format!("{reason}\n")),
        };
    }
    if request.method() == Method::POST && request.uri().path() == "/preflight" {
        return match questions::preflight(request.into_body(), pages).await {
            Ok(answer) => page(StatusCode::OK, "application/json", answer),
            Err((status, reason)) => page(status, TEXT, format!("{reason}\n")),
        };
    }
    if request.method() == Method::POST && request.uri().path() == "/hand-over" {
        pages.hand_over();
        return page(StatusCode::OK, "application/json", "{}".to_owned());
    }
    if request.method() != Method::GET {
        return page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/healthz" => page(StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/metrics" => page(StatusCode::OK, "text/plain; version=0.0.4", pages.metrics()),
        "/status" => page(StatusCode::OK, "application/json", pages.status().to_string()),
        "/flows" => match flows(request.uri().query(), pages.flows()) {
            Ok(response) => response,
            Err((status, reason)) => page(status, TEXT, format!("{reason}\n")),
        },
        "/endpoints" => match endpoints(request.uri().query(), pages).await {
            Ok(answer) => page(StatusCode::OK, "application/json", answer),
            Err((status, reason)) => page(status, TEXT, format!("{reason}\n")),
        },
        "/qos" => match told(pages.qos().await) {
            Ok(answer) => page(StatusCode::OK, "application/json", answer),
            Err((status, reason)) => page(status, TEXT, format!("{reason}\n")),
        },
        _ => page(
            StatusCode::NOT_FOUND,
            TEXT,
            "there are /healthz, /metrics, /status, /flows, /endpoints and /qos; and to POST to \
             /explain, /preflight, /envoy/restart and /hand-over\n"
                .to_owned(),
        ),
    }
}

fn page(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    answer(status, kind, Full::from(body).boxed_unsync())
}

fn answer(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

/// Answers with events of flows, a JSON object a line; the query is a [`model::flow::FlowQuery`] in
/// JSON, percent-encoded.
fn flows(query: Option<&str>, hub: &FlowHub) -> Result<Response<Body>, (StatusCode, String)> {
    let events = hub
        .read(asked(query)?)
        .map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?
        .map(|message| {
            let mut line = serde_json::to_vec(&*message).expect("messages have string keys");
            line.push(b'\n');
            Ok::<_, Infallible>(Frame::data(Bytes::from(line)))
        });
    let body = StreamBody::new(events).boxed_unsync();
    Ok(answer(StatusCode::OK, "application/x-ndjson", body))
}

/// Answers with the endpoints of L4; the query is an [`EndpointQuery`], as that of flows.
async fn endpoints(query: Option<&str>, pages: &dyn Pages) -> Result<String, (StatusCode, String)> {
    told(pages.endpoints(asked(query)?).await)
}

fn told<T: serde::Serialize>(
    answered: Result<T, CountedError>,
) -> Result<String, (StatusCode, String)> {
    let answer = answered.map_err(|error| {
        let status = match &error {
            CountedError::NotRunning => StatusCode::SERVICE_UNAVAILABLE,
            CountedError::Counters(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, runtime::chain::chain(&error))
    })?;
    Ok(serde_json::to_string(&answer).expect("an answer has string keys"))
}

/// Reads a query: JSON, percent-encoded; `{}` when there is none.
fn asked<T: serde::de::DeserializeOwned>(query: Option<&str>) -> Result<T, (StatusCode, String)> {
    let wrong = |reason: String| (StatusCode::BAD_REQUEST, reason);
    let text = decoded(query.unwrap_or("%7B%7D")).ok_or_else(|| wrong("no UTF-8".to_owned()))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}

/// Decodes percent-encoding (RFC 3986, section 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push((high << 4 | low) as u8);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
