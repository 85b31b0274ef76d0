//! Writing and reading the bytes of a snapshot, a block at a time.

use std::path::Path;

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;

use super::SnapshotError;
use crate::disk::DiskFile;
use crate::pb::storage::{Image, Row, RowKind, SNAPSHOT_VERSION, SnapshotHeader};
use crate::state::State;
use crate::state::image::{Assembly, InvalidImage};

const MAGIC: &[u8; 8] = b"MPSNAP\r\n";
const END: &[u8; 8] = b"MPSNAPOK";
/// Bytes under one checksum.
const BLOCK_BYTES: usize = 1024 * 1024;
/// Magic, version, header length, header checksum.
const PREFIX_BYTES: usize = 20;
/// Zero length, total, checksum of checksums, magic.
const FOOTER_BYTES: usize = 24;
/// The header holds the membership: a few hundred bytes a member.
const HEADER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why bytes are no snapshot of this cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidSnapshot {
    #[error("not a snapshot file")]
    Magic,
    #[error("format version {0} is newer than this program: run the newer program")]
    Version(u32),
    #[error("it is of cluster {found}, this is cluster {cluster}")]
    Foreign { found: String, cluster: String },
    #[error("the file is cut or damaged at byte {0}")]
    Damaged(u64),
    #[error(transparent)]
    Image(#[from] InvalidImage),
    #[error("read: {0}")]
    Io(#[from] std::io::Error),
}

impl InvalidSnapshot {
    pub(super) fn at(self, path: &Path) -> SnapshotError {
        SnapshotError::Invalid { path: path.to_path_buf(), source: self }
    }
}

/// Writes a snapshot from its beginning to its end.
pub(super) struct Writer<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    image: Image,
}

impl<'a> Writer<'a> {
    /// Writes the header.
    pub(super) fn new(
        file: &'a dyn DiskFile,
        cluster: &str,
        image: Image,
    ) -> std::io::Result<Self> {
        let header = SnapshotHeader {
            version: SNAPSHOT_VERSION,
            cluster: cluster.to_owned(),
            image: Some(image.clone()),
        }
        .encode_to_vec();
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&SNAPSHOT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
        bytes.extend_from_slice(&header);
        file.write_at(&bytes, 0)?;
        Ok(Self { file, at: bytes.len() as u64, image })
    }

    /// Writes all rows and the footer; returns the size of the file.
    pub(super) fn rows(mut self, rows: impl Iterator<Item = RowKind>) -> std::io::Result<u64> {
        let mut buffer = BytesMut::with_capacity(2 * BLOCK_BYTES);
        let mut total = 0;
        let mut sums = 0;
        for kind in rows {
            let row = Row { kind: Some(kind) };
            row.encode_length_delimited(&mut buffer).expect("a BytesMut grows as needed");
            while buffer.len() >= BLOCK_BYTES {
                self.block(&buffer.split_to(BLOCK_BYTES), &mut total, &mut sums)?;
            }
        }
        if !buffer.is_empty() {
            self.block(&buffer, &mut total, &mut sums)?;
        }
        let mut footer = vec![0; 4];
        footer.extend_from_slice(&total.to_le_bytes());
        footer.extend_from_slice(&sums.to_le_bytes());
        footer.extend_from_slice(END);
        self.file.write_at(&footer, self.at)?;
        debug_assert_eq!(footer.len(), FOOTER_BYTES, "{:?}", self.image);
        Ok(self.at + footer.len() as u64)
    }

    fn block(&mut self, bytes: &[u8], total: &mut u64, sums: &mut u32) -> std::io::Result<()> {
        let sum = crc32c::crc32c(bytes).to_le_bytes();
        let mut block = Vec::with_capacity(bytes.len() + 8);
        block.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        block.extend_from_slice(&sum);
        block.extend_from_slice(bytes);
        self.file.write_at(&block, self.at)?;
        self.at += block.len() as u64;
        *total += bytes.len() as u64;
        *sums = crc32c::crc32c_append(*sums, &sum);
        Ok(())
    }
}

/// Reads a snapshot from its beginning to its end.
pub(super) struct Reader<'a> {
    file: &'a dyn DiskFile,
    size: u64,
    at: u64,
    pub(super) image: Image,
}

