//! What is read from a request: query, path, body and the headers that matter. Each refusal is an
//! error body, never plain text.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
};
use consensus::RequestId;
use http::{HeaderMap, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::{BODY_BYTES_MAX, BODY_WITHIN, reply::ApiError};

/// The longest `Idempotency-Key`: two UUIDs would fit.
const KEY_BYTES_MAX: usize = 128;

/// The query, of which no parameter is unknown.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => Err(ApiError::bad_request(error.body_text())),
        }
    }
}

/// The variable parts of the path.
pub(super) struct Segments<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(error) => Err(ApiError::bad_request(error.body_text())),
        }
    }
}

/// The body, within [`BODY_BYTES_MAX`] and [`BODY_WITHIN`].
pub(super) struct Content(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Content {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        read(request, BODY_BYTES_MAX).await.map(Self)
    }
}

impl Content {
    /// The body as text.
    pub(super) fn text(&self) -> Result<&str, ApiError> {
        std::str::from_utf8(&self.0)
            .map_err(|_| ApiError::bad_request("the body is not UTF-8 text"))
    }

    /// The body as JSON of a type.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.0).map_err(|error| {
            ApiError::bad_request(format!("the body is not what is expected: {error}"))
        })
    }
}

/// Reads a body within a bound.
pub(super) async fn read(request: Request, bytes_max: usize) -> Result<Bytes, ApiError> {
    let body = Limited::new(request.into_body(), bytes_max);
    match tokio::time::timeout(BODY_WITHIN, body.collect()).await {
        Err(_) => Err(ApiError::too_slow(format!("the body took more than {BODY_WITHIN:?}"))),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(ApiError::too_large(format!("the body is larger than {bytes_max} bytes")))
        }
        Ok(Err(error)) => Err(ApiError::bad_request(format!("the body broke off: {error}"))),
    }
}

/// The id of a write: made of the caller's name and its `Idempotency-Key`, so that callers cannot
/// meet each other's.
pub(super) fn request_id(headers: &HeaderMap, caller: &str) -> Result<Option<RequestId>, ApiError> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(ApiError::bad_request(format!(
            "Idempotency-Key has {} bytes; 1 to {KEY_BYTES_MAX} are allowed",
            key.len()
        )));
    }
    let digest = Sha256::new()
        .chain_update(caller.as_bytes())
        .chain_update([0])
        .chain_update(key.as_bytes())
        .finalize();
    let first: [u8; 16] = digest[..16].try_into().expect("a SHA-256 has 32 bytes");
    Ok(Some(RequestId(u128::from_be_bytes(first))))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_key_is_the_same_write_for_one_caller_and_another_for_another() {
        let with = |key: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", HeaderValue::from_str(key).unwrap());
            headers
        };
        let id = |key, caller| request_id(&with(key), caller).unwrap().unwrap();
        assert_eq!(id("k", "a"), id("k", "a"));
        assert_ne!(id("k", "a"), id("k", "b"));
        assert_ne!(id("k", "a"), id("l", "a"));
        assert_eq!(request_id(&HeaderMap::new(), "a").unwrap(), None);
        assert!(request_id(&with(""), "a").is_err());
        assert!(request_id(&with(&"k".repeat(129)), "a").is_err());
    }
}
