//! How TLS ends at an HTTPS listener.

use serde::Serialize;

use crate::tls::TlsVersion;

/// A certificate, by reference to files on each node.
///
/// Contents are read by the data plane, never stored in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFiles {
    /// Absolute path of the PEM certificate chain.
    pub certificate_file: String,
    /// Absolute path of the PEM private key.
    pub private_key_file: String,
}

/// How TLS ends at an HTTPS listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// The certificate for clients that ask for no name, or for one that no certificate has.
    #[serde(flatten)]
    pub certificate: CertificateFiles,
    /// Others; the name that a client asks for chooses among all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_certificates: Vec<CertificateFiles>,
    /// The oldest version; 1.2 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// The newest version, not older than the oldest; 1.3 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_version: Option<TlsVersion>,
}

impl ListenerTls {
    /// Walks over the certificates with the paths of their fields.
    pub fn certificates(&self) -> impl Iterator<Item = (String, &CertificateFiles)> {
        let more = self.more_certificates.iter().enumerate();
        let more = more.map(|(index, one)| (format!("spec.tls.moreCertificates[{index}]"), one));
        std::iter::once(("spec.tls".to_owned(), &self.certificate)).chain(more)
    }
}
