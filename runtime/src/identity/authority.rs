//! The cluster's certificate authority: one self-signed CA that issues node certificates.
//!
//! The name in a certificate comes from the issuer's caller, never from the signing request: of a
//! request only the public key (with the proof of possession) is used.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, SanType, string::Ia5String,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{CaPin, ClusterId, KeyError, KeyPair, PeerIdentity};

/// How far before the moment of issue a certificate is already valid: a host whose clock is up to
/// this much behind the issuer's accepts it. Two hours cover a wrongly applied summer time.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(2 * 60 * 60);

/// Lifetime of the CA: ten years, so that it outlives the hosts it was made on.
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How long a certificate is valid, counted from `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The moment of issue; validity begins [`CLOCK_TOLERANCE`] earlier.
    pub from: SystemTime,
    /// Time from `from` to the end of validity.
    pub lifetime: Duration,
}

impl Validity {
    /// Lifetime of a node certificate where nothing else is asked for: a year.
    pub const NODE_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    /// A node certificate issued now.
    #[must_use]
    pub fn node() -> Self {
        Self { from: SystemTime::now(), lifetime: Self::NODE_LIFETIME }
    }
}

/// Why the authority could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The CA's key cannot be made or read.
    #[error("the CA's key is unusable")]
    Key(#[from] KeyError),
    /// The CA's certificate cannot be made.
    #[error("cannot sign a certificate")]
    Sign(#[source] rcgen::Error),
    /// The text does not hold a CA certificate and its key.
    #[error("not a CA: {reason}")]
    NotACa {
        /// What is missing or wrong.
        reason: &'static str,
    },
    /// The signing request is unreadable, or its signature is wrong.
    #[error("the certificate signing request is refused")]
    Request(#[source] rcgen::Error),
    /// The identity belongs to another cluster than the CA.
    #[error("asked to issue for cluster {asked}, but this is the CA of cluster {own}")]
    OtherCluster {
        /// The cluster of the identity.
        asked: ClusterId,
        /// The CA's cluster.
        own: ClusterId,
    },
}

/// A cluster's certificate authority with its private key.
#[derive(Debug, Clone)]
pub struct Authority {
    cluster: ClusterId,
    key: KeyPair,
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    pin: CaPin,
}

impl Authority {
    /// Makes the CA of a new cluster.
    ///
    /// # Errors
    /// No key can be made.
    pub fn create(cluster: ClusterId) -> Result<Self, AuthorityError> {
        Self::create_at(cluster, SystemTime::now())
    }

    fn create_at(cluster: ClusterId, now: SystemTime) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = valid(Validity { from: now, lifetime: CA_LIFETIME });
        params.distinguished_name = ca_name(&cluster);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key.inner).map_err(AuthorityError::Sign)?;
        Self::assemble(cluster, key, certificate.pem())
    }

    /// Reads what [`to_pem`](Self::to_pem) wrote.
    ///
    /// # Errors
    /// The text lacks the key or the certificate, or they do not belong together.
    pub fn from_pem(pem: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(pem)?;
        let start = pem
            .find("-----BEGIN CERTIFICATE-----")
            .ok_or(AuthorityError::NotACa { reason: "no certificate" })?;
        let certificate_pem = pem[start..].to_owned();
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_| AuthorityError::NotACa { reason: "the certificate is not PEM" })?;
        let cluster = cluster_of(&certificate, &key)?;
        Self::assemble(cluster, key, certificate_pem)
    }

    fn assemble(
        cluster: ClusterId,
        key: KeyPair,
        certificate_pem: String,
    ) -> Result<Self, AuthorityError> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_| AuthorityError::NotACa { reason: "the certificate is not PEM" })?;
        let pin = CaPin::of(&certificate)
            .map_err(|_| AuthorityError::NotACa { reason: "the certificate is not X.509" })?;
        Ok(Self { cluster, key, certificate_pem, certificate, pin })
    }

    /// Private key and certificate in PEM. A secret: whoever holds it is the cluster.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}{}", *self.key.to_pem(), self.certificate_pem))
    }

    /// The CA certificate in PEM, without the key.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA certificate in DER.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The cluster this CA speaks for.
    #[must_use]
    pub fn cluster(&self) -> &ClusterId {
        &self.cluster
    }

    /// The pin that a joiner checks the CA against.
    #[must_use]
    pub fn pin(&self) -> CaPin {
        self.pin
    }

    /// Issues a certificate (PEM) that names `identity`, for the key in the signing request.
    ///
    /// # Errors
    /// The request is malformed or not signed by the key it carries; the identity is of another
    /// cluster.
    pub fn issue(
        &self,
        csr_pem: &str,
        identity: &PeerIdentity,
        validity: Validity,
    ) -> Result<String, AuthorityError> {
        if identity.cluster != self.cluster {
            return Err(AuthorityError::OtherCluster {
                asked: identity.cluster.clone(),
                own: self.cluster.clone(),
            });
        }
        let request =
            CertificateSigningRequestParams::from_pem(csr_pem).map_err(AuthorityError::Request)?;
        let params = node_params(identity, validity);
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key.inner)
            .map_err(AuthorityError::Sign)?;
        CertificateSigningRequestParams { params, public_key: request.public_key }
            .signed_by(&issuer)
            .map(|certificate| certificate.pem())
            .map_err(AuthorityError::Sign)
    }
}

fn node_params(identity: &PeerIdentity, validity: Validity) -> CertificateParams {
    let ascii =
        |text: String| Ia5String::try_from(text).expect("ids, roles and fixed parts are ASCII");
    let mut params = valid(validity);
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("marchproxy {} node {}", identity.role, identity.node));
    params.subject_alt_names = std::iter::once(SanType::URI(ascii(identity.uri())))
        .chain(identity.dns_names().map(|name| SanType::DnsName(ascii(name))))
        .collect();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

fn valid(validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = OffsetDateTime::from(validity.from - CLOCK_TOLERANCE);
    params.not_after = OffsetDateTime::from(validity.from + validity.lifetime);
    params
}

const CA_NAME_PREFIX: &str = "marchproxy cluster ";

fn ca_name(cluster: &ClusterId) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, format!("{CA_NAME_PREFIX}{cluster}"));
    name
}

fn cluster_of(
    certificate: &CertificateDer<'_>,
    key: &KeyPair,
) -> Result<ClusterId, AuthorityError> {
    let not_a_ca = |reason| AuthorityError::NotACa { reason };
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| not_a_ca("the certificate is not X.509"))?;
    if parsed.tbs_certificate.subject_pki.raw != key.public_der() {
        return Err(not_a_ca("key and certificate do not belong together"));
    }
    if !parsed.is_ca() {
        return Err(not_a_ca("the certificate may not sign others"));
    }
    parsed
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok())
        .and_then(|name| name.strip_prefix(CA_NAME_PREFIX))
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| not_a_ca("its subject names no cluster"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{NodeId, Role};

    fn identity(cluster: &ClusterId) -> PeerIdentity {
        PeerIdentity { cluster: cluster.clone(), node: NodeId(3), role: Role::Control }
    }

    #[test]
    fn an_authority_survives_its_pem() {
        let ca = Authority::create(ClusterId::random()).unwrap();
        let again = Authority::from_pem(&ca.to_pem()).unwrap();
        assert_eq!(again.pin(), ca.pin());
        assert_eq!(again.cluster(), ca.cluster());
        assert_eq!(again.certificate_pem(), ca.certificate_pem());
    }

    #[test]
    fn key_and_certificate_of_two_authorities_are_refused() {
        let (one, other) = (
            Authority::create(ClusterId::random()).unwrap(),
            Authority::create(ClusterId::random()).unwrap(),
        );
        let mixed = format!("{}{}", *one.key.to_pem(), other.certificate_pem());
        assert!(matches!(Authority::from_pem(&mixed), Err(AuthorityError::NotACa { .. })));
        assert!(matches!(Authority::from_pem(one.certificate_pem()), Err(AuthorityError::Key(_))));
    }

    #[test]
    fn another_cluster_or_a_broken_request_is_refused() {
        let ca = Authority::create(ClusterId::random()).unwrap();
        let csr = KeyPair::generate().unwrap().csr().unwrap();
        let stranger = identity(&ClusterId::random());
        assert!(matches!(
            ca.issue(&csr.0, &stranger, Validity::node()),
            Err(AuthorityError::OtherCluster { .. })
        ));
        for csr in
            ["", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"]
        {
            assert!(matches!(
                ca.issue(csr, &identity(ca.cluster()), Validity::node()),
                Err(AuthorityError::Request(_))
            ));
        }
    }

    #[test]
    fn a_request_cannot_choose_its_own_name() {
        let ca = Authority::create(ClusterId::random()).unwrap();
        let key = KeyPair::generate().unwrap();
        let greedy = rcgen::CertificateParams::new(vec!["control.evil.marchproxy".to_owned()])
            .unwrap()
            .serialize_request(&key.inner)
            .unwrap()
            .pem()
            .unwrap();
        let pem = ca.issue(&greedy, &identity(ca.cluster()), Validity::node()).unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        let names = format!("{:?}", parsed.subject_alternative_name().unwrap().unwrap().value);
        assert!(!names.contains("evil"), "{names}");
        assert!(!parsed.is_ca());
    }
}
