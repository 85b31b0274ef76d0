//! An identity whose certificate can be renewed while configurations made from it are in use.
//!
//! Handshakes that begin after [`LiveIdentity::replace`] show the new certificate; connections that
//! stand are untouched. The CA and the name stay: who changes those is another process.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ClientConfig, ServerConfig, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign,
    version::TLS13,
};

use super::{
    TlsError, provider,
    verify::{ClusterClient, ClusterServer},
};
use crate::identity::{NodeIdentity, Role};

/// A node identity that TLS configurations show, replaceable by a renewed one; clones share it.
#[derive(Debug, Clone)]
pub struct LiveIdentity {
    held: Arc<Held>,
}

impl LiveIdentity {
    /// Starts with `identity`.
    ///
    /// # Errors
    /// The private key cannot be used for TLS.
    pub fn new(identity: &NodeIdentity) -> Result<Self, TlsError> {
        Ok(Self { held: Arc::new(Held(RwLock::new(Present::of(identity)?))) })
    }

    /// The identity that handshakes show at present.
    #[must_use]
    pub fn identity(&self) -> Arc<NodeIdentity> {
        self.held.present().identity
    }

    /// Shows the renewed certificate from the next handshake on, in every configuration made here.
    ///
    /// # Errors
    /// The new identity names someone else, has another CA, or its key cannot be used.
    pub fn replace(&self, identity: &NodeIdentity) -> Result<(), TlsError> {
        let old = self.identity();
        if identity.peer() != old.peer() || identity.pin() != old.pin() {
            return Err(TlsError::OtherIdentity {
                new: identity.peer().clone(),
                old: old.peer().clone(),
            });
        }
        let next = Present::of(identity)?;
        *self.held.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// See [`server_mtls_for`](super::server_mtls_for).
    ///
    /// # Errors
    /// The CA is no trust anchor.
    pub fn server_mtls(&self, roles: &[Role]) -> Result<Arc<ServerConfig>, TlsError> {
        let verifier = Arc::new(ClusterClient::new(&self.identity(), roles, true)?);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&self.held) as Arc<dyn ResolvesServerCert>);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// See [`client_mtls`](super::client_mtls); `role` is the server's.
    ///
    /// # Errors
    /// The CA is no trust anchor.
    pub fn client_mtls(&self, role: Role) -> Result<Arc<ClientConfig>, TlsError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ClusterServer::new(&self.identity(), role)?))
            .with_client_cert_resolver(Arc::clone(&self.held) as Arc<dyn ResolvesClientCert>);
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// See [`server_api`](super::server_api).
    ///
    /// # Errors
    /// The CA is no trust anchor.
    pub fn server_api(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let verifier = Arc::new(ClusterClient::new(&self.identity(), &Role::ALL, false)?);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&self.held) as Arc<dyn ResolvesServerCert>);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

/// The identity, and its certificate and key in the form that rustls takes.
#[derive(Clone)]
struct Present {
    identity: Arc<NodeIdentity>,
    shown: Arc<sign::CertifiedKey>,
}

impl Present {
    fn of(identity: &NodeIdentity) -> Result<Self, TlsError> {
        let key = provider().key_provider.load_private_key(identity.private_der())?;
        Ok(Self {
            identity: Arc::new(identity.clone()),
            shown: Arc::new(sign::CertifiedKey::new(identity.chain(), key)),
        })
    }
}

struct Held(RwLock<Present>);

impl Held {
    fn present(&self) -> Present {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.present().identity.fmt(f)
    }
}

impl ResolvesServerCert for Held {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<sign::CertifiedKey>> {
        Some(self.present().shown)
    }
}

impl ResolvesClientCert for Held {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<sign::CertifiedKey>> {
        Some(self.present().shown)
    }

    fn has_certs(&self) -> bool {
        true
    }
}
