//! Takes XDP off a host whose data plane has ended: programs, links and maps outlive it otherwise,
//! so that traffic goes on.

use runtime::{
    identity::{IdentityError, NodeIdentity},
    process::{LockError, PidLock},
};

use crate::{
    Config, announce,
    xdp::{
        self, PinFolder,
        pins::{BPFFS, PinsError},
    },
};

/// Why XDP was not taken off.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// A data plane runs, or its lock cannot be used.
    #[error("the data plane must be stopped first")]
    Running(#[source] LockError),
    /// The identity cannot be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There is no identity, so it is not known whose XDP it would be.
    #[error("{} holds no identity: no data plane was here", directory.display())]
    NoIdentity {
        /// Where it was looked for.
        directory: std::path::PathBuf,
    },
    /// The pins could not be removed.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// Announced addresses could not be taken off.
    #[error("announced addresses could not be taken off")]
    Addresses(#[source] std::io::Error),
}

/// Takes the data plane's XDP program off its interfaces and removes its maps, with all that they
/// know: established L4 connections end. Takes off the addresses that it announced. Returns the names of what was removed.
///
/// # Errors
/// Returns why not; then nothing was removed, but for [`DetachError::Pins`] and
/// [`DetachError::Addresses`].
pub fn detach(config: &Config) -> Result<Vec<String>, DetachError> {
    let identity = NodeIdentity::load(&config.identity_dir)?
        .ok_or_else(|| DetachError::NoIdentity { directory: config.identity_dir.clone() })?;
    let _lock = match PidLock::acquire(&config.lock_file()) {
        // No run directory, so no data plane with it either.
        Err(LockError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            None
        }
        lock => Some(lock.map_err(DetachError::Running)?),
    };
    let pins = pins_of(&identity)?;
    // First, so that no client is led here any more.
    let addresses = announce::release(&config.interfaces).map_err(DetachError::Addresses)?;
    let mut removed: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    removed.extend(xdp::detach(&pins)?);
    Ok(removed)
}

/// Returns where the XDP of a data plane is pinned.
pub(crate) fn pins_of(identity: &NodeIdentity) -> Result<PinFolder, PinsError> {
    PinFolder::new(BPFFS, &format!("{}-{}", identity.cluster(), identity.node()))
}
