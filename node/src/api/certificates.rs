//! Certificates of listeners, and the authorities that clients are to trust. Never a key.

use axum::{extract::State, response::Response};
use consensus::Consistency;
use http::StatusCode;
use model::{Kind, ObjectKey, api::CertificatesResponse};

use super::{
    Shared,
    reply::{ApiError, json},
    request::Segments,
};
use crate::issuing;

pub(super) async fn list(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let (view, config) = shared.control.view(Consistency::Linearizable).await?;
    let certificates = issuing::list(&view, &config);
    Ok(json(StatusCode::OK, &CertificatesResponse { certificates }))
}

pub(super) async fn authority(
    State(shared): State<Shared>,
    Segments((namespace, name)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let issuer = ObjectKey::new(Kind::Issuer, namespace, name);
    let (view, _) = shared.control.view(Consistency::Linearizable).await?;
    match issuing::issuer_authority(&view, &issuer) {
        Some(authority) => Ok(json(StatusCode::OK, &authority)),
        None => Err(ApiError::not_found(format!(
            "{issuer} has no authority: it is made with its first Certificate"
        ))),
    }
}
