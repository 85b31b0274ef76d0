//! The bytes of a record, and the scan that finds where a segment's good part ends.
//!
//! ```text
//!  0  u32  length of the payload          little-endian throughout
//!  4  u32  crc32c of bytes 0..4 and 8..32+length
//!  8  u8   kind                           never 0, so that zeroes are no record
//!  9  u8   version                        1
//! 10  u16  0
//! 12  u32  bytes of this segment that were synced when the record was written
//! 16  u64  term
//! 24  u64  index
//! 32  payload, then zeroes up to a multiple of 8
//! ```
//! The `synced` field tells a torn tail from lost data: a good record behind a bad one that was
//! already synced means that acknowledged bytes changed.

use bytes::Bytes;

/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 32;
/// Records begin at multiples of this, so that a scan can find them again behind a bad one.
pub(crate) const ALIGNMENT: usize = 8;
/// The record layout above.
pub(crate) const RECORD_VERSION: u8 = 1;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// First in each segment; the payload says whose it is.
    Header = 1,
    /// A log entry of this term and index.
    Entry = 2,
    /// The payload is a vote.
    Vote = 3,
    /// Entries from this index on are gone.
    Truncate = 4,
    /// Entries up to this term and index are gone.
    Purge = 5,
    /// Entries up to this term and index are known to be committed.
    Commit = 6,
    /// Last in each segment but the newest.
    Seal = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        use Kind::*;
        [Header, Entry, Vote, Truncate, Purge, Commit, Seal].into_iter().find(|k| *k as u8 == byte)
    }
}

/// One record without its checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) term: u64,
    pub(crate) index: u64,
    pub(crate) payload: Bytes,
}

/// A record at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) record: Record,
    pub(crate) offset: u64,
    pub(crate) synced: u32,
}

/// Bytes that a payload of `length` takes with header and padding.
pub(crate) fn size(length: usize) -> usize {
    (HEADER_BYTES + length).next_multiple_of(ALIGNMENT)
}

/// Appends a record to `buffer`.
pub(crate) fn encode(buffer: &mut Vec<u8>, record: &Record, synced: u32) {
    let start = buffer.len();
    let length = u32::try_from(record.payload.len()).expect("limits keep a record below 4 GiB");
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&[record.kind as u8, RECORD_VERSION, 0, 0]);
    buffer.extend_from_slice(&synced.to_le_bytes());
    buffer.extend_from_slice(&record.term.to_le_bytes());
    buffer.extend_from_slice(&record.index.to_le_bytes());
    buffer.extend_from_slice(&record.payload);
    let sum = checksum(&buffer[start..]);
    buffer[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
    buffer.resize(start + size(record.payload.len()), 0);
}

/// The checksum of a record without its padding.
fn checksum(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[..4]), &record[8..])
}

/// Why there is no record at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Only zeroes: nothing was written here.
    Empty,
    /// The bytes are no record.
    Bad(&'static str),
    /// A good record of a layout or kind that this program does not know.
    Unknown(u32),
}

/// Reads the record at `offset` of a segment's bytes.
pub(crate) fn decode(segment: &Bytes, offset: usize) -> Result<Found, Missing> {
    let rest = &segment[offset.min(segment.len())..];
    if rest.len() < HEADER_BYTES {
        let empty = rest.iter().all(|b| *b == 0);
        return Err(if empty { Missing::Empty } else { Missing::Bad("the record is cut") });
    }
    if rest[..HEADER_BYTES].iter().all(|b| *b == 0) {
        return Err(Missing::Empty);
    }
    let u32_at =
        |at: usize| u32::from_le_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    let length = u32_at(0) as usize;
    if length > rest.len() - HEADER_BYTES {
        return Err(Missing::Bad("the record is longer than its segment"));
    }
    if checksum(&rest[..HEADER_BYTES + length]) != u32_at(4) {
        return Err(Missing::Bad("the checksum does not match"));
    }
    if rest[9] != RECORD_VERSION {
        return Err(Missing::Unknown(u32::from(rest[9])));
    }
    let Some(kind) = Kind::from_byte(rest[8]) else {
        return Err(Missing::Unknown(u32::from(rest[8])));
    };
    let start = offset + HEADER_BYTES;
    let payload = segment.slice(start..start + length);
    let record = Record { kind, term: u64_at(16), index: u64_at(24), payload };
    Ok(Found { record, offset: offset as u64, synced: u32_at(12) })
}

/// The good part of a segment and what follows it.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) records: Vec<Found>,
    /// Where the good part ends.
    pub(crate) end: u64,
    pub(crate) tail: Tail,
}

/// What follows the good part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Zeroes, or the end of the file.
    Clean,
    /// Bytes of a write that was never synced.
    Torn(&'static str),
    /// Bytes that had been synced and are not what was written.
    Lost(&'static str),
    /// A record that a newer program wrote.
    Unknown(u32),
}

/// Reads records until there is none.
pub(crate) fn scan(segment: &Bytes) -> Scan {
    let mut records = Vec::new();
    let mut offset = 0;
    let missing = loop {
        match decode(segment, offset) {
            Ok(found) => {
                offset += size(found.record.payload.len());
                records.push(found);
            }
            Err(missing) => break missing,
        }
    };
    // The file may be cut within the padding of the last good record.
    let end = offset.min(segment.len());
    let tail = match missing {
        Missing::Unknown(version) => Tail::Unknown(version),
        Missing::Empty if segment[end..].iter().all(|b| *b == 0) => Tail::Clean,
        Missing::Empty if synced_behind(segment, end) => Tail::Lost("a synced record is missing"),
        Missing::Bad(reason) if synced_behind(segment, end) => Tail::Lost(reason),
        Missing::Empty => Tail::Torn("a record is missing"),
        Missing::Bad(reason) => Tail::Torn(reason),
    };
    Scan { records, end: offset as u64, tail }
}

/// Whether a good record behind `bad` says that the bytes at `bad` had been synced.
fn synced_behind(segment: &Bytes, bad: usize) -> bool {
    (bad..segment.len())
        .step_by(ALIGNMENT)
        .skip(1)
        .any(|at| decode(segment, at).is_ok_and(|found| found.synced as usize > bad))
}
