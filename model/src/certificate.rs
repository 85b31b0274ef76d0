//! `Certificate` and `Issuer`: what listeners show, and who signs it.

use std::time::Duration;

use serde::Serialize;

use crate::{listener::CertificateFiles, object::serialize_duration, route::Reference};

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Certificate {
    /// Files on each node, which somebody else renews.
    Files(CertificateFiles),
    /// Issued for the cluster, and renewed by it.
    Issued(Issued),
}

/// What is asked of an issuer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Issued {
    /// Who signs it.
    pub issuer: Reference,
    /// The names that it is for: hosts, or `*.` and a domain; one at least, the first is the subject.
    pub hosts: Vec<String>,
    /// How long it is valid, 1 min to 398 days; 90 days by default.
    #[serde(serialize_with = "serialize_duration")]
    pub lifetime: Duration,
    /// How long before its end the next one is issued, up to two thirds of the lifetime; a third by default.
    #[serde(serialize_with = "serialize_duration")]
    pub renew_before: Duration,
}

impl Issued {
    /// How long it is valid when nothing is said of it.
    pub const DEFAULT_LIFETIME: Duration = Duration::from_hours(90 * 24);

    /// What is left of a lifetime when the next one is issued and nothing is said of it: a third, in the
    /// whole seconds that documents are written with.
    #[must_use]
    pub fn default_renewal(lifetime: Duration) -> Duration {
        Duration::from_secs((lifetime / 3).as_secs())
    }

    /// How long before its end the next one is issued of one that is valid for so long, which an authority may
    /// choose: what is asked for, or by default a third of that.
    #[must_use]
    pub fn renews_before(&self, valid: Duration) -> Duration {
        if self.renew_before == Self::default_renewal(self.lifetime) {
            return Self::default_renewal(valid);
        }
        self.renew_before
    }
}

/// Who signs certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Issuer {
    /// The cluster itself, by an authority that is made for this issuer alone.
    Internal {},
    /// An authority that is asked by ACME (RFC 8555), such as Let's Encrypt.
    Acme(Acme),
}

/// An authority that is asked by ACME. It convinces itself that a host is the cluster's by a challenge,
/// which any node answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Acme {
    /// The URL of its directory, by `https`.
    pub server: String,
    /// E-mail addresses that it may write to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contact: Vec<String>,
    /// The absolute path, on each control node, of the authorities (PEM) by which the server itself is
    /// trusted; those of the system when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// That its terms are agreed to; true.
    pub terms_of_service_agreed: bool,
    /// How it convinces itself, HTTP-01 by default.
    pub challenge: AcmeChallenge,
}

/// How an authority convinces itself that a host is the cluster's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum AcmeChallenge {
    /// By a request over HTTP to port 80 (RFC 8555, section 8.3).
    #[default]
    #[serde(rename = "HTTP-01")]
    Http01,
    /// By a handshake with port 443 (RFC 8737).
    #[serde(rename = "TLS-ALPN-01")]
    TlsAlpn01,
}

impl Issuer {
    /// Returns the authority that is asked by ACME, where one is.
    #[must_use]
    pub fn acme(&self) -> Option<&Acme> {
        match self {
            Self::Acme(acme) => Some(acme),
            Self::Internal {} => None,
        }
    }
}

impl Certificate {
    /// Returns what is asked of an issuer, where it is one's.
    #[must_use]
    pub fn issued(&self) -> Option<&Issued> {
        match self {
            Self::Issued(issued) => Some(issued),
            Self::Files(_) => None,
        }
    }
}
