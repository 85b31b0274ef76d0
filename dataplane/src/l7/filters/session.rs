//! Clients that stay at the endpoint that answered them first.

use std::time::Duration;

use model::route::{Cookie, SessionPersistence};

use super::extension;
use crate::l7::pb::{self, core, kind_http, session_cookie, session_header, stateful_session};

/// Makes the filter.
pub(super) fn filter(wanted: &SessionPersistence) -> core::TypedExtensionConfig {
    let state = match wanted {
        SessionPersistence::Cookie(cookie) => extension(
            "envoy.http.stateful_session.cookie",
            &session_cookie::CookieBasedSessionState { cookie: Some(set_cookie(cookie)) },
        ),
        SessionPersistence::Header(name) => extension(
            "envoy.http.stateful_session.header",
            &session_header::HeaderBasedSessionState { name: name.clone() },
        ),
    };
    let config =
        stateful_session::StatefulSession { session_state: Some(state), ..Default::default() };
    extension("marchproxy.session", &config)
}

fn set_cookie(cookie: &Cookie) -> kind_http::Cookie {
    kind_http::Cookie {
        name: cookie.name.clone(),
        // Zero is a cookie of the session.
        ttl: Some(pb::duration(cookie.ttl.unwrap_or(Duration::ZERO))),
        path: cookie.path.clone(),
        ..Default::default()
    }
}
