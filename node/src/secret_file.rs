//! Small files with one secret that tell by themselves when they are damaged or foreign.
//!
//! Three lines: the secret, the cluster that it belongs to, and SHA-256 over the file's name and
//! both. The hash gives nothing away: secrets kept here have 256 random bits.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use runtime::{
    durable::{self, DurableError},
    identity::ClusterId,
};
use zeroize::Zeroizing;

use crate::tokens::fingerprint;

/// Why a secret is not read from its file.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file cannot be read.
    #[error("cannot read {}: {remedy}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
        /// The operating system's words.
        source: io::Error,
    },
    /// Others than the owner may read it.
    #[error("{} has mode {mode:o}; it holds a secret: chmod 600 it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not what was written.
    #[error("{} is damaged (cut short or changed): {remedy}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// It is another cluster's.
    #[error("{} is of cluster {found}, this node is of cluster {own}: {remedy}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The cluster in the file.
        found: String,
        /// This node's.
        own: ClusterId,
        /// What to do.
        remedy: &'static str,
    },
}

/// Keeps a secret, durable and with mode 0600.
pub(crate) fn write(path: &Path, cluster: &ClusterId, secret: &str) -> Result<(), DurableError> {
    let check = check(path, cluster.as_str(), secret);
    let text = Zeroizing::new(format!("{secret}\n{cluster}\n{check}\n"));
    durable::replace(path, text.as_bytes(), 0o600)
}

/// Reads the secret of `cluster`; `remedy` is what an operator can do about a file that is bad.
pub(crate) fn read(
    path: &Path,
    cluster: &ClusterId,
    remedy: &'static str,
) -> Result<Zeroizing<String>, SecretFileError> {
    let failed = |source| SecretFileError::Read { path: path.to_owned(), remedy, source };
    let mode = fs::metadata(path).map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Exposed { path: path.to_owned(), mode });
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(failed)?);
    let damaged = || SecretFileError::Damaged { path: path.to_owned(), remedy };
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
    let lines: Vec<&str> = text.lines().collect();
    let [secret, found, sum] = lines.as_slice() else { return Err(damaged()) };
    if *sum != check(path, found, secret) {
        return Err(damaged());
    }
    if *found != cluster.as_str() {
        let (found, own) = ((*found).to_owned(), cluster.clone());
        return Err(SecretFileError::Foreign { path: path.to_owned(), found, own, remedy });
    }
    Ok(Zeroizing::new((*secret).to_owned()))
}

fn check(path: &Path, cluster: &str, secret: &str) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    fingerprint(&Zeroizing::new(format!("{name}\n{cluster}\n{secret}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_and_every_changed_byte_is_damage_and_another_cluster_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.key");
        let (own, other) = (ClusterId::random(), ClusterId::random());
        write(&path, &own, "secret").unwrap();
        assert_eq!(*read(&path, &own, "").unwrap(), "secret");
        let foreign = read(&path, &other, "").unwrap_err();
        assert!(matches!(foreign, SecretFileError::Foreign { .. }), "{foreign}");
        let whole = fs::read(&path).unwrap();
        // The last line break is all that may go.
        for length in 0..whole.len() - 1 {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(read(&path, &own, "").is_err(), "{length} bytes");
        }
        for at in 0..whole.len() - 1 {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert!(read(&path, &own, "").is_err(), "byte {at}");
        }
        fs::remove_file(&path).unwrap();
        let missing = read(&path, &own, "do this").unwrap_err().to_string();
        assert!(missing.contains("cluster.key") && missing.contains("do this"), "{missing}");
    }
}
