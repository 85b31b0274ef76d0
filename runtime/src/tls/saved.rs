//! A [`LiveIdentity`] that follows the directory in which another process renews it.
//!
//! Nothing here watches: whoever is about to shake hands calls [`SavedIdentity::take_up`] first, so
//! that a handshake never shows less than what is saved.

use std::path::PathBuf;

use super::{LiveIdentity, TlsError};
use crate::identity::{IdentityError, NodeIdentity};

/// Why what is saved was not taken up; the identity in use stays.
#[derive(Debug, thiserror::Error)]
pub enum TakeUpError {
    /// It cannot be read, or is damaged.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// It is gone.
    #[error("{} holds no identity any more", directory.display())]
    Missing {
        /// Where it was.
        directory: PathBuf,
    },
    /// It is somebody else's, or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// An identity in use and the directory that it was read from; clones share the identity.
#[derive(Debug, Clone)]
pub struct SavedIdentity {
    directory: PathBuf,
    live: LiveIdentity,
}

impl SavedIdentity {
    /// Starts with `identity`, as it was read from `directory`.
    ///
    /// # Errors
    /// The private key cannot be used for TLS.
    pub fn new(directory: PathBuf, identity: &NodeIdentity) -> Result<Self, TlsError> {
        Ok(Self { directory, live: LiveIdentity::new(identity)? })
    }

    /// The identity in use.
    #[must_use]
    pub fn live(&self) -> &LiveIdentity {
        &self.live
    }

    /// Reads two kilobytes of file, and puts the certificate there to use when it is another one;
    /// true when it was.
    ///
    /// # Errors
    /// See [`TakeUpError`].
    pub fn take_up(&self) -> Result<bool, TakeUpError> {
        let Some(saved) = NodeIdentity::load(&self.directory)? else {
            return Err(TakeUpError::Missing { directory: self.directory.clone() });
        };
        let used = self.live.identity();
        if saved.certified_key().certificate() == used.certified_key().certificate() {
            return Ok(false);
        }
        self.live.replace(&saved)?;
        Ok(true)
    }
}
