//! The cluster key, and the encrypted form of secrets in the store: of the CA, and of what is issued.
//!
//! Stored form, version 1: JSON with `version`, `nonce` (12 bytes) and `sealed` (ciphertext and
//! tag), both in base64url; AES-256-GCM with the secret's place (the cluster id for the CA) as associated
//! data.

use std::{path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::RngCore;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use runtime::{
    durable::{self, DurableError},
    identity::{Authority, AuthorityError, ClusterId},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::secret_file::{self, SecretFileError};

const FILE: &str = "cluster.key";
/// What to do about a file that is bad.
const REMEDY: &str = "restore it, copy it from another node of the cluster (all control nodes have the same), \
                      or remove this node from the cluster and join again with an empty --data-dir";
const KEY_BYTES: usize = 32;
const VERSION: u32 = 1;

/// Why a cluster key cannot be read, kept or used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterKeyError {
    /// The file is not usable.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// It is not 32 bytes in base64url.
    #[error("the cluster key is not 32 bytes in base64url")]
    Text,
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] DurableError),
    /// The stored secret is of a version that this program does not know, or damaged.
    #[error("the stored secret is unreadable by this version")]
    Form,
    /// The stored secret was sealed with another key, for another cluster or in another place.
    #[error("the stored secret does not open with this node's cluster key")]
    Sealed,
    /// What was sealed is not a CA.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// The secret that the control nodes of a cluster share.
#[derive(Clone)]
pub struct ClusterKey(Arc<Zeroizing<[u8; KEY_BYTES]>>);

/// A secret as it lies in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    version: u32,
    nonce: String,
    sealed: String,
}

impl ClusterKey {
    /// A new key.
    #[must_use]
    pub fn random() -> Self {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        rand::rng().fill_bytes(&mut *key);
        Self(Arc::new(key))
    }

    /// The key in base64url, wiped from memory on drop.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0.as_ref().as_slice()))
    }

    /// Reads what [`Self::to_text`] wrote.
    ///
    /// # Errors
    /// The text is not such a key.
    pub fn from_text(text: &str) -> Result<Self, ClusterKeyError> {
        let bytes =
            Zeroizing::new(URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| ClusterKeyError::Text)?);
        let key =
            <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| ClusterKeyError::Text)?;
        Ok(Self(Arc::new(Zeroizing::new(key))))
    }

    /// Reads the key from the identity directory.
    ///
    /// # Errors
    /// It is missing, damaged, another cluster's, or readable by others.
    pub fn load(identity_dir: &Path, cluster: &ClusterId) -> Result<Self, ClusterKeyError> {
        Self::from_text(&secret_file::read(&identity_dir.join(FILE), cluster, REMEDY)?)
    }

    /// Keeps the key in the identity directory.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save(&self, identity_dir: &Path, cluster: &ClusterId) -> Result<(), ClusterKeyError> {
        durable::private_directory(identity_dir)?;
        Ok(secret_file::write(&identity_dir.join(FILE), cluster, &self.to_text())?)
    }

    /// Encrypts a CA for the store.
    #[must_use]
    pub fn seal(&self, authority: &Authority) -> Vec<u8> {
        let sealed = self.seal_text(authority.cluster().as_str(), &authority.to_pem());
        serde_json::to_vec(&sealed).expect("it has string keys only")
    }

    /// Decrypts the CA of `cluster` from its stored form.
    ///
    /// # Errors
    /// Another key, another cluster, or damage.
    pub fn open(&self, cluster: &ClusterId, stored: &[u8]) -> Result<Authority, ClusterKeyError> {
        let sealed: Sealed = serde_json::from_slice(stored).map_err(|_| ClusterKeyError::Form)?;
        let pem = self.open_text(cluster.as_str(), &sealed)?;
        Ok(Authority::from_pem(&pem)?)
    }

    /// Encrypts a text; it opens in the same `place` only, which is authenticated.
    #[must_use]
    pub fn seal_text(&self, place: &str, text: &str) -> Sealed {
        let mut nonce = [0; NONCE_LEN];
        rand::rng().fill_bytes(&mut nonce);
        let mut bytes = text.as_bytes().to_vec();
        self.cipher()
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place),
                &mut bytes,
            )
            .expect("keys and certificates are far below the limit of the cipher");
        Sealed {
            version: VERSION,
            nonce: URL_SAFE_NO_PAD.encode(nonce),
            sealed: URL_SAFE_NO_PAD.encode(bytes),
        }
    }

    /// Decrypts what [`Self::seal_text`] encrypted in `place`.
    ///
    /// # Errors
    /// Another key, another place, or damage.
    pub fn open_text(
        &self,
        place: &str,
        sealed: &Sealed,
    ) -> Result<Zeroizing<String>, ClusterKeyError> {
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| ClusterKeyError::Form);
        let nonce = <[u8; NONCE_LEN]>::try_from(decode(&sealed.nonce)?.as_slice())
            .map_err(|_| ClusterKeyError::Form)?;
        if sealed.version != VERSION {
            return Err(ClusterKeyError::Form);
        }
        let mut bytes = Zeroizing::new(decode(&sealed.sealed)?);
        let opened = self
            .cipher()
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut bytes)
            .map_err(|_| ClusterKeyError::Sealed)?;
        let text = std::str::from_utf8(opened).map_err(|_| ClusterKeyError::Form)?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&AES_256_GCM, self.0.as_ref().as_slice());
        LessSafeKey::new(key.expect("the key has the cipher's length"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_authority_opens_with_its_key_and_cluster_only() {
        let authority = Authority::create(ClusterId::random()).unwrap();
        let key = ClusterKey::random();
        let sealed = key.seal(&authority);
        let text = String::from_utf8(sealed.clone()).unwrap();
        assert!(!text.contains("PRIVATE"), "{text}");
        let opened = key.open(authority.cluster(), &sealed).unwrap();
        assert_eq!(opened.pin(), authority.pin());

        let other = ClusterKey::random().open(authority.cluster(), &sealed);
        assert!(matches!(other, Err(ClusterKeyError::Sealed)));
        let foreign = key.open(&ClusterId::random(), &sealed);
        assert!(matches!(foreign, Err(ClusterKeyError::Sealed)));
        for length in (0..sealed.len()).step_by(17) {
            assert!(key.open(authority.cluster(), &sealed[..length]).is_err());
        }
    }

    #[test]
    fn the_key_survives_its_file_which_must_be_private() {
        use std::{fs, os::unix::fs::PermissionsExt};
        let dir = tempfile::tempdir().unwrap();
        let (key, cluster) = (ClusterKey::random(), ClusterId::random());
        key.save(dir.path(), &cluster).unwrap();
        assert_eq!(ClusterKey::load(dir.path(), &cluster).unwrap().to_text(), key.to_text());
        fs::set_permissions(dir.path().join(FILE), fs::Permissions::from_mode(0o644)).unwrap();
        let exposed = ClusterKey::load(dir.path(), &cluster);
        assert!(matches!(exposed, Err(ClusterKeyError::File(SecretFileError::Exposed { .. }))));
    }
}
