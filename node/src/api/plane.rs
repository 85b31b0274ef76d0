//! Requests to the data plane beside this control process, on its Unix socket.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, request::Builder};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::task::AbortOnDropHandle;

use super::{Shared, reply::ApiError};
use crate::{
    client::request::encode,
    dataplane_socket::{SOCKET, exchange},
};

/// How long the data plane may take; below the usual time-out of a scrape.
const WITHIN: Duration = Duration::from_secs(5);
/// How long the data plane may take over what it has to think about.
const THOUGHT_WITHIN: Duration = Duration::from_secs(30);
/// The most that is taken of the words of a refusal.
const REFUSAL_BYTES_MAX: usize = 4096;

/// The body of an answer; the connection ends with it.
pub(super) struct Answer {
    pub(super) body: Incoming,
    _connection: AbortOnDropHandle<hyper::Result<()>>,
}

impl Answer {
    /// Reads the whole of it, of so many bytes at most, as what it should be: what is something else
    /// is not passed on.
    pub(super) async fn json<T: DeserializeOwned>(self, bytes_max: usize) -> Result<T, ApiError> {
        let failed = |error: &dyn std::fmt::Display| {
            ApiError::bad_gateway(format!("this node's data plane: {error}"))
        };
        let body = Limited::new(self.body, bytes_max).collect();
        let body = tokio::time::timeout(WITHIN, body).await.map_err(|error| failed(&error))?;
        let bytes = body.map_err(|error| failed(&error))?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|error| failed(&error))
    }
}

/// Makes the target of a page with a query, as JSON.
pub(super) fn with_query(page: &str, query: &impl Serialize) -> String {
    let text = serde_json::to_string(query).expect("a query has string keys");
    let mut target = format!("{page}?");
    encode(&text, &mut target);
    target
}

/// Asks for a page, and returns its body as it comes.
pub(super) async fn get(shared: &Shared, target: &str) -> Result<Answer, ApiError> {
    ask(shared, Request::get(target), Bytes::new(), WITHIN).await
}

/// Asks a question, and returns the body of its answer as it comes.
pub(super) async fn post(shared: &Shared, target: &str, body: Vec<u8>) -> Result<Answer, ApiError> {
    ask(shared, Request::post(target), body.into(), THOUGHT_WITHIN).await
}

async fn ask(
    shared: &Shared,
    request: Builder,
    body: Bytes,
    within: Duration,
) -> Result<Answer, ApiError> {
    let socket = shared.options.run_dir.join(SOCKET);
    let answer = tokio::time::timeout(within, exchange(&socket, request, body)).await;
    let (response, connection) = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            return Err(ApiError::bad_gateway(format!(
                "this node's data plane does not answer on {}: {error}",
                socket.display()
            )));
        }
        Err(_) => {
            return Err(ApiError::bad_gateway(format!(
                "this node's data plane does not answer within {within:?}"
            )));
        }
    };
    if response.status().is_success() {
        return Ok(Answer { body: response.into_body(), _connection: connection });
    }
    let status = response.status();
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await;
    let words = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned());
    let words = words.unwrap_or_default();
    Err(match status {
        StatusCode::SERVICE_UNAVAILABLE => ApiError::unavailable(words),
        StatusCode::BAD_REQUEST => ApiError::bad_request(words),
        StatusCode::CONFLICT => ApiError::busy(words),
        // An older data plane, which an upgrade in place leaves running.
        _ => ApiError::bad_gateway(format!("this node's data plane answered {status}: {words}")),
    })
}
