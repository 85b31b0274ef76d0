//! Answers: JSON with the revision, and errors with a word, a sentence and a status.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use model::{ConfigErrors, Revision, api::ErrorResponse};
use serde::Serialize;

use crate::{
    control::{ApplyError, RemoveError, SnapshotError},
    joining::JoinError,
    modules::ModuleError,
    tokens::TokenError,
};

/// The header that names the revision that an answer is of.
pub(super) const REVISION_HEADER: &str = "x-marchproxy-revision";
/// How long a caller is asked to wait when there is no leader: an election takes less.
const RETRY_AFTER_SECONDS: &str = "1";

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) errors: Option<ConfigErrors>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), errors: None }
    }

    /// 400: the request itself cannot be understood.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// 401: nobody is known by this token.
    pub(super) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// 403: the caller is known and may not do this.
    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 404: there is no such thing.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 405: the path knows other methods.
    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "this path does not know this method; see GET /v1/openapi.json",
        )
    }

    /// 408: the body took too long.
    pub(super) fn too_slow(message: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message)
    }

    /// 413: a bound on sizes is passed.
    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// 422: it is understood, and wrong.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
    }

    /// Something else is under way; 409.
    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "busy", message)
    }

    /// 502: the data plane did not answer.
    pub(super) fn bad_gateway(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "dataplane_unreachable", message)
    }

    /// 503: not now.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorResponse {
            code: self.code.to_owned(),
            message: self.message,
            errors: self.errors,
        };
        let mut response = json(self.status, &body);
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
            }
            _ => {}
        }
        response
    }
}

impl From<ConfigErrors> for ApiError {
    fn from(errors: ConfigErrors) -> Self {
        let count = errors.0.len();
        let plural = if count == 1 { "error" } else { "errors" };
        let mut error = Self::invalid(format!("the configuration has {count} {plural}"));
        error.errors = Some(errors);
        error
    }
}

impl From<ApplyError> for ApiError {
    fn from(error: ApplyError) -> Self {
        let message = error.to_string();
        match error {
            ApplyError::Invalid(errors) => errors.into(),
            ApplyError::LockOut(errors) => {
                let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "lock_out", message);
                error.errors = Some(errors);
                error
            }
            ApplyError::EngineRefuses(errors) => {
                let mut error =
                    Self::new(StatusCode::UNPROCESSABLE_ENTITY, "engine_refuses", message);
                error.errors = Some(errors);
                error
            }
            ApplyError::Conflict { .. } => Self::new(StatusCode::CONFLICT, "conflict", message),
            ApplyError::NoRollout => Self::new(StatusCode::CONFLICT, "no_rollout", message),
            ApplyError::NotFound { .. } => Self::not_found(message),
            ApplyError::NotKept { .. } => Self::new(StatusCode::NOT_FOUND, "not_kept", message),
            ApplyError::TooLarge { .. } => Self::too_large(message),
            ApplyError::Unavailable { .. } => Self::unavailable(message),
            ApplyError::OutcomeUnknown { .. } => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, "outcome_unknown", message)
            }
        }
    }
}

impl From<SnapshotError> for ApiError {
    fn from(error: SnapshotError) -> Self {
        let message = error.to_string();
        match error {
            SnapshotError::Read(_) => Self::unavailable(message),
            SnapshotError::NotKept { .. } => Self::new(StatusCode::NOT_FOUND, "not_kept", message),
            SnapshotError::Unreadable { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable", message)
            }
        }
    }
}

impl From<consensus::ReadError> for ApiError {
    fn from(error: consensus::ReadError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<RemoveError> for ApiError {
    fn from(error: RemoveError) -> Self {
        let message = error.to_string();
        match error {
            RemoveError::Unknown { .. } => Self::not_found(message),
            RemoveError::Unsafe { .. } => Self::new(StatusCode::CONFLICT, "unsafe", message),
            RemoveError::Unavailable { .. } => Self::unavailable(message),
        }
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        let message = error.to_string();
        match error {
            TokenError::Unavailable { .. } => Self::unavailable(message),
            TokenError::LastAdmin { .. } => Self::new(StatusCode::CONFLICT, "unsafe", message),
            _ => Self::invalid(message),
        }
    }
}

impl From<ModuleError> for ApiError {
    fn from(error: ModuleError) -> Self {
        let message = error.to_string();
        match error {
            ModuleError::OtherContent { .. } | ModuleError::Invalid(_) => Self::invalid(message),
            ModuleError::Full { .. } => Self::new(StatusCode::CONFLICT, "full", message),
            ModuleError::NotFound { .. } => Self::not_found(message),
            ModuleError::InUse { .. } => Self::new(StatusCode::CONFLICT, "in_use", message),
            ModuleError::Rollout { .. } => Self::busy(message),
            ModuleError::Unavailable { .. } => Self::unavailable(message),
        }
    }
}

impl From<JoinError> for ApiError {
    fn from(error: JoinError) -> Self {
        let status =
            StatusCode::from_u16(error.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Self::new(status, error.code(), error.to_string())
    }
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let bytes = serde_json::to_vec(body).expect("answers have string keys and finite numbers");
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A JSON answer of a revision: named in `x-marchproxy-revision` and as the ETag.
pub(super) fn json_at(revision: Revision, body: &impl Serialize) -> Response {
    let mut response = json(StatusCode::OK, body);
    let number = HeaderValue::from(revision.0);
    let tag = HeaderValue::try_from(format!("\"{revision}\"")).expect("digits are header text");
    response.headers_mut().insert(REVISION_HEADER, number);
    response.headers_mut().insert(header::ETAG, tag);
    response
}
