//! From records to a log: pure, in the order in which they were written.

use std::collections::VecDeque;

use prost::Message;

use super::record::{Found, Kind};
use crate::pb::storage::{LogId, SegmentHeader, Vote};

/// Where an entry lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) length: usize,
}

/// An entry that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) id: LogId,
    pub(crate) place: Place,
}

/// What the records amount to.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct LogImage {
    pub(crate) vote: Option<Vote>,
    pub(crate) purged: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    /// Consecutive, the first right behind `purged`.
    pub(crate) entries: VecDeque<Live>,
}

/// Why a sequence of good records is no log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidLog {
    #[error("entry {found} follows entry {last}")]
    Gap { last: u64, found: u64 },
    #[error("the log begins at entry {found:?}, but entries are purged up to {purged:?}")]
    Begin { found: u64, purged: Option<u64> },
    #[error("a {0:?} record cannot be read")]
    Payload(Kind),
}

impl LogImage {
    /// Takes over what a segment's header says of the segments before it.
    pub(crate) fn begin(&mut self, header: &SegmentHeader) {
        self.vote = header.vote.or(self.vote);
        self.committed = header.committed.or(self.committed);
        if let Some(purged) = header.purged {
            self.purge(purged);
        }
    }

    /// Replays one record.
    pub(crate) fn replay(&mut self, segment: u64, found: &Found) -> Result<(), InvalidLog> {
        let record = &found.record;
        let id = LogId { term: record.term, index: record.index };
        match record.kind {
            Kind::Header | Kind::Seal => {}
            Kind::Entry => {
                if let Some(last) = self.entries.back()
                    && last.id.index + 1 != id.index
                {
                    return Err(InvalidLog::Gap { last: last.id.index, found: id.index });
                }
                let place = Place { segment, offset: found.offset, length: record.payload.len() };
                self.entries.push_back(Live { id, place });
            }
            Kind::Vote => {
                let vote = Vote::decode(record.payload.clone());
                self.vote = Some(vote.map_err(|_| InvalidLog::Payload(Kind::Vote))?);
            }
            Kind::Truncate => self.truncate(id.index),
            Kind::Purge => self.purge(id),
            Kind::Commit => self.committed = Some(id),
        }
        Ok(())
    }

    /// Checks that what is left is one piece.
    pub(crate) fn finish(self) -> Result<Self, InvalidLog> {
        let expected = self.purged.map_or(0, |p| p.index + 1);
        match self.entries.front() {
            Some(first) if first.id.index != expected => Err(InvalidLog::Begin {
                found: first.id.index,
                purged: self.purged.map(|p| p.index),
            }),
            _ => Ok(self),
        }
    }

    /// Drops the entries from `index` on.
    fn truncate(&mut self, index: u64) {
        while self.entries.back().is_some_and(|e| e.id.index >= index) {
            self.entries.pop_back();
        }
    }

    /// Drops the entries up to `id`.
    fn purge(&mut self, id: LogId) {
        if self.purged.is_some_and(|p| p.index >= id.index) {
            return;
        }
        self.purged = Some(id);
        while self.entries.front().is_some_and(|e| e.id.index <= id.index) {
            self.entries.pop_front();
        }
    }
}
