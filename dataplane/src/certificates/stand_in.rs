//! A certificate that nobody trusts, in the place of one that is to come.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};
use zeroize::Zeroizing;

/// Makes one for the hosts: key and certificate in PEM.
pub(super) fn certificate(hosts: &[String]) -> Result<Zeroizing<String>, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "marchproxy: not issued yet");
    params.not_before = date_time_ymd(2020, 1, 1);
    let certificate = params.self_signed(&key)?;
    let private = Zeroizing::new(key.serialize_pem());
    Ok(Zeroizing::new(format!("{}{}", *private, certificate.pem())))
}
