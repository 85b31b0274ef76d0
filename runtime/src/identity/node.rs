//! A node's identity: key, certificate and the CA certificate, and its one file on disk.
//!
//! One file (`node.pem`, mode 0600) holds all three, so that they can never be of two generations,
//! and SHA-256 over them, so that damage is told from what a peer would refuse.
//! `ca.pem` beside it is a copy for people and tools (`curl --cacert`): one that differs is refused,
//! one that is missing is written anew.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::{CaPin, ClusterId, InvalidPin, KeyError, KeyPair, NodeId, PeerIdentity, Role};
use crate::{
    durable::{self, DurableError},
    tls::{PeerError, peer_identity},
};

const FILE: &str = "node.pem";
/// What the line with SHA-256 over the lines before it begins with.
const SUM: &str = "sha256 ";
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
    /// The file is not what was saved.
    #[error(
        "{} is damaged: restore it, or remove this node from the cluster (`marchproxy nodes remove`) \
         and join again with an empty --data-dir", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<IdentityError>,
    },
    /// The CA's copy for people is not the CA of the identity.
    #[error(
        "{} is damaged, or it and {} are of two clusters: restore the one that is wrong; the first \
         is a copy that is written anew when it is removed", path.display(), identity.display()
    )]
    OtherCopy {
        /// The copy.
        path: PathBuf,
        /// The identity's file.
        identity: PathBuf,
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
    /// Something in the file is not as it was saved.
    #[error("the file is not as it was saved")]
    Altered,
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
    ca_expires: SystemTime,
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
        let (expires, ca_expires) = issued_by(&own.certificate, &ca)?;
        Ok(Self { peer, own, ca_pem: ca_pem.to_owned(), ca, pin, expires, ca_expires })
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
        let bytes = Zeroizing::new(fs::read(&path).map_err(read)?);
        let parsed =
            std::str::from_utf8(&bytes).map_err(|_| IdentityError::Altered).and_then(Self::parse);
        let identity = parsed.map_err(|error| IdentityError::Damaged {
            path: path.clone(),
            source: Box::new(error),
        })?;
        identity.check_copy(&directory.join(CA_FILE), &path)?;
        Ok(Some(identity))
    }

    /// The file that holds the identity of a directory.
    #[must_use]
    pub fn file(directory: &Path) -> PathBuf {
        directory.join(FILE)
    }

    fn parse(text: &str) -> Result<Self, IdentityError> {
        // Signatures do not cover every byte of a certificate, nor the text around it.
        let sum = text.rfind(SUM).ok_or(IdentityError::Altered)?;
        let (text, kept) = text.split_at(sum);
        if kept != sum_line(text) {
            return Err(IdentityError::Altered);
        }
        let key = KeyPair::from_pem(text)?;
        let mut blocks = text.split_inclusive("-----END CERTIFICATE-----\n");
        let mut certificate = |what| {
            blocks
                .next()
                .and_then(|block| block.find("-----BEGIN CERTIFICATE-----").map(|at| &block[at..]))
                .ok_or(IdentityError::Certificate { what })
        };
        let own = certificate("node certificate")?;
        let ca = certificate("CA certificate")?;
        Self::new(ca, own, key)
    }

    fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!(
            "{}{}{}",
            *self.own.key.to_pem(),
            with_newline(&self.own.certificate_pem),
            with_newline(&self.ca_pem)
        ));
        let sum = sum_line(&text);
        text.push_str(&sum);
        text
    }

    fn check_copy(&self, copy: &Path, identity: &Path) -> Result<(), IdentityError> {
        match fs::read(copy) {
            Ok(text) if text == with_newline(&self.ca_pem).as_bytes() => Ok(()),
            Ok(_) => Err(IdentityError::OtherCopy {
                path: copy.to_owned(),
                identity: identity.to_owned(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(durable::replace(copy, with_newline(&self.ca_pem).as_bytes(), 0o600)?)
            }
            Err(source) => Err(IdentityError::Read { path: copy.to_owned(), source }),
        }
    }

    /// Saves the identity in `directory`, replacing an older one as a whole.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn save(&self, directory: &Path) -> Result<(), IdentityError> {
        durable::private_directory(directory)?;
        let text = self.to_text();
        durable::replace(&directory.join(CA_FILE), with_newline(&self.ca_pem).as_bytes(), 0o600)?;
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

    /// The end of the CA certificate's validity.
    #[must_use]
    pub fn ca_expires(&self) -> SystemTime {
        self.ca_expires
    }

    /// Certificate, then CA certificate: what a server presents, so that a joiner can pin the CA.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.own.certificate.clone(), self.ca.clone()]
    }

    pub(crate) fn private_der(&self) -> PrivateKeyDer<'static> {
        self.own.key.private_der()
    }
}

/// Checks who issued the certificate, and reads until when it and the CA's are valid.
fn issued_by(
    certificate: &CertificateDer<'_>,
    ca: &CertificateDer<'_>,
) -> Result<(SystemTime, SystemTime), IdentityError> {
    let parse = |der, what| {
        x509_parser::parse_x509_certificate(der)
            .map(|(_, parsed)| parsed)
            .map_err(|_| IdentityError::Certificate { what })
    };
    let own = parse(certificate, "node certificate")?;
    let ca = parse(ca, "CA certificate")?;
    own.verify_signature(Some(ca.public_key())).map_err(|_| IdentityError::OtherAuthority)?;
    let end = |parsed: &X509Certificate<'_>| parsed.validity().not_after.to_datetime().into();
    Ok((end(&own), end(&ca)))
}

/// The file's last line; PEM's readers pass over what stands between blocks.
fn sum_line(text: &str) -> String {
    format!("{SUM}{}\n", hex::encode(Sha256::digest(text.as_bytes())))
}

fn with_newline(pem: &str) -> String {
    format!("{}\n", pem.replace("\r\n", "\n").trim_end())
}

#[cfg(test)]
mod tests;
