//! The data plane's own HTTP, on a Unix socket with mode 0600: metrics, health, status.
//!
//! Owns the socket. Child of the root supervisor, restarted under a budget; its death harms no
//! traffic. Whoever may open the socket is root or the data plane's user, so nothing asks who calls.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::{net::UnixListener, sync::Semaphore};

use crate::tasks::Task;

/// Requests served at once; scrapes and people, never traffic.
const CONNECTIONS: usize = 32;

/// How long a caller may take over its request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(5);

/// What the pages show.
pub trait Pages: Send + Sync + 'static {
    /// The metrics, in Prometheus' text format.
    fn metrics(&self) -> String;
    /// The status, as JSON.
    fn status(&self) -> serde_json::Value;
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
                let response = respond(&request, pages.as_ref());
                async move { Ok::<_, Infallible>(response) }
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

fn respond(request: &Request<Incoming>, pages: &dyn Pages) -> Response<Full<Bytes>> {
    let page = |status: StatusCode, kind: &'static str, body: String| {
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
        response
    };
    const TEXT: &str = "text/plain; charset=utf-8";
    if request.method() != Method::GET {
        return page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/healthz" => page(StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/metrics" => page(StatusCode::OK, "text/plain; version=0.0.4", pages.metrics()),
        "/status" => page(StatusCode::OK, "application/json", pages.status().to_string()),
        _ => page(
            StatusCode::NOT_FOUND,
            TEXT,
            "there are /healthz, /metrics and /status\n".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use runtime::supervision::{ChildSpec, SupervisorHandle};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
    };

    use super::*;

    struct Fixed;
    impl Pages for Fixed {
        fn metrics(&self) -> String {
            "a_metric 1\n".to_owned()
        }

        fn status(&self) -> serde_json::Value {
            serde_json::json!({"revision": 4})
        }
    }

    async fn get(socket: &Path, request: &str) -> String {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        stream
            .write_all(format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
            .await
            .unwrap();
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
                (AdminActor, AdminArguments { socket: place.clone(), pages: Arc::new(Fixed) })
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
            check("GET /", "404", "/status\n").await;
            check("POST /status", "405", "only GET\n").await;
            supervisor.stop("test over").await;
        }
    }
}
