//! Whom a certificate names, and every reason to refuse a peer.

use std::{error::Error, fmt, io, time::Duration};

use rustls::{CertificateError, OtherError};
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::identity::{CLOCK_TOLERANCE, CaPin, ClusterId, InvalidName, PeerIdentity, Role};

/// Why a peer's certificate is refused.
///
/// `Debug` prints the same words as `Display`: TLS libraries print a verifier's reason with
/// `Debug`, and this is the text an operator reads there.
#[derive(Clone, PartialEq, thiserror::Error)]
pub enum PeerError {
    /// The peer showed none.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// Not X.509 in DER.
    #[error("the peer's certificate cannot be read")]
    Unreadable,
    /// Not exactly one SPIFFE URI.
    #[error("the peer's certificate holds {count} SPIFFE URIs; exactly one names a node")]
    NotOneName {
        /// How many it holds.
        count: usize,
    },
    /// The URI is not of the required form.
    #[error("the peer's certificate has a malformed name")]
    Name(#[from] InvalidName),
    /// Of another cluster.
    #[error("the peer belongs to cluster {found}, this node to cluster {own}")]
    OtherCluster {
        /// The peer's cluster.
        found: ClusterId,
        /// This node's cluster.
        own: ClusterId,
    },
    /// In a role that has no business here.
    #[error("the peer is {peer}; allowed here: {}", roles(allowed))]
    OtherRole {
        /// Whom the certificate names.
        peer: PeerIdentity,
        /// The roles that are let in.
        allowed: Vec<Role>,
    },
    /// Signed by another CA, though it claims this cluster.
    #[error("the certificate of the peer ({}) was not issued by this cluster's CA", claim(.claimed))]
    UnknownAuthority {
        /// Whom the certificate names, where it can be read.
        claimed: Option<PeerIdentity>,
    },
    /// None of the presented CAs has the pinned key.
    #[error("the server's CA does not match the pin {expected} (it has {})", pins(.presented))]
    OtherPin {
        /// The pin that was asked for.
        expected: CaPin,
        /// The pins of the presented chain.
        presented: Vec<CaPin>,
    },
    /// Not valid yet by this host's clock.
    #[error(
        "the peer's certificate was issued at {} by its cluster's clock, this host's clock shows {}: \
         at most {} s between them are borne, so one of the two clocks is wrong",
        shown(*.now + *.ahead + CLOCK_TOLERANCE), shown(*.now), CLOCK_TOLERANCE.as_secs()
    )]
    NotYetValid {
        /// This host's clock, since 1970.
        now: Duration,
        /// Time until it becomes valid.
        ahead: Duration,
    },
    /// Not valid any more by this host's clock.
    #[error("the peer's certificate expired {} s ago by this host's clock", ago.as_secs())]
    Expired {
        /// Time since it ended.
        ago: Duration,
    },
    /// Any other finding of the chain's verification.
    #[error("the peer's certificate is invalid: {0}")]
    Invalid(rustls::Error),
}

impl fmt::Debug for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<PeerError> for rustls::Error {
    fn from(error: PeerError) -> Self {
        CertificateError::Other(OtherError(std::sync::Arc::new(error))).into()
    }
}

/// Reads whom the first certificate of a verified chain names.
///
/// # Errors
/// No certificate, an unreadable one, or one without exactly one well-formed SPIFFE URI.
pub fn peer_identity(certificates: &[CertificateDer<'_>]) -> Result<PeerIdentity, PeerError> {
    let first = certificates.first().ok_or(PeerError::NoCertificate)?;
    let (_, parsed) = X509Certificate::from_der(first).map_err(|_| PeerError::Unreadable)?;
    let names = parsed.subject_alternative_name().map_err(|_| PeerError::Unreadable)?;
    let uris: Vec<&str> = names
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    match uris.as_slice() {
        [uri] => Ok(uri.parse()?),
        other => Err(PeerError::NotOneName { count: other.len() }),
    }
}

/// Finds the reason for which this side refused a peer inside the error of a TLS, HTTP or QUIC
/// library, where it is the cause.
#[must_use]
pub fn refusal<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e PeerError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<PeerError>() {
            return Some(found);
        }
        if let Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner)))) =
            error.downcast_ref()
        {
            return inner.downcast_ref();
        }
        // An `io::Error` skips the error it wraps when asked for its source.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Turns a finding of the chain's verification into a reason that tells what to do.
pub(super) fn explain(
    error: rustls::Error,
    certificate: &CertificateDer<'_>,
    own: Option<&ClusterId>,
) -> PeerError {
    use CertificateError as Cause;
    let rustls::Error::InvalidCertificate(cause) = &error else {
        return PeerError::Invalid(error);
    };
    let between =
        |later: UnixTime, earlier: UnixTime| later.as_secs().saturating_sub(earlier.as_secs());
    match cause {
        Cause::NotValidYetContext { time, not_before } => {
            let ahead = Duration::from_secs(between(*not_before, *time));
            PeerError::NotYetValid { now: Duration::from_secs(time.as_secs()), ahead }
        }
        Cause::ExpiredContext { time, not_after } => {
            PeerError::Expired { ago: Duration::from_secs(between(*time, *not_after)) }
        }
        Cause::UnknownIssuer | Cause::BadSignature => {
            let claimed = peer_identity(std::slice::from_ref(certificate)).ok();
            match (claimed, own) {
                (Some(peer), Some(own)) if peer.cluster != *own => {
                    PeerError::OtherCluster { found: peer.cluster, own: own.clone() }
                }
                (claimed, _) => PeerError::UnknownAuthority { claimed },
            }
        }
        _ => PeerError::Invalid(error),
    }
}

/// A clock in UTC, to the second.
fn shown(since_1970: Duration) -> String {
    let time = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(since_1970.as_secs());
    format!("{} {} UTC", time.date(), time.time())
}

fn roles(allowed: &[Role]) -> String {
    allowed.iter().map(Role::to_string).collect::<Vec<_>>().join(", ")
}

fn pins(presented: &[CaPin]) -> String {
    if presented.is_empty() {
        return "none".to_owned();
    }
    presented.iter().map(CaPin::to_string).collect::<Vec<_>>().join(", ")
}

fn claim(claimed: &Option<PeerIdentity>) -> String {
    claimed.as_ref().map_or_else(|| "it names no node".to_owned(), PeerIdentity::to_string)
}
