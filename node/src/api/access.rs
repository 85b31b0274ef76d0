//! Who may call what: the bearer token is looked at before anything else of a request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, header};
use http_body_util::{BodyExt, Limited};

use super::{BODY_BYTES_MAX, Shared, connection::Trusted, reply::ApiError};
use crate::tokens::{AuthError, Caller, Role};

/// At most one line a period tells of failed authentications; the rest are counted.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What is taken in of the body of a caller that nobody knows.
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// How long a refused body is taken in.
const LINGER_WITHIN: Duration = Duration::from_secs(2);

/// What a caller must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing.
    Anonymous,
    /// A token of any role.
    Read,
    /// A token of the role admin.
    Admin,
    /// A join secret in place of a token; the handler looks at it.
    JoinSecret,
}

/// Which access each operation asks for, and how often somebody was refused.
pub(super) struct Guard {
    shared: Shared,
    table: Vec<(Method, &'static str, Access)>,
    refused: Refused,
}

impl Guard {
    pub(super) fn new(
        shared: Shared,
        table: impl Iterator<Item = (Method, &'static str, Access)>,
    ) -> Self {
        Self { shared, table: table.collect(), refused: Refused::default() }
    }

    /// What a request must show; a path or method that is not there asks for a token all the same.
    fn access(&self, request: &Request) -> Access {
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        // A HEAD is answered by the GET beside it.
        let method = match *request.method() {
            Method::HEAD => Method::GET,
            ref method => method.clone(),
        };
        self.table
            .iter()
            .find(|(known, template, _)| *known == method && Some(*template) == path)
            .map_or(Access::Read, |(_, _, access)| *access)
    }

    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let token = bearer(headers)?;
        match self.shared.control.authenticate(token).await {
            Ok(caller) => Ok(caller),
            Err(error @ AuthError::Unknown) => Err(ApiError::unauthorized(error.to_string())),
            Err(error @ AuthError::Unavailable { .. }) => {
                Err(ApiError::unavailable(error.to_string()))
            }
        }
    }
}

/// Lets a request pass with its [`Caller`], or refuses it.
pub(super) async fn check(guard: Arc<Guard>, mut request: Request, next: Next) -> Response {
    let access = guard.access(&request);
    if matches!(access, Access::Anonymous | Access::JoinSecret) {
        return next.run(request).await;
    }
    let caller = match guard.caller(request.headers()).await {
        Ok(caller) => caller,
        Err(error) => {
            guard.refused.count();
            linger(request, LINGER_BYTES_MAX).await;
            return error.into_response();
        }
    };
    if access == Access::Admin && caller.role != Role::Admin {
        let message = format!("token {:?} may only read; this needs the role admin", caller.name);
        linger(request, BODY_BYTES_MAX).await;
        return ApiError::forbidden(message).into_response();
    }
    if let Some(trusted) = request.extensions().get::<Trusted>() {
        trusted.set();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Takes in the rest of a refused request, for a moment: an answer before its end would break the
/// connection, and the caller would not see why.
async fn linger(request: Request, bytes_max: usize) {
    let body = Limited::new(request.into_body(), bytes_max);
    // Who sends more, or slower, sees a broken connection.
    let _ = tokio::time::timeout(LINGER_WITHIN, body.collect()).await;
}

/// The bearer token of a request (RFC 6750, section 2.1).
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (first, more) = (values.next(), values.next());
    let token = match (first, more) {
        (Some(value), None) => value.to_str().ok().and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            let token = token.trim();
            (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
        }),
        _ => None,
    };
    token.ok_or_else(|| ApiError::unauthorized("a token is needed: Authorization: Bearer TOKEN"))
}

/// Counts refusals, and logs them now and then.
struct Refused {
    began: Instant,
    /// When the last line was written, in milliseconds after `began`; 0 for never.
    logged_ms: AtomicU64,
    since: AtomicU64,
}

impl Default for Refused {
    fn default() -> Self {
        Self { began: Instant::now(), logged_ms: AtomicU64::new(0), since: AtomicU64::new(0) }
    }
}

impl Refused {
    fn count(&self) {
        metrics::counter!("marchproxy_api_auth_failures_total").increment(1);
        self.since.fetch_add(1, Ordering::Relaxed);
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let last = self.logged_ms.load(Ordering::Relaxed);
        let due = last == 0 || u128::from(now - last.min(now)) >= LOG_EVERY.as_millis();
        let mine = due
            && self
                .logged_ms
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            let count = self.since.swap(0, Ordering::Relaxed);
            tracing::info!(count, "callers without a valid token were refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_one_bearer_token_is_taken() {
        let check = |values: &[&'static str], expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            assert_eq!(bearer(&headers).ok(), expected, "{values:?}");
        };
        check(&["Bearer abc"], Some("abc"));
        check(&["bearer abc"], Some("abc"));
        check(&["Bearer   abc "], Some("abc"));
        check(&[], None);
        check(&["Bearer"], None);
        check(&["Bearer "], None);
        check(&["Basic abc"], None);
        check(&["abc"], None);
        check(&["Bearer a", "Bearer b"], None);
    }
}
