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
    /// How long before its end the next one is issued; a third of the lifetime by default.
    #[serde(serialize_with = "serialize_duration")]
    pub renew_before: Duration,
}

/// Who signs certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Issuer {
    /// The cluster itself, by an authority that is made for this issuer alone.
    Internal {},
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
