//! An authority of an internal issuer, and what it issues.

use std::time::{Duration, SystemTime};

use model::{Issued, ObjectKey};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use runtime::identity::CLOCK_TOLERANCE;
use zeroize::Zeroizing;

/// Ten years: longer than what it issues by far. An issuer of another name has another one.
const LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);
/// The longest name of a subject (RFC 5280, `ub-common-name`).
const COMMON_NAME_MAX: usize = 64;

/// A certificate with its key, both in PEM.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: Zeroizing<String>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

/// Makes the authority of an issuer.
pub(super) fn create(issuer: &ObjectKey, now: SystemTime) -> Result<Pair, rcgen::Error> {
    let mut params = CertificateParams::default();
    let name = format!("marchproxy issuer {}/{}", issuer.namespace, issuer.name);
    params.distinguished_name = subject(&name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let (not_before, not_after) = valid(&mut params, now, LIFETIME);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.pem();
    Ok(Pair { certificate, key: Zeroizing::new(key.serialize_pem()), not_before, not_after })
}

/// Issues what is asked for, with a key of its own.
pub(super) fn issue(
    authority: &Pair,
    asked: &Issued,
    now: SystemTime,
) -> Result<Pair, rcgen::Error> {
    let signing = KeyPair::from_pem(&authority.key)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, signing)?;
    let mut params = CertificateParams::new(asked.hosts.as_slice())?;
    params.distinguished_name = subject(&asked.hosts[0]);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let (not_before, not_after) = valid(&mut params, now, asked.lifetime);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?.pem();
    Ok(Pair { certificate, key: Zeroizing::new(key.serialize_pem()), not_before, not_after })
}

fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    // What is too long stands in the alternative names alone.
    if name.len() <= COMMON_NAME_MAX {
        subject.push(DnType::CommonName, name);
    }
    subject
}

fn valid(
    params: &mut CertificateParams,
    now: SystemTime,
    lifetime: Duration,
) -> (SystemTime, SystemTime) {
    let (not_before, not_after) = (now - CLOCK_TOLERANCE, now + lifetime);
    params.not_before = not_before.into();
    params.not_after = not_after.into();
    (not_before, not_after)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::route::Reference;
    use rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    };
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};

    use super::*;

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    #[test]
    fn what_it_issues_is_trusted_for_its_hosts_and_its_time() {
        let now = SystemTime::now();
        let authority = create(&"Issuer/shops/own".parse().unwrap(), now).unwrap();
        let long = format!("{}.example", "a".repeat(60));
        let asked = Issued {
            issuer: Reference { namespace: "shops".into(), name: "own".into() },
            hosts: vec![long.clone(), "*.shop.example".into()],
            lifetime: Duration::from_secs(60),
            renew_before: Duration::from_secs(20),
        };
        let issued = issue(&authority, &asked, now).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(der(&authority.certificate)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let trusted = |host: &str, at: SystemTime| {
            let name = ServerName::try_from(host.to_owned()).unwrap();
            let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap());
            verifier.verify_server_cert(&der(&issued.certificate), &[], &name, &[], at).is_ok()
        };
        let second = Duration::from_secs(1);
        assert!(trusted(&long, now) && trusted("x.shop.example", now + 58 * second));
        assert!(!trusted("shop.example", now) && !trusted("x.y.shop.example", now));
        assert!(!trusted(&long, now + 62 * second) && !trusted(&long, now - 2 * CLOCK_TOLERANCE));
        // Another authority of the same name is another one.
        let other = create(&"Issuer/shops/own".parse().unwrap(), now).unwrap();
        assert_ne!(der(&other.certificate), der(&authority.certificate));
    }
}
