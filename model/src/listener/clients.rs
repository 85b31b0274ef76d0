//! Which clients an HTTPS listener lets in by their certificates, and what is told of them.

use std::net::IpAddr;

use serde::Serialize;

/// How certificates of clients are checked (mutual TLS).
///
/// One that is shown must be signed by a trusted authority, not be revoked, and have one of the
/// names, or else the handshake fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificates {
    /// Absolute path of the authorities that are trusted (PEM).
    pub ca_file: String,
    /// Absolute path of their revocation lists (PEM), in the directory of `ca_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl_file: Option<String>,
    /// What happens to clients without a certificate.
    pub mode: ClientCertificateMode,
    /// The names of which the certificate must have one; whichever when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<ClientName>,
    /// What endpoints are told of the certificate, in `x-forwarded-client-cert`; nothing when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forward: Vec<ForwardedDetail>,
}

/// What happens to clients without a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum ClientCertificateMode {
    /// The handshake fails.
    #[default]
    Required,
    /// They are let in.
    Optional,
}

/// A name that a certificate may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ClientName {
    /// A DNS name; a wildcard in the certificate covers an exact one.
    Dns(NameMatch),
    /// A URI, such as a SPIFFE identity.
    Uri(NameMatch),
    /// An email address.
    Email(NameMatch),
    /// An address.
    Ip(IpAddr),
}

/// How a name compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NameMatch {
    /// The whole.
    Exact(String),
    /// What it begins with.
    Prefix(String),
    /// What it ends with.
    Suffix(String),
}

/// A detail of a client's certificate. Its hash is told with each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ForwardedDetail {
    /// The SHA-256 hash.
    Hash,
    /// The subject.
    Subject,
    /// The DNS names.
    #[serde(rename = "DNS")]
    Dns,
    /// The URIs.
    #[serde(rename = "URI")]
    Uri,
    /// The certificate (URL-encoded PEM).
    Certificate,
    /// The whole chain (URL-encoded PEM).
    Chain,
}
