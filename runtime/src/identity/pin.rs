//! The pin of a cluster's CA: what a joiner knows before it has any certificate.
//!
//! SHA-256 over the CA's SubjectPublicKeyInfo in DER (RFC 7469, section 2.4), in base64url without
//! padding: 43 characters.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A pin that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPin {
    /// Not 43 characters of base64url.
    #[error("CA pin {found:?} is not 43 characters of base64url")]
    Text {
        /// What was found.
        found: String,
    },
    /// The certificate to be pinned cannot be read.
    #[error("the CA certificate cannot be read")]
    Certificate,
}

/// SHA-256 of a CA's public key information.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CaPin([u8; 32]);

impl CaPin {
    /// The pin of a certificate.
    ///
    /// # Errors
    /// The certificate is not X.509 in DER.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, InvalidPin> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| InvalidPin::Certificate)?;
        Ok(Self(Sha256::digest(parsed.tbs_certificate.subject_pki.raw).into()))
    }
}

impl fmt::Display for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaPin({self})")
    }
}

impl FromStr for CaPin {
    type Err = InvalidPin;

    fn from_str(text: &str) -> Result<Self, InvalidPin> {
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| InvalidPin::Text { found: text.to_owned() })
    }
}

impl TryFrom<String> for CaPin {
    type Error = InvalidPin;

    fn try_from(text: String) -> Result<Self, InvalidPin> {
        text.parse()
    }
}

impl From<CaPin> for String {
    fn from(pin: CaPin) -> Self {
        pin.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_survives_its_text_and_other_lengths_are_refused() {
        let pin = CaPin([7; 32]);
        assert_eq!(pin.to_string().len(), 43);
        assert_eq!(pin.to_string().parse::<CaPin>().unwrap(), pin);
        for text in ["", "AAAA", &"A".repeat(44), &"!".repeat(43)] {
            assert!(text.parse::<CaPin>().is_err(), "{text}");
        }
    }
}
