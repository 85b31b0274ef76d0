//! Snapshot files: the whole replicated state at one entry.
//!
//! ```text
//! "MPSNAP\r\n"  u32 version  u32 header length  u32 crc32c of the header  header
//! blocks:        u32 length (1..=1 MiB)  u32 crc32c  bytes
//! footer:        u32 0  u64 bytes in all blocks  u32 crc32c of all block checksums  "MPSNAPOK"
//! ```
//! Numbers are little-endian. The blocks together hold rows, each a length-delimited message.
//! A file has its name only when it is complete and durable; the two newest are kept, so that one
//! unreadable file does not cost the state.

pub(crate) mod format;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::pb::storage::{Image, LogId};
use crate::state::State;
use format::{InvalidSnapshot, Reader, Writer};

/// Snapshots that are kept.
const KEPT: usize = 2;

/// Why a snapshot could not be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("{action} {path}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Invalid { path: PathBuf, source: InvalidSnapshot },
}

impl SnapshotError {
    /// As an error of the kind that openraft carries, with its cause in the text.
    pub(crate) fn into_io(self) -> std::io::Error {
        match self {
            Self::Io { action, path, source } => {
                std::io::Error::new(source.kind(), format!("{action} {}: {source}", path.display()))
            }
            Self::Invalid { .. } => std::io::Error::other(self.to_string()),
        }
    }
}

/// A complete snapshot, open so that it stays readable when it is replaced.
#[derive(Clone)]
pub(crate) struct SnapshotFile {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) size: u64,
}

impl std::fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SnapshotFile({}, {} bytes)", self.path.display(), self.size)
    }
}

/// The folder of snapshots.
#[derive(Clone)]
pub(crate) struct Snapshots {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) folder: PathBuf,
    pub(crate) cluster: String,
}

impl Snapshots {
    /// Lists the complete snapshots, oldest first, and removes unfinished files.
    pub(crate) fn clean(&self) -> Result<Vec<PathBuf>, SnapshotError> {
        let mut complete = Vec::new();
        for name in self.names()? {
            let path = self.folder.join(&name);
            if name.ends_with(".snap") {
                complete.push(path);
            } else if name.ends_with(".tmp") {
                self.disk.remove(&path).map_err(io("remove", &path))?;
            }
        }
        Ok(complete)
    }

    /// Writes a snapshot durably, then removes all but the newest two.
    pub(crate) fn write(
        &self,
        image: &Image,
        state: &State,
    ) -> Result<SnapshotFile, SnapshotError> {
        let applied = image.applied.unwrap_or_default();
        let path = self.folder.join(file_name(&applied));
        let temporary = self.temporary("building");
        let file = self.disk.create(&temporary).map_err(io("create", &temporary))?;
        let written = Writer::new(&*file, &self.cluster, image.clone())
            .and_then(|writer| writer.rows(crate::state::image::rows(state)));
        let size = written.map_err(io("write", &temporary))?;
        let file: Arc<dyn DiskFile> = Arc::from(file);
        file.sync().map_err(io("sync", &temporary))?;
        self.disk.rename(&temporary, &path).map_err(io("name", &path))?;
        self.disk.sync_folder(&self.folder).map_err(io("sync folder of", &path))?;
        self.prune()?;
        Ok(SnapshotFile { path, file, size })
    }

    /// Opens a snapshot without reading it.
    pub(crate) fn open(&self, path: &Path) -> Result<SnapshotFile, SnapshotError> {
        let file = self.disk.open(path).map_err(io("open", path))?;
        let size = file.size().map_err(io("open", path))?;
        Ok(SnapshotFile { path: path.to_path_buf(), file: Arc::from(file), size })
    }

    /// Reads only what the header says.
    pub(crate) fn header(&self, snapshot: &SnapshotFile) -> Result<Image, SnapshotError> {
        let reader = Reader::new(&*snapshot.file, snapshot.size, &self.cluster);
        Ok(reader.map_err(|e| e.at(&snapshot.path))?.image)
    }

    /// Reads and checks all of a snapshot.
    pub(crate) fn read(&self, snapshot: &SnapshotFile) -> Result<(Image, State), SnapshotError> {
        let reader = Reader::new(&*snapshot.file, snapshot.size, &self.cluster);
        reader.and_then(Reader::state).map_err(|e| e.at(&snapshot.path))
    }

    /// The newest complete snapshot.
    pub(crate) fn newest(&self) -> Result<Option<SnapshotFile>, SnapshotError> {
        let name = self.names()?.into_iter().rfind(|n| n.ends_with(".snap"));
        name.map(|n| self.open(&self.folder.join(n))).transpose()
    }

    /// The name of a file that is not complete; swept at the next start.
    pub(crate) fn temporary(&self, purpose: &str) -> PathBuf {
        self.folder.join(format!("{purpose}-{:016x}.tmp", rand::random::<u64>()))
    }

    fn names(&self) -> Result<Vec<String>, SnapshotError> {
        self.disk.list(&self.folder).map_err(io("list", &self.folder))
    }

    fn prune(&self) -> Result<(), SnapshotError> {
        let mut complete: Vec<String> =
            self.names()?.into_iter().filter(|n| n.ends_with(".snap")).collect();
        complete.truncate(complete.len().saturating_sub(KEPT));
        for name in complete {
            let path = self.folder.join(name);
            self.disk.remove(&path).map_err(io("remove", &path))?;
        }
        Ok(())
    }
}

/// Sorts by index, then term.
fn file_name(applied: &LogId) -> String {
    format!("{:016x}-{:016x}.snap", applied.index, applied.term)
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> SnapshotError {
    let path = path.to_path_buf();
    move |source| SnapshotError::Io { action, path, source }
}
