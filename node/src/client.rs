//! The client of the API: for the command line and for programs in Rust.
//!
//! Knows several servers of one cluster and asks the next one when one is down. A write carries an
//! `Idempotency-Key`, so that asking again after a lost answer applies it once. Trust is the pin of
//! the cluster's CA; the address that a server is reached under proves nothing.

pub mod address;
mod attempt;
mod connection;
pub mod context;
pub mod error;
pub mod request;
pub mod sse;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::client::conn::http1::SendRequest;
use model::flow::FlowQuery;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

pub use address::ServerAddress;
pub use context::{Context, ContextError, Secret};
pub use error::{ClientError, ConnectError};
pub use request::Request;

use attempt::{Progress, Step};

/// How long a cluster without a leader is asked again: an election in a wide network takes about
/// five seconds.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two rounds over the servers while there is no leader.
const ROUND_PAUSE: Duration = Duration::from_millis(200);

type Sender = SendRequest<http_body_util::Full<Bytes>>;

/// A client of one cluster; clones share its connection.
#[derive(Clone)]
pub struct Client {
    servers: Arc<Vec<ServerAddress>>,
    token: Secret,
    tls: Arc<rustls::ClientConfig>,
    /// An idle connection to the server that answered last.
    idle: Arc<Mutex<Option<(usize, Sender)>>>,
    patience: Duration,
}

/// An answer of the API with status 2xx.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: http::StatusCode,
    /// The header fields.
    pub headers: http::HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The server that gave it.
    pub server: ServerAddress,
}

impl Answer {
    /// Reads the body as JSON.
    ///
    /// # Errors
    /// The body is not of this type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| ClientError::Answer {
            server: self.server.clone(),
            reason: error.to_string(),
        })
    }
}

impl Client {
    /// Makes a client; connects on the first request.
    ///
    /// # Errors
    /// The context names no server, or TLS cannot be configured.
    pub fn new(context: &Context) -> Result<Self, ClientError> {
        if context.servers.is_empty() {
            return Err(ClientError::NoServer);
        }
        let tls = runtime::tls::client_pinned(&context.ca_pin).map_err(ClientError::Tls)?;
        Ok(Self {
            servers: Arc::new(context.servers.clone()),
            token: context.token.clone(),
            tls: runtime::tls::client_alpn(&tls, &[b"http/1.1"]),
            idle: Arc::default(),
            patience: PATIENCE,
        })
    }

    /// Sets how long a cluster without a leader is asked again.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends a request and reads the JSON of its answer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn call<T: DeserializeOwned>(&self, request: Request) -> Result<T, ClientError> {
        self.send(&request).await?.json()
    }

    /// Sends a request, to the next server when one is down, until one answers it.
    ///
    /// # Errors
    /// See [`ClientError`]; only `OutcomeUnknown` may have been done.
    pub async fn send(&self, request: &Request) -> Result<Answer, ClientError> {
        let mut progress = Progress::new(request.is_write());
        let deadline = tokio::time::Instant::now() + self.patience;
        loop {
            for index in self.order().await {
                match progress.judge(self.try_server(index, request).await) {
                    Step::Answered(answer) => return Ok(answer),
                    Step::Failed(error) => return Err(error),
                    Step::AskNext => {}
                }
            }
            let again = tokio::time::Instant::now() + ROUND_PAUSE;
            if !progress.worth_another_round() || again > deadline {
                return Err(progress.into_error());
            }
            tokio::time::sleep_until(again).await;
        }
    }

    /// Opens the stream of events; after `last` (a revision) when one is given.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(&self, last: Option<&str>) -> Result<sse::EventStream, ClientError> {
        let mut progress = Progress::new(false);
        let mut request = Request::get("/v1/events");
        request.last_event_id = last.map(str::to_owned);
        for (index, server) in self.servers.iter().enumerate() {
            match self.open_stream(index, &request).await {
                Ok(body) => return Ok(sse::EventStream::new(server.clone(), body)),
                Err(error) => match progress.judge(Err(error)) {
                    Step::Failed(error) => return Err(error),
                    Step::Answered(_) | Step::AskNext => {}
                },
            }
        }
        Err(progress.into_error())
    }

    /// Opens the stream of flows of one server's node.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn flows(&self, query: &FlowQuery) -> Result<sse::EventStream, ClientError> {
        let FlowQuery { follow, service, listener, verdict, address } = query;
        let mut request = Request::get("/v1/flows").query("follow", follow);
        for (name, value) in [("service", service), ("listener", listener)] {
            if let Some(value) = value {
                request = request.query(name, value);
            }
        }
        if let Some(verdict) = verdict {
            request = request.query("verdict", verdict);
        }
        if let Some(address) = address {
            request = request.query("address", address);
        }
        let body = self.open_stream(0, &request).await?;
        Ok(sse::EventStream::new(self.servers[0].clone(), body))
    }

    /// Makes a client of one server of the cluster.
    #[must_use]
    pub fn of_server(&self, server: ServerAddress) -> Self {
        Self { servers: Arc::new(vec![server]), idle: Arc::default(), ..self.clone() }
    }

    /// The servers by number, the one that answered last first.
    async fn order(&self) -> Vec<usize> {
        let first = self.idle.lock().await.as_ref().map_or(0, |(index, _)| *index);
        let count = self.servers.len();
        (0..count).map(|offset| (first + offset) % count).collect()
    }

    async fn try_server(&self, index: usize, request: &Request) -> Result<Answer, ClientError> {
        let server = &self.servers[index];
        let message = request.to_http(server, &self.token)?;
        let reused = match self.idle.lock().await.take() {
            Some((of, sender)) if of == index && !sender.is_closed() => Some(sender),
            _ => None,
        };
        let mut sender = match reused {
            Some(sender) => sender,
            None => connection::open(server, &self.tls).await?,
        };
        let answer =
            connection::exchange(server, &mut sender, message, request.answer_within()).await?;
        if !sender.is_closed() {
            *self.idle.lock().await = Some((index, sender));
        }
        error::accept(answer)
    }

    async fn open_stream(
        &self,
        index: usize,
        request: &Request,
    ) -> Result<hyper::body::Incoming, ClientError> {
        let server = &self.servers[index];
        let message = request.to_http(server, &self.token)?;
        let mut sender = connection::open(server, &self.tls).await?;
        connection::stream(server, &mut sender, message, request.answer_within()).await
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("servers", &self.servers).finish_non_exhaustive()
    }
}
