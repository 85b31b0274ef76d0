//! Secrets of the configuration's policies, which are files of this node: read whole, for the owner of
//! this process only, and looked at again while it runs, so that one that is put in place is used.
//!
//! **Invariant.** What is read is shown nowhere: not by `Debug`, not in a log, not in a fault.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Read as _},
    path::Path,
    sync::Arc,
};

use model::{Kind, Snapshot, Spec};
use zeroize::Zeroizing;

/// Much more than any provider gives.
const BYTES_MAX: u64 = 4_096;
/// Who can be guessed opens all sessions: 16 random bytes cannot, and providers give twice as many.
const BYTES_MIN: usize = 16;

/// A secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Takes what a file holds, but for the end of its line.
    ///
    /// # Errors
    /// It can't be a secret.
    pub fn of(mut bytes: Zeroizing<Vec<u8>>) -> Result<Self, SecretFault> {
        while bytes.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
            bytes.pop();
        }
        match bytes.len() {
            few if few < BYTES_MIN => Err(SecretFault::Short),
            _ if !bytes.iter().all(u8::is_ascii_graphic) => Err(SecretFault::Unprintable),
            _ => Ok(Self(Arc::new(bytes))),
        }
    }

    /// Returns it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a file gives no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretFault {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It is larger than any.
    #[error("has more than {BYTES_MAX} bytes")]
    Long,
    /// It could be guessed.
    #[error("has a secret of less than {BYTES_MIN} bytes")]
    Short,
    /// No provider would take it.
    #[error("holds what is no printable ASCII")]
    Unprintable,
}

/// What the files of a configuration hold, by path. Cloning is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretFiles(Arc<BTreeMap<String, Result<Secret, SecretFault>>>);

impl SecretFiles {
    /// Reads the files that a configuration names. Blocks.
    #[must_use]
    pub fn of(config: &Snapshot) -> Self {
        let policies = config.of_kind(Kind::AuthPolicy);
        let paths = policies.filter_map(|(_, object)| match &object.spec {
            Spec::AuthPolicy(policy) => Some(&policy.oidc.as_ref()?.client.secret_file),
            _ => None,
        });
        Self(Arc::new(paths.map(|path| (path.clone(), read(Path::new(path)))).collect()))
    }

    /// Reads them again. Blocks.
    #[must_use]
    pub fn again(&self) -> Self {
        let paths = self.0.keys();
        Self(Arc::new(paths.map(|path| (path.clone(), read(Path::new(path)))).collect()))
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what a file held; nothing for one that was not named.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Result<Secret, SecretFault>> {
        self.0.get(path)
    }
}

impl FromIterator<(String, Result<Secret, SecretFault>)> for SecretFiles {
    fn from_iter<T: IntoIterator<Item = (String, Result<Secret, SecretFault>)>>(files: T) -> Self {
        Self(Arc::new(files.into_iter().collect()))
    }
}

fn read(path: &Path) -> Result<Secret, SecretFault> {
    let unreadable = |error: io::Error| SecretFault::Unreadable(error.to_string());
    // One that never ends, or never begins, is none.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(SecretFault::Unreadable("it is no file".to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES_MAX as usize + 1));
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(SecretFault::Long);
    }
    Secret::of(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, SecretFault>) {
        let secret = Secret::of(Zeroizing::new(text.as_bytes().to_vec()));
        let expected = expected.map(str::as_bytes);
        assert_eq!(secret.as_ref().map(Secret::bytes).map_err(Clone::clone), expected, "{text}");
    }

    #[test]
    fn a_secret_is_a_line_that_nobody_guesses() {
        check("0123456789abcdef\r\n", Ok("0123456789abcdef"));
        check("0123456789abcde\n", Err(SecretFault::Short));
        check("", Err(SecretFault::Short));
        check("0123456789 abcdef", Err(SecretFault::Unprintable));
        check("0123456789\n0123456789", Err(SecretFault::Unprintable));
    }

    #[test]
    fn no_text_of_it_shows_a_secret() {
        let secret = Secret::of(Zeroizing::new(b"0123456789abcdef".to_vec()));
        let files: SecretFiles = [("/a".to_owned(), secret)].into_iter().collect();
        assert!(!format!("{files:?}").contains("0123"), "{files:?}");
    }

    #[test]
    fn a_file_is_read_with_bounds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        assert!(matches!(read(&path), Err(SecretFault::Unreadable(_))));
        assert!(matches!(read(directory.path()), Err(SecretFault::Unreadable(_))));
        fs::write(&path, "x".repeat(5_000)).unwrap();
        assert_eq!(read(&path), Err(SecretFault::Long));
        fs::write(&path, "x".repeat(4_096)).unwrap();
        assert_eq!(read(&path).unwrap().bytes().len(), 4_096);
    }
}
