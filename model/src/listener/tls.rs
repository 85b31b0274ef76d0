//! How TLS ends at an HTTPS listener.

use serde::Serialize;

use super::ClientCertificates;
use crate::{route::Reference, tls::TlsVersion};

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

/// How TLS ends at an HTTPS listener: with certificates from files, or with `Certificate` objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// The certificate for clients that ask for no name, or for one that no certificate has.
    #[serde(flatten)]
    pub certificate: Option<CertificateFiles>,
    /// Others; the name that a client asks for chooses among all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_certificates: Vec<CertificateFiles>,
    /// In place of files: the names of certificates; the first is for clients that ask for no name, or
    /// for one that no certificate has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Reference>,
    /// The oldest version; 1.2 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// The newest version, not older than the oldest; 1.3 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_version: Option<TlsVersion>,
    /// How certificates of clients are checked; none is asked for when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientCertificates>,
}

/// Where a listener has a certificate from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    /// From files.
    Files(&'a CertificateFiles),
    /// From an object.
    Certificate(&'a Reference),
}

impl ListenerTls {
    /// Walks over what is shown, with the paths of the fields.
    pub fn shown(&self) -> impl Iterator<Item = (String, Shown<'_>)> {
        let first = self.certificate.iter().map(|files| ("spec.tls".to_owned(), files));
        let more = self.more_certificates.iter().enumerate();
        let more = more.map(|(index, one)| (format!("spec.tls.moreCertificates[{index}]"), one));
        let files = first.chain(more).map(|(field, files)| (field, Shown::Files(files)));
        let named = self.certificates.iter().enumerate().map(|(index, one)| {
            (format!("spec.tls.certificates[{index}]"), Shown::Certificate(one))
        });
        files.chain(named)
    }
}
