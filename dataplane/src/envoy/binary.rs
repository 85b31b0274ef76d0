//! Which Envoy to run: where it is looked for, and which versions are taken.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Names an Envoy to run, before `PATH` and the cache are searched.
const VARIABLE: &str = "MARCHPROXY_ENVOY";
/// Where `cargo xtask setup` puts it, within the cache directory.
const CACHED: &str = "marchproxy/envoy-1.39.3/envoy";

/// Versions that the translation was tested with: major and minor.
pub const SUPPORTED: [(u32, u32); 1] = [(1, 39)];

/// An Envoy that may be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// The executable.
    pub path: PathBuf,
    /// Its version, such as `1.39.3`.
    pub version: String,
    /// Which others it can hand over to, or take over from: those that say the same here.
    pub hot_restart: String,
    /// What is another one when the file was replaced.
    pub file: String,
}

/// Why there is no Envoy to run.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// None of the usual places has one.
    #[error(
        "no Envoy: not given by flag or {VARIABLE}, not on PATH, not at {}; `cargo xtask setup` \
         fetches it", cached.display()
    )]
    NotFound {
        /// The place in the cache.
        cached: PathBuf,
    },
    /// It does not start.
    #[error("{} --version cannot be run", path.display())]
    NotRunnable {
        /// The executable.
        path: PathBuf,
        /// The operating system's words.
        #[source]
        source: std::io::Error,
    },
    /// It does not say what it is.
    #[error("{} --version says {output:?}, which is no Envoy", path.display())]
    NotEnvoy {
        /// The executable.
        path: PathBuf,
        /// What it printed.
        output: String,
    },
    /// It is of a version that nobody tested.
    #[error("{} is Envoy {version}; supported are {}", path.display(), supported())]
    Unsupported {
        /// The executable.
        path: PathBuf,
        /// Its version.
        version: String,
    },
}

fn supported() -> String {
    SUPPORTED.map(|(major, minor)| format!("{major}.{minor}.x")).join(", ")
}

/// Finds an Envoy: `explicit` (a flag), `VARIABLE`, `PATH`, the cache; then asks its version.
///
/// Blocks for the time of `envoy --version`.
///
/// # Errors
/// There is none, or it is of another version. One that was named is not passed over for another.
pub fn find(explicit: Option<&Path>) -> Result<Binary, BinaryError> {
    let path = match explicit.map(Path::to_owned).or_else(|| env::var_os(VARIABLE).map(Into::into))
    {
        Some(named) => named,
        None => search()?,
    };
    let not_runnable = |source| BinaryError::NotRunnable { path: path.clone(), source };
    let text = ask(&path, "--version").map_err(not_runnable)?;
    let Some(version) = version(&text) else {
        return Err(BinaryError::NotEnvoy {
            path,
            output: text.trim().chars().take(200).collect(),
        });
    };
    if !is_supported(version) {
        return Err(BinaryError::Unsupported { path, version: version.to_owned() });
    }
    let hot_restart = ask(&path, "--hot-restart-version").map_err(not_runnable)?.trim().to_owned();
    let file = file(&path).map_err(not_runnable)?;
    Ok(Binary { version: version.to_owned(), hot_restart, file, path })
}

/// Returns what an Envoy answers, on whichever stream it does.
fn ask(path: &Path, question: &str) -> io::Result<String> {
    let mut output = Command::new(path).arg(question).stdin(Stdio::null()).output()?;
    output.stdout.append(&mut output.stderr);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn file(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    let (place, time) =
        ((metadata.dev(), metadata.ino()), (metadata.mtime(), metadata.mtime_nsec()));
    Ok(format!("{place:?} {time:?} {}", metadata.len()))
}

fn search() -> Result<PathBuf, BinaryError> {
    let on_path = env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .map(|directory| directory.join("envoy"))
        .find(|path| path.is_file());
    let cached = cache_directory().join(CACHED);
    on_path
        .or_else(|| cached.is_file().then(|| cached.clone()))
        .ok_or(BinaryError::NotFound { cached })
}

fn cache_directory() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value: &OsString| !value.is_empty());
    match set("XDG_CACHE_HOME") {
        Some(directory) => directory.into(),
        None => PathBuf::from(set("HOME").unwrap_or_else(|| "/root".into())).join(".cache"),
    }
}

/// Reads `envoy  version: <commit>/1.39.3/Clean/RELEASE/BoringSSL`.
fn version(output: &str) -> Option<&str> {
    output.split_once("version: ")?.1.split('/').nth(1)
}

fn is_supported(version: &str) -> bool {
    let mut parts = version.split('.').map(str::parse);
    let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) else { return false };
    SUPPORTED.contains(&(major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tested_versions_are_supported() {
        let output = "\nenvoy  version: 6eb0d2d9/1.39.3/Clean/RELEASE/BoringSSL\n";
        assert_eq!(version(output), Some("1.39.3"));
        assert!(is_supported("1.39.0") && is_supported("1.39.3-dev"));
        for other in ["1.38.9", "1.40.0", "2.39.0", "1", ""] {
            assert!(!is_supported(other), "{other}");
        }
        assert_eq!(version("bash 5.2"), None);
    }

    #[test]
    fn envoy_tells_which_others_it_can_hand_over_to() {
        let binary = find(None).expect("`cargo xtask setup` fetches one");
        assert_eq!(binary.hot_restart, "11.104", "shared_memory knows this layout");
    }

    #[test]
    fn what_is_no_envoy_is_refused_by_name() {
        let error = find(Some(Path::new("/bin/true"))).unwrap_err();
        assert!(matches!(error, BinaryError::NotEnvoy { .. }), "{error}");
        let error = find(Some(Path::new("/nonexistent/envoy"))).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/envoy"), "{error}");
    }
}
