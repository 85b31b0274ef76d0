//! Envoy's admin interface, over its Unix socket.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// How long an answer may take; Envoy's main thread is busy for a second at a cold start.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most that an answer may hold: `/config_dump` of 10,000 hosts is about 40 MB.
const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Why the admin interface gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody listens.
    #[error("connecting to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The operating system's words.
        #[source]
        source: std::io::Error,
    },
    /// The exchange broke off.
    #[error("asking Envoy for {target}")]
    Exchange {
        /// What was asked for.
        target: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("Envoy did not answer {target} within {TIMEOUT:?}")]
    TimedOut {
        /// What was asked for.
        target: String,
    },
    /// It said no.
    #[error("Envoy answered {target} with {status}")]
    Status {
        /// What was asked for.
        target: String,
        /// The status.
        status: StatusCode,
    },
}

/// A client of one Envoy's admin interface.
#[derive(Clone, Debug)]
pub struct Admin {
    socket: PathBuf,
}

impl Admin {
    /// Makes a client of the interface at a socket.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Reads `target`, such as `/ready`.
    ///
    /// # Errors
    /// No answer, or one that is not 200.
    pub async fn get(&self, target: &str) -> Result<Bytes, AdminError> {
        self.ask(Method::GET, target).await
    }

    /// Changes something: `/drain_listeners?graceful`.
    ///
    /// # Errors
    /// No answer, or one that is not 200.
    pub async fn post(&self, target: &str) -> Result<Bytes, AdminError> {
        self.ask(Method::POST, target).await
    }

    async fn ask(&self, method: Method, target: &str) -> Result<Bytes, AdminError> {
        tokio::time::timeout(TIMEOUT, self.exchange(method, target))
            .await
            .map_err(|_| AdminError::TimedOut { target: target.to_owned() })?
    }

    async fn exchange(&self, method: Method, target: &str) -> Result<Bytes, AdminError> {
        let connect = |source| AdminError::Connect { path: self.socket.clone(), source };
        let failed = |source| AdminError::Exchange { target: target.to_owned(), source };
        let stream = UnixStream::connect(&self.socket).await.map_err(connect)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(error.into()))?;
        let exchange = async {
            let request = Request::builder()
                .method(method)
                .uri(target)
                .header(http::header::HOST, "envoy")
                .body(Empty::<Bytes>::new())
                .map_err(|error| failed(error.into()))?;
            let response =
                sender.send_request(request).await.map_err(|error| failed(error.into()))?;
            let status = response.status();
            if status != StatusCode::OK {
                return Err(AdminError::Status { target: target.to_owned(), status });
            }
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX);
            Ok(body.collect().await.map_err(failed)?.to_bytes())
        };
        let connection = async {
            // Its error is seen by the exchange.
            let _ = connection.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = exchange => answer,
            () = connection => unreachable!("it never ends"),
        }
    }
}
