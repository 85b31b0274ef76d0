//! The metrics of both processes, and those of the API itself.

use std::time::{Duration, Instant};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use consensus::Consistency;
use http::{HeaderValue, header};
use http_body_util::{BodyExt, Limited};
use metrics::Unit;

use super::{Shared, plane, reply::ApiError};
use crate::issuing;

/// Prometheus' text format.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4";
/// How long the data plane may take over its body; below the usual time-out of a scrape.
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
    metrics::describe_gauge!(
        "marchproxy_api_event_streams",
        Unit::Count,
        "Open streams of events and flows"
    );
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
    let mut series = (shared.options.metrics)();
    // What is not to be read has no series; the others are told all the same.
    if let Ok((view, config)) = shared.control.view(Consistency::Stale).await {
        series += &issuing::series(&view, &config);
    }
    text(Bytes::from(series))
}

pub(super) async fn dataplane(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let answer = plane::get(&shared, "/metrics").await?;
    let body = Limited::new(answer.body, DATAPLANE_BYTES_MAX).collect();
    match tokio::time::timeout(DATAPLANE_WITHIN, body).await {
        Ok(Ok(body)) => Ok(text(body.to_bytes())),
        Ok(Err(error)) => Err(ApiError::bad_gateway(format!(
            "this node's data plane did not end its answer: {error}"
        ))),
        Err(_) => Err(ApiError::bad_gateway(format!(
            "this node's data plane did not end its answer within {DATAPLANE_WITHIN:?}"
        ))),
    }
}

fn text(body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}
