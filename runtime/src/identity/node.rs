//! A node's identity: key, certificate and the CA certificate, and its one file on disk.
//!
//! One file (`node.pem`, mode 0600) holds all three, so that they can never be of two generations.
//! `ca.pem` beside it is for people and tools (`curl --cacert`); nothing here reads it back.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::{CaPin, ClusterId, InvalidPin, KeyError, KeyPair, NodeId, PeerIdentity, Role};
use crate::{
    durable::{self, DurableError},
    tls::{PeerError, peer_identity},
};

const FILE: &str = "node.pem";
const CA_FILE: &str = "ca.pem";

/// Why an identity cannot be used, read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read.
    #[error("cannot read the identity {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read the private key.
    #[error("{} has mode {mode:o}; it holds a private key: chmod 600 it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The private key is missing or unreadable.
    #[error("the identity has no usable private key")]
    Key(#[from] KeyError),
    /// A certificate is missing or unreadable.
    #[error("the identity lacks a readable {what}")]
    Certificate {
        /// Which certificate.
        what: &'static str,
    },
    /// The certificate is for another key.
    #[error("the certificate was issued for another private key")]
    OtherKey,
    /// The certificate was not signed by the CA beside it.
    #[error("the certificate was not issued by the CA that came with it")]
    OtherAuthority,
    /// The certificate names nobody.
    #[error("the certificate names no node")]
    Peer(#[from] PeerError),
    /// The CA certificate cannot be pinned.
    #[error("the CA certificate is unusable")]
    Ca(#[from] InvalidPin),
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] DurableError),
}

/// A certificate and its private key.
#[derive(Debug, Clone)]
pub struct CertifiedKey {
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl CertifiedKey {
    /// Joins a key with the certificate issued for it.
    ///
    /// # Errors
    /// The certificate is unreadable or was issued for another key.
    pub fn new(certificate_pem: &str, key: KeyPair) -> Result<Self, IdentityError> {
        let unreadable = IdentityError::Certificate { what: "node certificate" };
        let Ok(certificate) = CertificateDer::from_pem_slice(certificate_pem.as_bytes()) else {
            return Err(unreadable);
        };
        let Ok((_, parsed)) = X509Certificate::from_der(&certificate) else {
            return Err(unreadable);
        };
        if parsed.tbs_certificate.subject_pki.raw != key.public_der() {
            return Err(IdentityError::OtherKey);
        }
        Ok(Self { certificate_pem: certificate_pem.to_owned(), certificate, key })
    }

    /// The certificate in PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The certificate in DER.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The key pair.
    #[must_use]
    pub fn key(&self) -> &KeyPair {
        &self.key
    }
}

/// Who this process is, and how it proves it.
#[derive(Debug, Clone)]
pub struct NodeIdentity {
    peer: PeerIdentity,
    own: CertifiedKey,
    ca_pem: String,
    ca: CertificateDer<'static>,
    pin: CaPin,
    expires: SystemTime,
}

impl NodeIdentity {
    /// Puts an identity together from the CA's certificate and the one it issued (both PEM).
    ///
    /// # Errors
    /// The parts do not belong together, or the certificate names no node. Validity in time is
    /// not looked at: that is for each handshake.
    pub fn new(ca_pem: &str, certificate_pem: &str, key: KeyPair) -> Result<Self, IdentityError> {
        let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes())
            .map_err(|_| IdentityError::Certificate { what: "CA certificate" })?;
        let own = CertifiedKey::new(certificate_pem, key)?;
        let pin = CaPin::of(&ca)?;
        let peer = peer_identity(std::slice::from_ref(&own.certificate))?;
        let expires = issued_by(&own.certificate, &ca)?;
        Ok(Self { peer, own, ca_pem: ca_pem.to_owned(), ca, pin, expires })
    }

    /// Reads the identity saved in `directory`; `None` where none was ever saved.
    ///
    /// # Errors
    /// The file is there but unreadable, damaged, or readable by others.
    pub fn load(directory: &Path) -> Result<Option<Self>, IdentityError> {
        let path = directory.join(FILE);
        let read = |source| IdentityError::Read { path: path.clone(), source };
        let mode = match fs::metadata(&path) {
            Ok(metadata) => metadata.mode() & 0o777,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(read(error)),
        };
        if mode & 0o077 != 0 {
            return Err(IdentityError::Exposed { path, mode });
        }
        let text = Zeroizing::new(fs::read_to_string(&path).map_err(read)?);
        let key = KeyPair::from_pem(&text)?;
        let mut blocks = text.split_inclusive("-----END CERTIFICATE-----\n");
        let mut certificate = |what| {
            blocks
                .next()
                .and_then(|block| block.find("-----BEGIN CERTIFICATE-----").map(|at| &block[at..]))
                .ok_or(IdentityError::Certificate { what })
        };
        let own = certificate("node certificate")?;
        let ca = certificate("CA certificate")?;
        Self::new(ca, own, key).map(Some)
    }

