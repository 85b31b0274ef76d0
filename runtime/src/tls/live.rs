//! An identity whose certificate can be renewed while configurations made from it are in use.
//!
//! Handshakes that begin after [`LiveIdentity::replace`] show the new certificate; connections that
//! stand are untouched. The CA and the name stay: who changes those is another process.

use std::sync::{Arc, PoisonError, RwLock};

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

/// A node identity that TLS configurations show, replaceable by a renewed one.
#[derive(Debug, Clone)]
pub struct LiveIdentity {
    identity: NodeIdentity,
    shown: Arc<Shown>,
}

impl LiveIdentity {
    /// Starts with `identity`.
    ///
    /// # Errors
    /// The private key cannot be used for TLS.
    pub fn new(identity: &NodeIdentity) -> Result<Self, TlsError> {
        let shown = Arc::new(Shown(RwLock::new(presentable(identity)?)));
        Ok(Self { identity: identity.clone(), shown })
    }

    /// Shows the renewed certificate from the next handshake on, in every configuration made here.
    ///
    /// # Errors
    /// The new identity names someone else, has another CA, or its key cannot be used.
    pub fn replace(&self, identity: &NodeIdentity) -> Result<(), TlsError> {
        let same = identity.peer() == self.identity.peer() && identity.pin() == self.identity.pin();
        if !same {
            return Err(TlsError::OtherIdentity {
                new: identity.peer().clone(),
                old: self.identity.peer().clone(),
            });
        }
        let next = presentable(identity)?;
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// See [`server_mtls_for`](super::server_mtls_for).
    ///
    /// # Errors
    /// The CA is no trust anchor.
    pub fn server_mtls(&self, roles: &[Role]) -> Result<Arc<ServerConfig>, TlsError> {
        let verifier = Arc::new(ClusterClient::new(&self.identity, roles, true)?);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&self.shown) as Arc<dyn ResolvesServerCert>);
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
            .with_custom_certificate_verifier(Arc::new(ClusterServer::new(&self.identity, role)?))
            .with_client_cert_resolver(Arc::clone(&self.shown) as Arc<dyn ResolvesClientCert>);
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// See [`server_api`](super::server_api).
    ///
    /// # Errors
    /// The CA is no trust anchor.
    pub fn server_api(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let verifier = Arc::new(ClusterClient::new(&self.identity, &Role::ALL, false)?);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&self.shown) as Arc<dyn ResolvesServerCert>);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

fn presentable(identity: &NodeIdentity) -> Result<Arc<sign::CertifiedKey>, TlsError> {
    let key = provider().key_provider.load_private_key(identity.private_der())?;
    Ok(Arc::new(sign::CertifiedKey::new(identity.chain(), key)))
}

#[derive(Debug)]
struct Shown(RwLock<Arc<sign::CertifiedKey>>);

impl Shown {
    fn get(&self) -> Arc<sign::CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<sign::CertifiedKey>> {
        Some(self.get())
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<sign::CertifiedKey>> {
        Some(self.get())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
