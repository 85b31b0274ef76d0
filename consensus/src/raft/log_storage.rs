//! openraft's log storage over the write-ahead log.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};

use super::convert;
use super::{Entry, LogId, Types, Vote};
use crate::wal::Wal;
use crate::wal::log::READ_BYTES_MAX;

/// The log; clones read and write the same one.
#[derive(Clone)]
pub(crate) struct LogStorage(pub(crate) Wal);

impl LogStorage {
    fn entries(&self, from: u64, to: u64, limit: usize) -> io::Result<Vec<Entry>> {
        let records = self.0.read(from, to, limit)?;
        let entry = |(id, payload)| convert::entry_of(id, payload).map_err(io::Error::other);
        records.into_iter().map(entry).collect()
    }
}

impl RaftLogReader<Types> for LogStorage {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(from, to, usize::MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.0.vote().as_ref().map(convert::vote))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.entries(start, end, READ_BYTES_MAX)
    }
}

impl RaftLogStorage<Types> for LogStorage {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let last_purged_log_id = self.0.purged().as_ref().map(convert::log_id);
        let last_log_id = self.0.last().as_ref().map(convert::log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.0.save_vote(convert::vote_message(vote)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        match committed {
            Some(id) => self.0.save_committed(convert::log_id_message(&id)).await,
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.0.committed().as_ref().map(convert::log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let encode = |e: Entry| (convert::log_id_message(&e.log_id()), convert::entry_payload(&e));
        let entries = entries.into_iter().map(encode).collect();
        self.0.append(entries, move |result| callback.io_completed(result)).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.0.truncate(last_log_id.map_or(0, |id| id.index() + 1)).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.0.purge(convert::log_id_message(&log_id)).await
    }
}