    /// Saves the identity in `directory`, replacing an older one as a whole.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn save(&self, directory: &Path) -> Result<(), IdentityError> {
        durable::private_directory(directory)?;
        let text = Zeroizing::new(format!(
            "{}{}{}",
            *self.own.key.to_pem(),
            with_newline(&self.own.certificate_pem),
            with_newline(&self.ca_pem)
        ));
        durable::replace(&directory.join(CA_FILE), self.ca_pem.as_bytes(), 0o600)?;
        durable::replace(&directory.join(FILE), text.as_bytes(), 0o600)?;
        Ok(())
    }

    /// Cluster, node and role together.
    #[must_use]
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// The cluster this node belongs to.
    #[must_use]
    pub fn cluster(&self) -> &ClusterId {
        &self.peer.cluster
    }

    /// This node's id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.peer.node
    }

    /// The role this key may act in.
    #[must_use]
    pub fn role(&self) -> Role {
        self.peer.role
    }

    /// The node's certificate and key.
    #[must_use]
    pub fn certified_key(&self) -> &CertifiedKey {
        &self.own
    }

    /// The CA certificate in PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The CA certificate in DER.
    #[must_use]
    pub fn ca(&self) -> &CertificateDer<'static> {
        &self.ca
    }

    /// The CA's pin.
    #[must_use]
    pub fn pin(&self) -> CaPin {
        self.pin
    }

    /// The end of the certificate's validity.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    /// Certificate, then CA certificate: what a server presents, so that a joiner can pin the CA.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.own.certificate.clone(), self.ca.clone()]
    }

    pub(crate) fn private_der(&self) -> PrivateKeyDer<'static> {
        self.own.key.private_der()
    }
}

fn issued_by(
    certificate: &CertificateDer<'_>,
    ca: &CertificateDer<'_>,
) -> Result<SystemTime, IdentityError> {
    let parse = |der, what| {
        x509_parser::parse_x509_certificate(der)
            .map(|(_, parsed)| parsed)
            .map_err(|_| IdentityError::Certificate { what })
    };
    let own = parse(certificate, "node certificate")?;
    let ca = parse(ca, "CA certificate")?;
    own.verify_signature(Some(ca.public_key())).map_err(|_| IdentityError::OtherAuthority)?;
    Ok(own.validity().not_after.to_datetime().into())
}

fn with_newline(pem: &str) -> String {
    format!("{}\n", pem.replace("\r\n", "\n").trim_end())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::identity::{Authority, Validity};

    fn issue(ca: &Authority, node: u64) -> (String, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let peer =
            PeerIdentity { cluster: ca.cluster().clone(), node: NodeId(node), role: Role::Control };
        let pem = ca.issue(&key.csr().unwrap().0, &peer, Validity::node()).unwrap();
        (pem, key)
    }

    fn authority() -> Authority {
        Authority::create(ClusterId::random()).unwrap()
    }

    #[test]
    fn an_identity_survives_the_disk_and_is_private() {
        let ca = authority();
        let (pem, key) = issue(&ca, 4);
        let identity = NodeIdentity::new(ca.certificate_pem(), &pem, key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("identity");
        assert!(NodeIdentity::load(&directory).unwrap().is_none());
        identity.save(&directory).unwrap();
        let again = NodeIdentity::load(&directory).unwrap().unwrap();
        assert_eq!(again.peer(), identity.peer());
        assert_eq!(again.pin(), ca.pin());
        assert_eq!(again.expires(), identity.expires());
        let mode = fs::metadata(directory.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        fs::set_permissions(directory.join(FILE), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(NodeIdentity::load(&directory), Err(IdentityError::Exposed { .. })));
    }

    #[test]
    fn every_truncation_of_the_file_is_an_error_not_an_identity() {
        let ca = authority();
        let (pem, key) = issue(&ca, 4);
        let directory = tempfile::tempdir().unwrap();
        let identity = NodeIdentity::new(ca.certificate_pem(), &pem, key).unwrap();
        identity.save(directory.path()).unwrap();
        let path = directory.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for length in (0..whole.len() - 2).step_by(37) {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(NodeIdentity::load(directory.path()).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let (ca, other) = (authority(), authority());
        let (pem, key) = issue(&ca, 4);
        let wrong_key = NodeIdentity::new(ca.certificate_pem(), &pem, KeyPair::generate().unwrap());
        assert!(matches!(wrong_key, Err(IdentityError::OtherKey)));
        let wrong_ca = NodeIdentity::new(other.certificate_pem(), &pem, key);
        assert!(matches!(wrong_ca, Err(IdentityError::OtherAuthority)));
    }
}
