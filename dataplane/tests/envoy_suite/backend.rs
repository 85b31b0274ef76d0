//! An HTTP server that says what it was asked, and misbehaves when asked to.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

pub(crate) struct Backend {
    pub(crate) port: u16,
    /// Requests seen.
    pub(crate) seen: Arc<AtomicU64>,
    /// Whether every answer is 503.
    failing: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Backend {
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_at(name, ([127, 0, 0, 1], 0).into()).await
    }

    /// Starts at an address.
    pub(crate) async fn start_at(name: &str, address: std::net::SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(AtomicU64::new(0));
        let failing = Arc::new(AtomicBool::new(false));
        let (name, counter): (Arc<str>, _) = (name.into(), seen.clone());
        let fails = failing.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (name, counter, fails) = (name.clone(), counter.clone(), fails.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let (name, counter, fails) = (name.clone(), counter.clone(), fails.clone());
                        async move {
                            if fails.load(Ordering::Relaxed) {
                                return Ok(status(StatusCode::SERVICE_UNAVAILABLE));
                            }
                            answer(name, counter, request).await
                        }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades()
                        .await;
                });
            }
        });
        Self { port, seen, failing, task }
    }

    /// Makes every answer 503, or no more.
    pub(crate) fn fail(&self, fail: bool) {
        self.failing.store(fail, Ordering::Relaxed);
    }

    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(
    name: Arc<str>,
    seen: Arc<AtomicU64>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let nth = seen.fetch_add(1, Ordering::Relaxed);
    let number =
        |name: &str| -> Option<u64> { request.headers().get(name)?.to_str().ok()?.parse().ok() };
    if let Some(ms) = number("x-delay-ms") {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    if number("x-fail-first").is_some_and(|first| nth < first) {
        return Ok(status(StatusCode::SERVICE_UNAVAILABLE));
    }
    if number("x-refuse-first").is_some_and(|first| nth < first) {
        let mut response = status(StatusCode::TOO_MANY_REQUESTS);
        response.headers_mut().insert(header::RETRY_AFTER, "1".parse().unwrap());
        return Ok(response);
    }
    if request.headers().get(header::UPGRADE).is_some() {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            if let Ok(upgraded) = upgrade.await {
                echo(upgraded).await;
            }
        });
        let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
        response.headers_mut().insert(header::UPGRADE, "websocket".parse().unwrap());
        response.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
        return Ok(response);
    }
    if let Some(length) = number("x-text-bytes") {
        return Ok(long_text(request.headers(), usize::try_from(length).unwrap()));
    }
    let body = serde_json::json!({
        "backend": &*name,
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "headers": headers(request.headers()),
    });
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())).boxed());
    for (name, value) in [("x-from", &*name), ("x-old", "backend")] {
        response.headers_mut().insert(name_of(name), value.parse().unwrap());
    }
    Ok(response)
}

fn name_of(name: &str) -> http::HeaderName {
    name.parse().unwrap()
}

/// Text that can be compressed.
pub(crate) fn lines_of_text(length: usize) -> Bytes {
    (0..).flat_map(|n: u32| format!("line {n}\n").into_bytes()).take(length).collect()
}

/// Text of a length, with a strong validator; with the status and type that the request asks for.
fn long_text(asked: &HeaderMap, length: usize) -> Response<Body> {
    let mut response = Response::new(Full::new(lines_of_text(length)).boxed());
    let value = |name: &str| asked.get(name).cloned();
    if let Some(status) = value("x-status") {
        *response.status_mut() = status.to_str().unwrap().parse().unwrap();
    }
    let kind = value("x-type").unwrap_or_else(|| "text/plain; charset=utf-8".parse().unwrap());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::ETAG, "\"strong\"".parse().unwrap());
    for (asked, name) in
        [("x-coding", header::CONTENT_ENCODING), ("x-cache-control", header::CACHE_CONTROL)]
    {
        if let Some(value) = value(asked) {
            headers.insert(name, value);
        }
    }
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::new()).boxed());
    *response.status_mut() = status;
    response
}

fn headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = value.to_str().unwrap_or_default();
        let entry = all.entry(name.to_string()).or_default();
        if !entry.is_empty() {
            entry.push(',');
        }
        entry.push_str(value);
    }
    all
}

async fn echo(upgraded: Upgraded) {
    let mut stream = TokioIo::new(upgraded);
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
