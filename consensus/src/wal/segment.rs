//! One segment file: its name, its zero-filled creation, and its reading.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::WalError;
use super::record::{self, Kind, Record};
use crate::disk::{Disk, DiskFile};
use crate::pb::storage::SegmentHeader;

/// Zeroes are written in pieces of this size: one large write, still small in memory.
const FILL_BYTES: usize = 1024 * 1024;

/// An open segment.
pub(crate) struct Segment {
    pub(crate) sequence: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) size: u64,
}

/// The name of a segment's file.
pub(crate) fn name(sequence: u64) -> String {
    format!("{sequence:016x}.wal")
}

/// The sequence number in a file's name.
pub(crate) fn sequence(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// Writes `from..to` of a file full of zeroes, so that later writes change no metadata and one
/// `fdatasync` is one flush.
pub(crate) fn fill(file: &dyn DiskFile, mut from: u64, to: u64) -> std::io::Result<()> {
    let zeroes = vec![0; FILL_BYTES];
    while from < to {
        let length = (to - from).min(FILL_BYTES as u64);
        file.write_at(&zeroes[..length as usize], from)?;
        from += length;
    }
    Ok(())
}

impl Segment {
    /// Creates a segment whose header is durable before the file has its name.
    pub(crate) fn create(
        disk: &dyn Disk,
        folder: &Path,
        size: u64,
        header: &SegmentHeader,
    ) -> Result<(Arc<Self>, u64), WalError> {
        let path = folder.join(name(header.sequence));
        let temporary = path.with_extension("tmp");
        let io = |action| {
            let path = path.clone();
            move |source| WalError::Io { action, path, source }
        };
        let file = disk.create(&temporary).map_err(io("create log segment"))?;
        fill(&*file, 0, size).map_err(io("fill log segment"))?;
        Self::begin(disk, folder, &temporary, file, size, header)
    }

    /// Makes a segment of a file of `size` zeroes: header, sync, and only then its name.
    pub(crate) fn begin(
        disk: &dyn Disk,
        folder: &Path,
        temporary: &Path,
        file: Box<dyn DiskFile>,
        size: u64,
        header: &SegmentHeader,
    ) -> Result<(Arc<Self>, u64), WalError> {
        let path = folder.join(name(header.sequence));
        let io = |action| {
            let path = path.clone();
            move |source| WalError::Io { action, path, source }
        };
        let payload = Bytes::from(header.encode_to_vec());
        let mut first = Vec::new();
        record::encode(&mut first, &Record { kind: Kind::Header, term: 0, index: 0, payload }, 0);

        let begun = file.write_at(&first, 0).and_then(|()| file.sync());
        begun.map_err(io("begin log segment"))?;
        disk.rename(temporary, &path).map_err(io("name log segment"))?;
        disk.sync_folder(folder).map_err(io("sync folder of log segment"))?;
        let segment = Self { sequence: header.sequence, path, file, size };
        Ok((Arc::new(segment), first.len() as u64))
    }

    /// Opens an existing segment and reads all of it.
    pub(crate) fn open(
        disk: &dyn Disk,
        folder: &Path,
        sequence: u64,
    ) -> Result<(Self, Bytes), WalError> {
        let path = folder.join(name(sequence));
        let io = |source| WalError::Io { action: "read log segment", path: path.clone(), source };
        let file = disk.open(&path).map_err(io)?;
        let size = file.size().map_err(io)?;
        let mut bytes = vec![0; size as usize];
        file.read_at(&mut bytes, 0).map_err(io)?;
        Ok((Self { sequence, path, file, size }, Bytes::from(bytes)))
    }

    /// Reads the payload of one record, checked again.
    pub(crate) fn read(&self, offset: u64, length: usize) -> std::io::Result<Bytes> {
        let mut bytes = vec![0; record::size(length)];
        self.file.read_at(&mut bytes, offset)?;
        match record::decode(&Bytes::from(bytes), 0) {
            Ok(found) => Ok(found.record.payload),
            Err(missing) => Err(std::io::Error::other(format!(
                "{} at byte {offset}: {missing:?}",
                self.path.display()
            ))),
        }
    }
}
