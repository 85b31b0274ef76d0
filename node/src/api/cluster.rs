//! The state of the cluster and its nodes.

use axum::{Extension, extract::State, response::Response};
use http::StatusCode;
use model::cluster::NodeId;

use super::{
    Shared,
    reply::{ApiError, json, json_at},
    request::Segments,
    types::NodeList,
};
use crate::tokens::Caller;

pub(super) async fn status(State(shared): State<Shared>) -> Response {
    let status = shared.control.status().await;
    json_at(status.revision, &status)
}

pub(super) async fn nodes(State(shared): State<Shared>) -> Response {
    json(StatusCode::OK, &NodeList { nodes: shared.control.nodes().await })
}

pub(super) async fn remove(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<u64>,
) -> Result<StatusCode, ApiError> {
    shared.control.remove_node(&caller.name, NodeId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
