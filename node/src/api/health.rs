//! `GET /healthz`: all that an anonymous caller learns.

use axum::{extract::State, response::Response};
use http::StatusCode;

use super::{Shared, reply::json, types::Health};

pub(super) async fn healthz(State(shared): State<Shared>) -> Response {
    let ready = {
        let status = shared.control.consensus().status();
        let status = status.borrow();
        status.initialized() && status.leader.is_some()
    };
    json(StatusCode::OK, &Health { status: "ok".to_owned(), ready })
}
