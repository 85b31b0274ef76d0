//! Files that survive a power loss: written beside, synced, renamed, and the directory synced; and
//! such as need not, which are written beside and renamed.
//!
//! Invariant: a reader sees the whole old file or the whole new one, never a part of either.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// What failed while a file was being replaced.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct DurableError {
    /// The step that failed, as a verb.
    pub action: &'static str,
    /// The file or directory it failed on.
    pub path: PathBuf,
    /// The operating system's words.
    #[source]
    pub source: io::Error,
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DurableError + 'a {
    move |source| DurableError { action, path: path.to_owned(), source }
}

/// Replaces `path` with `content` as a whole, with permission bits `mode`.
///
/// # Errors
/// The step, the path and the operating system's error; the old file is then still in place.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), DurableError> {
    let directory = parent(path);
    let beside = beside(path);
    let written = write_synced(&beside, content, mode).and_then(|()| {
        fs::rename(&beside, path).map_err(failed("rename into place", path))?;
        sync_directory(directory)
    });
    if written.is_err() {
        // The half-written neighbour is of no use; the error that matters is already in hand.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Replaces `path` with `content` as a whole, with permission bits `mode`, as far as processes see:
/// what a power loss ends anyway is written so.
///
/// # Errors
/// The operating system's; the old file is then still in place.
pub fn replace_volatile(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let beside = beside(path);
    let mut file = create(&beside, mode)?;
    file.write_all(content)?;
    drop(file);
    fs::rename(&beside, path)
}

/// Makes the directory's entries (creations, renames, removals) durable.
///
/// # Errors
/// The directory cannot be opened or synced.
pub fn sync_directory(directory: &Path) -> Result<(), DurableError> {
    File::open(directory)
        .and_then(|handle| handle.sync_all())
        .map_err(failed("sync directory", directory))
}

/// Creates the directory and its parents where they are missing; new ones get mode 0700.
///
/// # Errors
/// The directory cannot be created, or something else stands at the path.
pub fn private_directory(directory: &Path) -> Result<(), DurableError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed("create directory", directory))
}

fn write_synced(path: &Path, content: &[u8], mode: u32) -> Result<(), DurableError> {
    let mut file = create(path, mode).map_err(failed("create", path))?;
    file.write_all(content).map_err(failed("write", path))?;
    file.sync_all().map_err(failed("sync", path))
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    // An old neighbour left by a crash keeps its own mode, and `mode` above is cut by the umask.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_whole_file_and_sets_the_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, b"a much longer old content").unwrap();
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_loose_neighbour_of_a_crash_does_not_loosen_the_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(directory.path().join("key.new"), b"left over").unwrap();
        replace(&path, b"secret", 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_failed_replacement_names_the_path_and_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("taken");
        fs::create_dir(&path).unwrap();
        let error = replace(&path, b"x", 0o600).unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
        assert!(path.is_dir());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
