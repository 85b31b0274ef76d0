//! A client of the cluster's REST API over one keep-alive HTTPS connection, for what is timed or
//! repeated often. Everything else goes through the program's own command line.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use serde::Deserialize;
use serde_json::Value;

use crate::http1::{Connection, Request, Response};
use crate::pinned;
use crate::place::Place;

/// An apply of 10,000 objects on a busy machine takes seconds.
const ANSWER_MAX: Duration = Duration::from_secs(60);
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// What the context file of the command line holds.
#[derive(Debug, Clone, Deserialize)]
pub struct Context {
    /// The CA's pin.
    #[serde(alias = "caPin", alias = "ca_pin")]
    pub pin: String,
    /// The bearer token.
    pub token: String,
}

impl Context {
    /// Reads a context file.
    ///
    /// # Errors
    /// When it is missing or has another form.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
    }
}

/// An API connection to one node.
#[derive(Debug)]
pub struct Api {
    place: Place,
    server: SocketAddr,
    authorization: String,
    tls: Arc<ClientConfig>,
    connection: Option<Connection<StreamOwned<ClientConnection, TcpStream>>>,
}

impl Api {
    /// A client of the node at `server`; it connects with the first request.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(place: &Place, server: SocketAddr, context: &Context) -> Result<Self> {
        Ok(Self {
            place: place.clone(),
            server,
            authorization: format!("Bearer {}", context.token),
            tls: pinned::client(&context.pin)?,
            connection: None,
        })
    }

    /// Whom it asks.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Sends a request and returns the answer, whatever its status.
    ///
    /// # Errors
    /// When no answer came. The request may have been carried out nevertheless.
    pub fn send(&mut self, method: &str, path: &str, body: &str) -> Result<Response> {
        let content =
            if body.starts_with(['{', '[']) { "application/json" } else { "application/yaml" };
        let headers = [("authorization", self.authorization.as_str()), ("content-type", content)];
        let host = self.server.to_string();
        let request =
            Request { method, host: &host, path, headers: &headers, body: body.as_bytes() };
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let response = connection
            .send(&request)
            .with_context(|| format!("{method} https://{}{path}", self.server))?;
        if connection.is_open() {
            self.connection = Some(connection);
        }
        Ok(response)
    }

    /// Reads a stream that ends with the node, or with an error of `take`, piece by piece.
    ///
    /// # Errors
    /// When there is no answer or another status than 200, and as the stream ends.
    pub fn stream(
        mut self,
        path: &str,
        take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let headers = [("authorization", self.authorization.as_str())];
        let host = self.server.to_string();
        let head = connection.start(&Request {
            method: "GET",
            host: &host,
            path,
            headers: &headers,
            body: &[],
        })?;
        if head.status != 200 {
            bail!("GET https://{}{path}: {}", self.server, head.status);
        }
        // Nothing is said for long where nothing happens.
        connection.stream().get_ref().sock.set_read_timeout(None)?;
        Ok(connection.read_body(&head, take)?)
    }

    /// A `GET` that must succeed, as JSON.
    ///
    /// # Errors
    /// When there is no answer, another status, or no JSON.
    pub fn get(&mut self, path: &str) -> Result<Value> {
        let response = self.send("GET", path, "")?;
        self.json("GET", path, &response)
    }

    /// Applies documents; returns the revision and when the answer was there.
    ///
    /// # Errors
    /// When there is no answer, or it is a refusal.
    pub fn apply(&mut self, documents: &str) -> Result<(u64, Instant)> {
        let (value, at) = self.post("/v1/apply", documents)?;
        let revision = value["revision"].as_u64().context("no revision in the answer")?;
        Ok((revision, at))
    }

    /// Applies documents and waits until every engine of every node runs them; returns when the
    /// answer was there.
    ///
    /// # Errors
    /// When there is no answer, it is a refusal, or an engine refuses or does not answer.
    pub fn apply_everywhere(&mut self, documents: &str) -> Result<Instant> {
        let (value, at) = self.post("/v1/apply?wait=true", documents)?;
        ensure!(value["acks"]["outcome"] == "applied", "the engines answered {}", value["acks"]);
        Ok(at)
    }

    fn post(&mut self, path: &str, body: &str) -> Result<(Value, Instant)> {
        let response = self.send("POST", path, body)?;
        let at = Instant::now();
        Ok((self.json("POST", path, &response)?, at))
    }

    fn json(&self, method: &str, path: &str, response: &Response) -> Result<Value> {
        let text = response.text();
        if !(200..300).contains(&response.head.status) {
            bail!("{method} https://{}{path}: {}: {text}", self.server, response.head.status);
        }
        serde_json::from_str(&text).with_context(|| format!("{method} {path} answered {text:?}"))
    }

    fn connect(&self) -> Result<Connection<StreamOwned<ClientConnection, TcpStream>>> {
        let stream = self
            .place
            .run(|| TcpStream::connect_timeout(&self.server, CONNECT_MAX))?
            .with_context(|| format!("connecting to {}", self.server))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        let name = ServerName::IpAddress(self.server.ip().into());
        let session = ClientConnection::new(Arc::clone(&self.tls), name)?;
        Ok(Connection::new(StreamOwned::new(session, stream)))
    }
}
