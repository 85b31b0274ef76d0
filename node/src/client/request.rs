//! A request of the client, before it is known which server gets it.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use consensus::RequestId;
use http::{Method, header};
use http_body_util::Full;

use super::{ClientError, Secret, ServerAddress};
use crate::api::BODY_WITHIN;

/// How long an answer may take, once the server has the body: it asks ten seconds for the outcome of
/// a write, then says that it is not known.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// The largest body that needs no time of its own: at a megabit a second it is sent in half a second.
/// A larger one has as long as the server gives it; who gives up before sends it all over again.
const SMALL_BODY_BYTES_MAX: usize = 64 * 1024;

/// A request: method, path with query, body.
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    target: String,
    body: Bytes,
    content_type: Option<&'static str>,
    /// Under which id a write is done once, however often it is sent.
    key: Option<RequestId>,
    /// How much longer than usual the answer may take, because the server is asked to wait.
    extra: Duration,
    pub(super) last_event_id: Option<String>,
}

impl Request {
    fn new(method: Method, path: &str) -> Self {
        let write = method != Method::GET;
        Self {
            method,
            target: path.to_owned(),
            body: Bytes::new(),
            content_type: None,
            key: write.then(RequestId::random),
            extra: Duration::ZERO,
            last_event_id: None,
        }
    }

    /// Makes a read.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    /// Makes a write, under a fresh idempotency key.
    #[must_use]
    pub fn post(path: &str) -> Self {
        Self::new(Method::POST, path)
    }

    /// Makes a write that replaces, under a fresh idempotency key.
    #[must_use]
    pub fn put(path: &str) -> Self {
        Self::new(Method::PUT, path)
    }

    /// Makes a deletion, under a fresh idempotency key.
    #[must_use]
    pub fn delete(path: &str) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.target.push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(name);
        self.target.push('=');
        encode(&value.to_string(), &mut self.target);
        self
    }

    /// Sets the body to YAML documents.
    #[must_use]
    pub fn yaml(mut self, text: impl Into<Bytes>) -> Self {
        self.body = text.into();
        self.content_type = Some("application/yaml");
        self
    }

    /// Sets the body to JSON.
    #[must_use]
    pub fn json(mut self, value: &impl serde::Serialize) -> Self {
        self.body = serde_json::to_vec(value).expect("bodies have string keys").into();
        self.content_type = Some("application/json");
        self
    }

    /// Sets the body to a WebAssembly module.
    #[must_use]
    pub fn module(mut self, bytes: impl Into<Bytes>) -> Self {
        self.body = bytes.into();
        self.content_type = Some("application/wasm");
        self
    }

    /// Marks a POST that changes nothing.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.key = None;
        self
    }

    /// Gives the server so much longer to answer.
    #[must_use]
    pub fn waiting(mut self, extra: Duration) -> Self {
        self.extra = extra;
        self
    }

    pub(super) fn is_write(&self) -> bool {
        self.key.is_some()
    }

    pub(super) fn answer_within(&self) -> Duration {
        let body = match self.body.len() > SMALL_BODY_BYTES_MAX {
            true => BODY_WITHIN,
            false => Duration::ZERO,
        };
        ANSWER_WITHIN + body + self.extra
    }

    pub(super) fn to_http(
        &self,
        server: &ServerAddress,
        token: &Secret,
    ) -> Result<http::Request<Full<Bytes>>, ClientError> {
        let mut builder = http::Request::builder()
            .method(self.method.clone())
            .uri(&self.target)
            .header(header::HOST, server.authority())
            .header(header::USER_AGENT, concat!("marchproxy/", env!("CARGO_PKG_VERSION")));
        if !token.expose().is_empty() {
            let mut value = header::HeaderValue::try_from(format!("Bearer {}", token.expose()))
                .map_err(|_| ClientError::Request {
                    reason: "the token holds characters that no token has".to_owned(),
                })?;
            value.set_sensitive(true);
            builder = builder.header(header::AUTHORIZATION, value);
        }
        if let Some(content_type) = self.content_type {
            builder = builder.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(key) = self.key {
            builder = builder.header("idempotency-key", key.to_string());
        }
        if let Some(last) = &self.last_event_id {
            builder = builder.header("last-event-id", last);
        }
        builder
            .body(Full::new(self.body.clone()))
            .map_err(|error| ClientError::Request { reason: error.to_string() })
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986, section 2.3).
pub fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes everything");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_encoded() {
        let request = Request::get("/v1/apply").query("message", "a&b=ü c").query("n", 1);
        assert_eq!(request.target, "/v1/apply?message=a%26b%3D%C3%BC%20c&n=1");
    }

    #[test]
    fn a_large_body_has_as_long_to_arrive_as_the_server_gives_it() {
        let check = |bytes: usize, expected: Duration| {
            let request = Request::post("/v1/apply").yaml(vec![b' '; bytes]);
            assert_eq!(request.answer_within(), expected, "{bytes}");
        };
        check(SMALL_BODY_BYTES_MAX, ANSWER_WITHIN);
        check(SMALL_BODY_BYTES_MAX + 1, ANSWER_WITHIN + BODY_WITHIN);
        check(crate::api::BODY_BYTES_MAX, ANSWER_WITHIN + BODY_WITHIN);
    }

    #[test]
    fn only_what_writes_carries_a_key() {
        assert!(!Request::get("/v1/status").is_write());
        assert!(Request::post("/v1/apply").is_write());
        assert!(Request::delete("/v1/tokens/x").is_write());
        assert!(!Request::post("/v1/diff").read_only().is_write());
    }

    #[test]
    fn a_token_with_a_line_break_is_refused_and_not_shown() {
        let server = ServerAddress { host: "h".to_owned(), port: 1 };
        let error = Request::get("/").to_http(&server, &Secret::new("se\ncret")).unwrap_err();
        assert!(!error.to_string().contains("cret\""), "{error}");
        assert!(matches!(error, ClientError::Request { .. }));
    }
}
