//! TLS towards a cluster's API: the server proves itself by a chain to the CA whose public key has
//! the pinned hash. Addresses prove nothing and are not compared, as in the program's own client.

use std::sync::Arc;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::verifier::{self, Judge};

/// A client configuration that trusts the pinned CA only.
///
/// # Errors
/// When the TLS library refuses its own defaults.
pub(crate) fn client(pin: &str) -> Result<Arc<ClientConfig>> {
    verifier::client(Pinned { pin: pin.to_owned() })
}

#[derive(Debug)]
struct Pinned {
    pin: String,
}

impl Judge for Pinned {
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        algorithms: &WebPkiSupportedAlgorithms,
        now: UnixTime,
    ) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        for certificate in others {
            let mut candidate = RootCertStore::empty();
            candidate.add(certificate.clone().into_owned())?;
            let pinned = candidate
                .roots
                .first()
                .is_some_and(|anchor| pin_of(anchor.subject_public_key_info.as_ref()) == self.pin);
            if pinned {
                roots = candidate;
            }
        }
        if roots.is_empty() {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, others, now, algorithms.all)
    }
}

/// The pin (RFC 7469, section 2.4, in base64url) of public key information whose outer SEQUENCE
/// header a trust anchor leaves out.
fn pin_of(content: &[u8]) -> String {
    let length = content.len();
    let mut der = vec![0x30];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => der.push(short),
        Ok(long) => der.extend_from_slice(&[0x81, long]),
        Err(_) => {
            der.push(0x82);
            der.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    der.extend_from_slice(content);
    URL_SAFE_NO_PAD.encode(::ring::digest::digest(&::ring::digest::SHA256, &der))
}
