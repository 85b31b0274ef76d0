//! A node's key pair (ECDSA P-256) and its certificate signing request.
//!
//! The private key leaves this file only as PEM or DER in memory that is wiped on drop.

use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use zeroize::Zeroizing;

/// A key or a request that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system gave no randomness, or the key could not be made.
    #[error("cannot make a key pair")]
    Generate(#[source] rcgen::Error),
    /// The text is no PKCS#8 private key in PEM, or of an algorithm that is not used here.
    #[error("not an ECDSA P-256 private key (PKCS#8, PEM)")]
    Parse,
    /// The signing request could not be made.
    #[error("cannot make a certificate signing request")]
    Request(#[source] rcgen::Error),
}

/// A private key and its public half.
pub struct KeyPair {
    pub(super) inner: rcgen::KeyPair,
}

/// A certificate signing request in PEM: the public key, with the proof that its owner asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningRequest(pub String);

impl AsRef<str> for SigningRequest {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl KeyPair {
    /// Makes a new key pair.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map(|inner| Self { inner })
            .map_err(KeyError::Generate)
    }

    /// Reads a private key in PEM.
    ///
    /// # Errors
    /// The text is not such a key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::Parse)?;
        rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ECDSA_P256_SHA256)
            .map(|inner| Self { inner })
            .map_err(|_| KeyError::Parse)
    }

    /// The private key in PEM, wiped from memory on drop.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.inner.serialize_pem())
    }

    /// The public key (SubjectPublicKeyInfo, DER).
    #[must_use]
    pub fn public_der(&self) -> Vec<u8> {
        use rcgen::PublicKeyData as _;
        self.inner.subject_public_key_info()
    }

    /// A request for a certificate for this key. It names nobody: the issuer decides the name.
    ///
    /// # Errors
    /// The request cannot be signed.
    pub fn csr(&self) -> Result<SigningRequest, KeyError> {
        rcgen::CertificateParams::default()
            .serialize_request(&self.inner)
            .and_then(|request| request.pem())
            .map(SigningRequest)
            .map_err(KeyError::Request)
    }

    pub(crate) fn private_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.inner.serialize_der()).into()
    }
}

impl Clone for KeyPair {
    fn clone(&self) -> Self {
        Self::from_pem(&self.to_pem()).expect("a key that was read or made is readable")
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPair(private)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_pem_and_never_shows_in_debug() {
        let key = KeyPair::generate().unwrap();
        let again = KeyPair::from_pem(&key.to_pem()).unwrap();
        assert_eq!(key.public_der(), again.public_der());
        assert_eq!(format!("{key:?}"), "KeyPair(private)");
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert!(matches!(KeyPair::from_pem(text), Err(KeyError::Parse)), "{text}");
        }
    }
}
