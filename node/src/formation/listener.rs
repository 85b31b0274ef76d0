//! The side of a peer that does not found: it listens on its API port for the founder, promises,
//! and waits for its invitation.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use model::api::ErrorResponse;
use runtime::identity::ClusterId;
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::promise::{Declared, Genesis, keep, promise, read};
use crate::joining::JoinLine;

/// Where founders speak.
pub(super) const PATH: &str = "/v1/formation";
const PROMISE_FILE: &str = "promise.json";
/// Connections at a time: the founder needs one.
const CONNECTIONS_MAX: usize = 16;
/// Time for a handshake and a request.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a request: seven addresses and a join line.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// How often the log says what is waited for.
const REMIND_EVERY: Duration = Duration::from_secs(15);

/// What a founder asks.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ask {
    /// Durably promise to be in this cluster and no other.
    Promise(Genesis),
    /// Join by this line.
    Invite(String),
}

/// What a peer says to that.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    /// It has promised.
    Promised,
    /// It joins.
    Joining,
}

struct Host {
    declared: Declared,
    promise_file: std::path::PathBuf,
    /// Promises are given one at a time.
    promising: Mutex<()>,
    invited: mpsc::Sender<JoinLine>,
}

/// Listens until the founder sends a join line.
pub(crate) async fn wait_for_invitation(
    listener: &TcpListener,
    tls: Arc<rustls::ServerConfig>,
    declared: Declared,
    identity_dir: &Path,
) -> anyhow::Result<JoinLine> {
    let founder: SocketAddr = declared.founder();
    let (invited, mut invitation) = mpsc::channel(1);
    let promise_file = identity_dir.join(PROMISE_FILE);
    let host = Arc::new(Host { declared, promise_file, promising: Mutex::default(), invited });
    let acceptor = TlsAcceptor::from(tls);
    let mut connections: Vec<AbortOnDropHandle<()>> = Vec::new();
    let mut remind = tokio::time::interval(REMIND_EVERY);
    loop {
        tokio::select! {
            Some(line) = invitation.recv() => return Ok(line),
            accepted = listener.accept() => {
                connections.retain(|connection| !connection.is_finished());
                let Ok((stream, _)) = accepted else { continue };
                if connections.len() < CONNECTIONS_MAX {
                    let serve = serve(host.clone(), acceptor.clone(), stream);
                    connections.push(AbortOnDropHandle::new(tokio::spawn(serve)));
                }
            }
            _ = remind.tick() => tracing::info!(
                %founder,
                "waiting for the founder; where the cluster is formed already, join it by a line \
                 of `marchproxy token join`"
            ),
        }
    }
}

/// Forgets the promise of a host that has joined.
pub(crate) fn forget(identity_dir: &Path) {
    // One that stays says what is true: the host is in that cluster.
    let _ = std::fs::remove_file(identity_dir.join(PROMISE_FILE));
}

async fn serve(host: Arc<Host>, acceptor: TlsAcceptor, stream: TcpStream) {
    let shaken = tokio::time::timeout(REQUEST_WITHIN, acceptor.accept(stream)).await;
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%error, "a caller without the cluster secret was not let in");
            return;
        }
        Err(_) => return,
    };
    let service = service_fn(move |request| {
        let host = host.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(&host, request).await) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(REQUEST_WITHIN);
    // A broken connection is the founder's to repeat.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(host: &Host, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH {
        let message = "this node forms a cluster and has no API yet".to_owned();
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "forming", message);
    }
    let body = Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect().await;
    let Some(ask) = body.ok().and_then(|body| serde_json::from_slice(&body.to_bytes()).ok()) else {
        let message = "the request is not one of this version".to_owned();
        return refuse(StatusCode::BAD_REQUEST, "invalid", message);
    };
    match host.ask(ask).await {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(error) => refuse(StatusCode::CONFLICT, "refused", format!("{error:#}")),
    }
}

impl Host {
    async fn ask(&self, ask: Ask) -> anyhow::Result<Answer> {
        match ask {
            Ask::Promise(genesis) => {
                let _turn = self.promising.lock().await;
                let kept: Option<ClusterId> = read(&self.promise_file)?;
                promise(&self.declared, kept.as_ref(), &genesis)?;
                keep(&self.promise_file, &genesis.cluster)?;
                Ok(Answer::Promised)
            }
            Ask::Invite(line) => {
                let line: JoinLine = line.parse()?;
                let kept: Option<ClusterId> = read(&self.promise_file)?;
                anyhow::ensure!(
                    kept.as_ref() == Some(&line.cluster),
                    "this host did not promise cluster {}",
                    line.cluster
                );
                // A second invitation while the first is under way says the same.
                let _ = self.invited.try_send(line);
                Ok(Answer::Joining)
            }
        }
    }
}

fn refuse(status: StatusCode, code: &str, message: String) -> Response<Full<Bytes>> {
    json(status, &ErrorResponse { code: code.to_owned(), message, errors: None })
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(body).expect("answers have string keys only");
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
