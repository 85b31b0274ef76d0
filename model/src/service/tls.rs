//! TLS from Envoy to endpoints.

use std::net::IpAddr;

use serde::Serialize;

use crate::tls::TlsVersion;

/// How connections to endpoints are encrypted, and whom Envoy believes.
///
/// An endpoint's certificate must be signed by a trusted authority and be for one of the names that
/// are expected, unless `dangerously_accept_any_certificate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTls {
    /// The name that is asked for (SNI), which the certificate must be for where no other names are
    /// given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The file of trusted authorities (PEM) on each node; the system's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The names of which the certificate must be for one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<SubjectAltName>,
    /// The file of Envoy's own certificate chain (PEM), for endpoints that ask for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<String>,
    /// The file of its private key (PEM); there with a certificate only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_file: Option<String>,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// The protocols offered inside (ALPN); by the service's protocol when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
    /// Whether any certificate is taken, so that anybody on the way may read and change everything.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dangerously_accept_any_certificate: bool,
}

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SubjectAltName {
    /// A host; a wildcard in the certificate covers it.
    Dns(String),
    /// A URI, such as a SPIFFE identity.
    Uri(String),
    /// An address.
    Ip(IpAddr),
}