impl<'a> Reader<'a> {
    /// Reads and checks the header.
    pub(super) fn new(
        file: &'a dyn DiskFile,
        size: u64,
        cluster: &str,
    ) -> Result<Self, InvalidSnapshot> {
        let mut reader = Self { file, size, at: 0, image: Image::default() };
        let mut prefix = reader.take(PREFIX_BYTES)?;
        if prefix.split_to(8) != MAGIC[..] {
            return Err(InvalidSnapshot::Magic);
        }
        let version = prefix.get_u32_le();
        if version != SNAPSHOT_VERSION {
            return Err(InvalidSnapshot::Version(version));
        }
        let (length, sum) = (prefix.get_u32_le() as usize, prefix.get_u32_le());
        if length > HEADER_BYTES_MAX {
            return Err(InvalidSnapshot::Damaged(reader.at));
        }
        let header = reader.take(length)?;
        if crc32c::crc32c(&header) != sum {
            return Err(InvalidSnapshot::Damaged(reader.at));
        }
        let damaged = InvalidSnapshot::Damaged(reader.at);
        let Ok(header) = SnapshotHeader::decode(header) else { return Err(damaged) };
        if header.version != SNAPSHOT_VERSION {
            return Err(InvalidSnapshot::Version(header.version));
        }
        if header.cluster != cluster {
            let cluster = cluster.to_owned();
            return Err(InvalidSnapshot::Foreign { found: header.cluster, cluster });
        }
        reader.image = header.image.unwrap_or_default();
        Ok(reader)
    }

    /// Reads and checks all rows and the footer.
    pub(super) fn state(mut self) -> Result<(Image, State), InvalidSnapshot> {
        let mut assembly = Assembly::default();
        let mut buffer = BytesMut::new();
        let mut total = 0;
        let mut sums = 0;
        loop {
            let length = self.take(4)?.get_u32_le() as usize;
            if length == 0 {
                break;
            }
            if length > BLOCK_BYTES {
                return Err(InvalidSnapshot::Damaged(self.at));
            }
            let sum = self.take(4)?;
            let block = self.take(length)?;
            if crc32c::crc32c(&block).to_le_bytes() != sum[..] {
                return Err(InvalidSnapshot::Damaged(self.at));
            }
            total += length as u64;
            sums = crc32c::crc32c_append(sums, &sum);
            buffer.extend_from_slice(&block);
            self.rows(&mut buffer, &mut assembly)?;
        }
        let mut footer = self.take(FOOTER_BYTES - 4)?;
        let whole = footer.get_u64_le() == total && footer.get_u32_le() == sums;
        if !whole || footer != END[..] || !buffer.is_empty() {
            return Err(InvalidSnapshot::Damaged(self.at));
        }
        let state = assembly.finish(&self.image)?;
        Ok((self.image, state))
    }

    /// Takes the complete rows out of `buffer`.
    fn rows(&self, buffer: &mut BytesMut, into: &mut Assembly) -> Result<(), InvalidSnapshot> {
        loop {
            let mut peek = &buffer[..];
            let Ok(length) = prost::decode_length_delimiter(&mut peek) else {
                // Ten bytes always hold a delimiter, fewer may be the start of one.
                let cut = buffer.len() < 10;
                return if cut { Ok(()) } else { Err(InvalidSnapshot::Damaged(self.at)) };
            };
            if peek.len() < length {
                return Ok(());
            }
            buffer.advance(buffer.len() - peek.len());
            let row = Row::decode(buffer.split_to(length).freeze());
            let row = row.map_err(|_| InvalidSnapshot::Damaged(self.at))?;
            into.add(row.kind.ok_or(InvalidSnapshot::Damaged(self.at))?)?;
        }
    }

    fn take(&mut self, length: usize) -> Result<Bytes, InvalidSnapshot> {
        if self.at + length as u64 > self.size {
            return Err(InvalidSnapshot::Damaged(self.size));
        }
        let mut bytes = vec![0; length];
        self.file.read_at(&mut bytes, self.at)?;
        self.at += length as u64;
        Ok(Bytes::from(bytes))
    }
}
