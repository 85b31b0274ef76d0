//! The metrics of both processes, and those of the API itself.

use std::time::{Duration, Instant};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use metrics::Unit;
use tokio::net::UnixStream;

use super::{Shared, reply::ApiError};

/// Prometheus' text format.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4";
/// The data plane's socket in the run directory.
const SOCKET: &str = "dataplane.sock";
/// How long the data plane may take; below the usual time-out of a scrape.
const DATAPLANE_WITHIN: Duration = Duration::from_secs(5);
/// The most that is relayed from the data plane.
const DATAPLANE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Describes the metrics of the API.
pub fn describe() {
    metrics::describe_counter!(
        "marchproxy_api_requests_total",
        Unit::Count,
        "Requests to the API, by method, route template and status"
    );
    metrics::describe_histogram!(
        "marchproxy_api_request_duration_seconds",
        Unit::Seconds,
        "Time from the head of a request to the head of its answer, by method and route template"
    );
    metrics::describe_counter!(
        "marchproxy_api_auth_failures_total",
        Unit::Count,
        "Requests refused because they carried no valid token"
    );
    metrics::describe_gauge!(
        "marchproxy_api_connections",
        Unit::Count,
        "Open connections to the API"
    );
    metrics::describe_gauge!("marchproxy_api_event_streams", Unit::Count, "Open event streams");
}

/// Counts and times each request by its route template; unknown paths share one name.
pub(super) async fn measure(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "DELETE") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!(
        "marchproxy_api_requests_total",
        "method" => method.clone(), "route" => route.clone(), "status" => status
    )
    .increment(1);
    metrics::histogram!(
        "marchproxy_api_request_duration_seconds", "method" => method, "route" => route
    )
    .record(began.elapsed().as_secs_f64());
    response
}

pub(super) async fn control(State(shared): State<Shared>) -> Response {
    text(Bytes::from((shared.options.metrics)()))
}

pub(super) async fn dataplane(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let socket = shared.options.run_dir.join(SOCKET);
    let answer = tokio::time::timeout(DATAPLANE_WITHIN, scrape(&socket)).await;
    match answer {
        Ok(Ok(body)) => Ok(text(body)),
        Ok(Err(error)) => Err(ApiError::bad_gateway(format!(
            "this node's data plane does not answer on {}: {error}",
            socket.display()
        ))),
        Err(_) => Err(ApiError::bad_gateway(format!(
            "this node's data plane does not answer within {DATAPLANE_WITHIN:?}"
        ))),
    }
}

async fn scrape(
    socket: &std::path::Path,
) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let request = http::Request::get("/metrics")
        .header(header::HOST, "dataplane")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        return Err(format!("status {}", response.status()).into());
    }
    let body = Limited::new(response.into_body(), DATAPLANE_BYTES_MAX).collect().await?.to_bytes();
    drop(driver);
    Ok(body)
}

fn text(body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}
