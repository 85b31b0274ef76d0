//! TLS between the parts of a cluster: rustls configurations and the checks of the peer behind them.
//!
//! Every configuration uses ring explicitly, so that no process-wide default is needed. Between
//! nodes it is TLS 1.3 with certificates of the cluster's CA on both sides and no resumption: each
//! handshake checks the peer anew. Whom a certificate names is decided by its SPIFFE URI.
//!
//! | function | this side | other side must show |
//! |---|---|---|
//! | [`server_mtls`] | node certificate | a certificate of the same cluster (any role) |
//! | [`server_mtls_for`] | node certificate | the same, in one of the given roles |
//! | [`client_mtls`] | node certificate | a control node of the same cluster |
//! | [`server_api`] | node certificate | nothing, or a certificate of the same cluster |
//! | [`client_pinned`] | nothing | a control node whose CA has the pinned key |

mod live;
mod peer;
mod pinned;
mod saved;
mod verify;

use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig, crypto::CryptoProvider};

use crate::identity::{CaPin, NodeIdentity, Role};

pub use live::LiveIdentity;
pub use peer::{PeerError, peer_identity, refusal};
pub use saved::{SavedIdentity, TakeUpError};

/// Why a TLS configuration could not be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls refused the key, the certificate or the versions.
    #[error("cannot configure TLS")]
    Rustls(#[from] rustls::Error),
    /// The CA certificate is no trust anchor.
    #[error("the cluster's CA certificate is no trust anchor")]
    TrustAnchor(#[source] rustls::Error),
    /// A replacement identity is of another node or cluster.
    #[error("the new identity is of {new}, this process is {old}")]
    OtherIdentity {
        /// Whom the new certificate names.
        new: crate::identity::PeerIdentity,
        /// Whom the old one names.
        old: crate::identity::PeerIdentity,
    },
}

/// A server for peers of the cluster in any role.
///
/// # Errors
/// The identity's key or CA cannot be used.
pub fn server_mtls(identity: &NodeIdentity) -> Result<Arc<ServerConfig>, TlsError> {
    server_mtls_for(identity, &Role::ALL)
}

/// A server for peers of the cluster in one of `roles`.
///
/// # Errors
/// The identity's key or CA cannot be used.
pub fn server_mtls_for(
    identity: &NodeIdentity,
    roles: &[Role],
) -> Result<Arc<ServerConfig>, TlsError> {
    LiveIdentity::new(identity)?.server_mtls(roles)
}

/// A client of the cluster's control nodes.
///
/// # Errors
/// The identity's key or CA cannot be used.
pub fn client_mtls(identity: &NodeIdentity) -> Result<Arc<ClientConfig>, TlsError> {
    LiveIdentity::new(identity)?.client_mtls(Role::Control)
}

/// The API's server: a client certificate is optional, because the API checks tokens. One that is
/// shown must be of the cluster. Presents the CA beside the node certificate, for pinning.
///
/// # Errors
/// The identity's key or CA cannot be used.
pub fn server_api(identity: &NodeIdentity) -> Result<Arc<ServerConfig>, TlsError> {
    LiveIdentity::new(identity)?.server_api()
}

/// A client that knows only the CA's pin: for joining and for the command line.
///
/// # Errors
/// TLS cannot be configured.
pub fn client_pinned(pin: &CaPin) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned::PinnedServer::new(*pin)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The same configuration with other application protocols (ALPN).
#[must_use]
pub fn server_alpn(config: &ServerConfig, protocols: &[&[u8]]) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// The same configuration with other application protocols (ALPN).
#[must_use]
pub fn client_alpn(config: &ClientConfig, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// The cryptography every configuration here uses: ring.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests;
