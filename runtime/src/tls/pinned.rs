//! The verifier of someone who knows only the CA's pin.
//!
//! The server presents its CA beside its certificate; the one whose key has the pinned hash becomes
//! the only trust anchor. The address it was reached under proves nothing and is not compared: the
//! certificate must name a control node.

use rustls::{
    DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{PeerError, peer::explain, peer_identity, provider};
use crate::identity::{CaPin, Role};

#[derive(Debug)]
pub(super) struct PinnedServer {
    pin: CaPin,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedServer {
    pub(super) fn new(pin: CaPin) -> Self {
        Self { pin, algorithms: provider().signature_verification_algorithms }
    }

    fn anchor(&self, presented: &[CertificateDer<'_>]) -> Result<RootCertStore, Error> {
        let mut pins = Vec::new();
        for certificate in presented {
            let Ok(pin) = CaPin::of(certificate) else { continue };
            if pin == self.pin {
                let mut roots = RootCertStore::empty();
                roots.add(certificate.clone().into_owned())?;
                return Ok(roots);
            }
            pins.push(pin);
        }
        Err(PeerError::OtherPin { expected: self.pin, presented: pins }.into())
    }
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let roots = self.anchor(intermediates)?;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &roots,
            intermediates,
            now,
            self.algorithms.all,
        )
        .map_err(|error| explain(error, end_entity, None))?;
        let peer = peer_identity(std::slice::from_ref(end_entity))?;
        if peer.role != Role::Control {
            return Err(PeerError::OtherRole { peer, allowed: vec![Role::Control] }.into());
        }
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
