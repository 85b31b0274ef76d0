//! An HTTP client for tests: one connection per request unless it is kept, any `Host`.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// What the backend says of the request.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub(crate) fn backend(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["backend"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A connection that is kept.
pub(crate) struct Client(SendRequest<Empty<Bytes>>);

impl Client {
    pub(crate) async fn connect(port: u16) -> Option<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        Self::over(TokioIo::new(stream)).await
    }

    /// Speaks over a connection of any kind.
    pub(crate) async fn over(
        stream: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    ) -> Option<Self> {
        let (sender, connection) = http1::handshake(stream).await.ok()?;
        tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        Some(Self(sender))
    }

    pub(crate) async fn get(&mut self, host: &str, target: &str) -> Option<Answer> {
        self.send("GET", host, target, &[]).await
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        host: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Option<Answer> {
        let mut request = Request::builder().method(method).uri(target).header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.0.ready().await.ok()?;
        let response = self.0.send_request(request.body(Empty::new()).unwrap()).await.ok()?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        Some(Answer { status: parts.status, headers: parts.headers, body })
    }
}

pub(crate) async fn send(
    port: u16,
    method: &str,
    host: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let mut client = Client::connect(port).await.expect("the listener takes connections");
    client.send(method, host, target, headers).await.expect("an answer")
}

pub(crate) async fn get(port: u16, host: &str, target: &str) -> Answer {
    send(port, "GET", host, target, &[]).await
}
