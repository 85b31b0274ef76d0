//! The Unix socket that Envoy connects to: mode 0600, replaced when it is left over.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// Says why the socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("making the socket {path}")]
pub(super) struct SocketError {
    path: PathBuf,
    source: io::Error,
}

/// Binds the socket under another name and renames it once nobody else may connect, so that there
/// is no moment with wider permissions.
pub(super) fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let new = path.with_extension("new");
    let error = |source| SocketError { path: path.to_owned(), source };
    match fs::remove_file(&new) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(error(source)),
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(error)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).map_err(error)?;
    fs::rename(&new, path).map_err(error)?;
    Ok(listener)
}
