//! Makes segments: out of the spare when there is one, otherwise while the log waits.

use std::path::PathBuf;
use std::sync::Arc;

use prost::Message;

use super::WalError;
use super::record;
use super::segment::Segment;
use super::spare::Spare;
use crate::disk::Disk;
use crate::pb::storage::SegmentHeader;
use crate::telemetry;

/// The spare is begun when this part of a segment is written: late enough that a node with little
/// to write never has one, and early enough that it is ready when the segment is full.
const BEGIN_AT: u64 = 4;

/// It is begun when so many of its size are free: until it is needed, its room is others'.
const FREE_MIN: u64 = 4;

/// Where segments are made, and the next one.
pub(super) struct Maker {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    /// The size of a segment, but for one with a record that does not fit.
    pub(super) bytes: u64,
    pub(super) spare: Option<Spare>,
}

impl Maker {
    /// Sees to it that the next segment is made, once the active one is written up to `end`.
    pub(super) fn prepare(&mut self, end: u64) {
        if self.spare.is_some() || end < self.bytes / BEGIN_AT {
            return;
        }
        // Where that cannot be told, the log makes the segment when it needs it.
        if self.disk.free(&self.folder).is_ok_and(|free| free / FREE_MIN < self.bytes) {
            return;
        }
        match Spare::begin(self.disk.clone(), &self.folder, self.bytes) {
            Ok(spare) => self.spare = Some(spare),
            Err(error) => tracing::warn!(%error, "no thread to make the log's next segment"),
        }
    }

    /// Makes the segment with `header` and room for `needed` bytes behind it.
    ///
    /// # Errors
    /// When it could not be made without the spare either.
    pub(super) fn make(
        &mut self,
        needed: u64,
        header: &SegmentHeader,
    ) -> Result<(Arc<Segment>, u64), WalError> {
        let size = self.bytes.max(needed + record::size(header.encoded_len()) as u64);
        if size == self.bytes
            && let Some(spare) = self.spare.take()
        {
            let path = spare.path.clone();
            match spare.take() {
                Ok(file) => {
                    // From here on a failure is the log's: a name or a folder that was not synced may
                    // look so at the next try.
                    let made =
                        Segment::begin(&*self.disk, &self.folder, &path, file, size, header)?;
                    metrics::counter!(telemetry::WAL_SEGMENTS, "made" => "ahead").increment(1);
                    return Ok(made);
                }
                Err(error) => tracing::warn!(%error, size,
                    "the log's next segment could not be made ahead; the log waits for it"),
            }
        }
        metrics::counter!(telemetry::WAL_SEGMENTS, "made" => "late").increment(1);
        Segment::create(&*self.disk, &self.folder, size, header)
    }
}
