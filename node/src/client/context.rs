//! The context file: which cluster the command line talks to, and with what token.
//!
//! JSON, mode 0600, because it holds a token. A file that others may read is refused, so that a
//! leaked token is noticed when it leaks and not later.

use std::{
    fmt, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use runtime::{
    durable::{self, DurableError},
    identity::CaPin,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::ServerAddress;

/// The variable that names the context file.
pub const CONTEXT_VARIABLE: &str = "MARCHPROXY_CONTEXT";
const MODE: u32 = 0o600;

/// A text that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Gives it out, to be sent.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Which cluster, and who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Context {
    /// API servers of the cluster, asked in this order.
    pub servers: Vec<ServerAddress>,
    /// The pin of the cluster's CA.
    pub ca_pin: CaPin,
    /// The bearer token.
    pub token: Secret,
}

/// Why there is no usable context.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// No file is there.
    #[error(
        "there is no context file {}: run `marchproxy up` on this host, copy the file of the first \
         node, or make one with `marchproxy context set`", path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Others may read or write the file.
    #[error("{} has mode {mode:04o} and holds a token: run `chmod 600 {}`", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not a context.
    #[error("{} is not a context file", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the context file")]
    Write(#[from] DurableError),
    /// There is neither a variable nor a home to find the file by.
    #[error("no context file is named: give --context-file, or set {CONTEXT_VARIABLE} or HOME")]
    Nowhere,
}

impl Context {
    /// Reads a context file.
    ///
    /// # Errors
    /// See [`ContextError`]; a file that others may read is refused.
    pub fn load(path: &Path) -> Result<Self, ContextError> {
        let read = |source| ContextError::Read { path: path.to_owned(), source };
        let mode = match std::fs::metadata(path) {
            Ok(metadata) => metadata.mode() & 0o777,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ContextError::Missing { path: path.to_owned() });
            }
            Err(error) => return Err(read(error)),
        };
        if mode & 0o077 != 0 {
            return Err(ContextError::Exposed { path: path.to_owned(), mode });
        }
        let text = Zeroizing::new(std::fs::read(path).map_err(read)?);
        serde_json::from_slice(&text)
            .map_err(|source| ContextError::Parse { path: path.to_owned(), source })
    }

    /// Writes the context file as a whole, readable by its owner only.
    ///
    /// # Errors
    /// The directory cannot be made or the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ContextError> {
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            durable::private_directory(directory)?;
        }
        let text = serde_json::to_vec_pretty(self).expect("a context has string keys");
        durable::replace(path, &Zeroizing::new(text), MODE)?;
        Ok(())
    }
}

/// Where the context file is when no flag names one: `$MARCHPROXY_CONTEXT`, then
/// `$XDG_CONFIG_HOME/marchproxy/context.json`, then `~/.config/marchproxy/context.json`.
///
/// # Errors
/// [`ContextError::Nowhere`].
pub fn default_path(
    variable: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Result<PathBuf, ContextError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set(CONTEXT_VARIABLE) {
        return Ok(path);
    }
    set("XDG_CONFIG_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".config")))
        .map(|directory| directory.join("marchproxy/context.json"))
        .ok_or(ContextError::Nowhere)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn context() -> Context {
        Context {
            servers: vec!["127.0.0.11".parse().unwrap(), "127.0.0.12:7900".parse().unwrap()],
            ca_pin: "A".repeat(43).parse().unwrap(),
            token: Secret::new("very-secret"),
        }
    }

    #[test]
    fn a_context_survives_the_disk_and_only_its_owner_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/context.json");
        context().save(&path).unwrap();
        assert_eq!(Context::load(&path).unwrap(), context());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("context.json");
        for mode in [0o640, 0o604, 0o620, 0o601, 0o660] {
            context().save(&path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = Context::load(&path).unwrap_err();
            assert!(matches!(error, ContextError::Exposed { .. }), "{mode:o}: {error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn the_token_shows_neither_in_debug_nor_in_errors() {
        assert!(!format!("{:?}", context()).contains("very-secret"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("context.json");
        durable::replace(&path, br#"{"token":"very-secret","servers":[7]}"#, 0o600).unwrap();
        let error = Context::load(&path).unwrap_err();
        assert!(!format!("{error:?}{error}").contains("very-secret"), "{error:?}");
    }

    #[test]
    fn the_path_comes_from_the_variable_then_from_the_home() {
        let check = |variables: &[(&str, &str)], expected: Option<&str>| {
            let find = |name: &str| {
                variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).into())
            };
            assert_eq!(default_path(find).ok(), expected.map(PathBuf::from), "{variables:?}");
        };
        check(&[("MARCHPROXY_CONTEXT", "/c"), ("HOME", "/h")], Some("/c"));
        check(&[("HOME", "/h")], Some("/h/.config/marchproxy/context.json"));
        check(&[("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")], Some("/x/marchproxy/context.json"));
        check(&[("MARCHPROXY_CONTEXT", "")], None);
        check(&[], None);
    }
}
