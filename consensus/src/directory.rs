//! Whose data directory this is, and that only one process uses it.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use prost::Message;

use crate::disk::{Disk, replace};
use crate::errors::StartError;
use crate::ids::NodeId;
use crate::pb::storage::{DIRECTORY_VERSION, DirectoryHeader};

const REMEDY: &str = "move the data directory away and let the node join anew under a new id";

/// An opened data directory; the lock ends with this value.
pub(crate) struct Directory {
    pub(crate) wal: PathBuf,
    pub(crate) snap: PathBuf,
    pub(crate) store: PathBuf,
    _lock: Flock<File>,
}

impl Directory {
    /// Creates or checks the header of `dir` and locks it.
    ///
    /// # Errors
    /// When it is another node's, in use, damaged, or holds data without a header.
    pub(crate) fn open(
        disk: &dyn Disk,
        dir: &Path,
        cluster: &str,
        node: NodeId,
    ) -> Result<Self, StartError> {
        std::fs::create_dir_all(dir).map_err(io("create", dir))?;
        let lock = lock(&dir.join("consensus.lock"))?;
        let (wal, snap) = (dir.join("wal"), dir.join("snap"));
        let header = dir.join("consensus");
        let present = disk.list(dir).map_err(io("list", dir))?.iter().any(|n| n == "consensus");
        if present {
            check(disk, &header, cluster, node)?;
        } else {
            // The header is written first, so data without one was cut or copied by someone.
            let has_data = |path: &Path, end: &str| -> Result<bool, StartError> {
                let names = disk.list(path).map_err(io("list", path))?;
                Ok(names.iter().any(|n| n.ends_with(end)))
            };
            if has_data(&wal, ".wal")? || has_data(&snap, ".snap")? {
                let reason = "it is missing, but wal/ or snap/ hold data".to_owned();
                return Err(StartError::Damaged { path: header, reason, remedy: REMEDY });
            }
            let bytes = DirectoryHeader {
                version: DIRECTORY_VERSION,
                cluster: cluster.to_owned(),
                node: node.0,
            }
            .encode_to_vec();
            let mut file = crc32c::crc32c(&bytes).to_le_bytes().to_vec();
            file.extend_from_slice(&bytes);
            replace(disk, &header, &file).map_err(io("write", &header))?;
        }
        Ok(Self { wal, snap, store: dir.join("store"), _lock: lock })
    }
}

fn check(disk: &dyn Disk, path: &Path, cluster: &str, node: NodeId) -> Result<(), StartError> {
    let file = disk.open(path).map_err(io("open", path))?;
    let mut bytes = vec![0; file.size().map_err(io("read", path))? as usize];
    file.read_at(&mut bytes, 0).map_err(io("read", path))?;
    let whole = bytes.len() > 4 && crc32c::crc32c(&bytes[4..]).to_le_bytes() == bytes[..4];
    let header = whole.then(|| DirectoryHeader::decode(&bytes[4..]).ok()).flatten();
    let Some(header) = header else {
        let reason = format!("its {} bytes are no header of ours", bytes.len());
        return Err(StartError::Damaged { path: path.into(), reason, remedy: REMEDY });
    };
    if header.version != DIRECTORY_VERSION {
        return Err(StartError::UnknownVersion {
            path: path.into(),
            found: header.version,
            known: DIRECTORY_VERSION,
        });
    }
    if header.cluster != cluster || header.node != node.0 {
        return Err(StartError::ForeignDirectory {
            path: path.into(),
            found_cluster: header.cluster,
            found_node: NodeId(header.node),
            cluster: cluster.to_owned(),
            node,
        });
    }
    Ok(())
}

fn lock(path: &Path) -> Result<Flock<File>, StartError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(io("open", path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| StartError::Locked { path: path.to_path_buf() })
}

fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> StartError + 'a {
    move |source| StartError::Io { action, path: path.to_path_buf(), source }
}
