//! Verifiers of peers within one cluster: the chain by webpki, the name by its SPIFFE URI.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{TlsError, peer::explain, peer_identity, provider};
use crate::{
    identity::{ClusterId, NodeIdentity, PeerIdentity, Role},
    tls::PeerError,
};

/// The identity a peer must have.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    cluster: ClusterId,
    roles: Vec<Role>,
}

impl Expected {
    pub(super) fn new(cluster: &ClusterId, roles: &[Role]) -> Self {
        Self { cluster: cluster.clone(), roles: roles.to_vec() }
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<PeerIdentity, PeerError> {
        let peer = peer_identity(std::slice::from_ref(certificate))?;
        if peer.cluster != self.cluster {
            return Err(PeerError::OtherCluster { found: peer.cluster, own: self.cluster.clone() });
        }
        if !self.roles.contains(&peer.role) {
            return Err(PeerError::OtherRole { peer, allowed: self.roles.clone() });
        }
        Ok(peer)
    }
}

fn roots(identity: &NodeIdentity) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(identity.ca().clone()).map_err(TlsError::TrustAnchor)?;
    Ok(Arc::new(roots))
}

/// Checks clients: issued by the cluster's CA, named in an allowed role.
#[derive(Debug)]
pub(super) struct ClusterClient {
    chain: Arc<dyn ClientCertVerifier>,
    expected: Expected,
}

impl ClusterClient {
    /// `mandatory`: whether a client without a certificate is refused.
    pub(super) fn new(
        identity: &NodeIdentity,
        roles: &[Role],
        mandatory: bool,
    ) -> Result<Self, TlsError> {
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots(identity)?, provider())
            // The names of trusted CAs are nobody's business before the handshake is done.
            .clear_root_hint_subjects();
        if !mandatory {
            builder = builder.allow_unauthenticated();
        }
        let chain = builder
            .build()
            .map_err(|error| TlsError::TrustAnchor(Error::General(error.to_string())))?;
        Ok(Self { chain, expected: Expected::new(identity.cluster(), roles) })
    }
}

impl ClientCertVerifier for ClusterClient {
    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)
            .map_err(|error| explain(error, end_entity, Some(&self.expected.cluster)))?;
        self.expected.check(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Checks a server: issued by the cluster's CA, named in the wanted role, under the asked name.
#[derive(Debug)]
pub(super) struct ClusterServer {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    expected: Expected,
}

impl ClusterServer {
    pub(super) fn new(identity: &NodeIdentity, role: Role) -> Result<Self, TlsError> {
        Ok(Self {
            roots: roots(identity)?,
            algorithms: provider().signature_verification_algorithms,
            expected: Expected::new(identity.cluster(), &[role]),
        })
    }
}

impl ServerCertVerifier for ClusterServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )
        .map_err(|error| explain(error, end_entity, Some(&self.expected.cluster)))?;
        self.expected.check(end_entity)?;
        verify_server_name(&parsed, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
