//! Certificates that nobody trusts: in the place of one that is to come, and for challenges.

use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, date_time_ymd,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Makes one for the hosts: key and certificate in PEM.
pub(super) fn certificate(hosts: &[String]) -> Result<Zeroizing<String>, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "marchproxy: not issued yet");
    params.not_before = date_time_ymd(2020, 1, 1);
    signed(&params)
}

/// Makes the one that answers a challenge for a host (RFC 8737, section 3).
pub(super) fn challenge(
    host: &str,
    key_authorization: &str,
) -> Result<Zeroizing<String>, rcgen::Error> {
    let mut params = CertificateParams::new(vec![host.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let digest = Sha256::digest(key_authorization.as_bytes());
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    signed(&params)
}

fn signed(params: &CertificateParams) -> Result<Zeroizing<String>, rcgen::Error> {
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let private = Zeroizing::new(key.serialize_pem());
    Ok(Zeroizing::new(format!("{}{}", *private, certificate.pem())))
}
