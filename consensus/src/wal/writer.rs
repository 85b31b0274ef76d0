//! The thread that writes: drains the queue, writes once, syncs once, then reports.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc;

use super::WalError;
use super::maker::Maker;
use super::record::{self, Kind, Record};
use super::replay::Place;
use super::segment::{self, Segment};
use crate::errors::Fatal;
use crate::failure::Failure;
use crate::pb::storage::{LogId, SEGMENT_VERSION, SegmentHeader, Vote};
use crate::telemetry;

/// Bytes that one drained batch may gather before it is written; bounds memory and latency.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Called once when the bytes are durable, or never will be.
pub(super) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What is asked of the thread.
pub(super) enum Command {
    Append {
        entries: Vec<(LogId, Bytes)>,
        done: Done,
    },
    Vote {
        vote: Vote,
        done: Done,
    },
    Commit(LogId),
    Truncate {
        from: u64,
    },
    Purge {
        upto: LogId,
        done: Done,
    },
    /// Makes everything before it durable and ends the thread.
    Stop {
        done: Done,
    },
}

/// Told where entries were written, after they are durable.
pub(super) trait Placed: Send {
    fn placed(&self, segment: &Arc<Segment>, entries: &[(LogId, Place)]);
}

/// A segment that is no longer written to.
pub(super) struct Closed {
    pub(super) segment: Arc<Segment>,
    /// The greatest entry index that was ever written to it.
    pub(super) max_index: Option<u64>,
}

/// The state of the thread.
pub(super) struct Writer<P> {
    pub(super) maker: Maker,
    /// Carries what the next segment's header must say.
    pub(super) header: SegmentHeader,
    pub(super) closed: VecDeque<Closed>,
    pub(super) active: Closed,
    /// Where the next record goes, counted with `buffer`.
    pub(super) end: u64,
    /// Bytes of the active segment that are durable.
    pub(super) synced: u64,
    pub(super) placed: P,
    pub(super) failure: Failure,
    /// Encoded records that are not yet written.
    pub(super) buffer: Vec<u8>,
    /// Entries in the active segment that are not yet reported.
    pub(super) fresh: Vec<(LogId, Place)>,
}

/// What a drained batch leaves to do once it is durable.
#[derive(Default)]
struct Pending {
    done: Vec<Done>,
    sync: bool,
    purge: Option<LogId>,
    stop: bool,
}

impl<P: Placed> Writer<P> {
    /// Runs until it is stopped, fails, or every handle is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        self.maker.prepare(self.end);
        while let Some(first) = queue.blocking_recv() {
            let mut pending = Pending::default();
            let result = self.batch(first, &mut queue, &mut pending);
            if let Err(error) = &result {
                self.poison(error);
            }
            let answer = || match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::other(error.to_string())),
            };
            for done in pending.done {
                done(answer());
            }
            if result.is_err() || pending.stop {
                break;
            }
            self.maker.prepare(self.end);
        }
        refuse(queue);
    }

    /// Makes one batch durable.
    fn batch(
        &mut self,
        first: Command,
        queue: &mut mpsc::Receiver<Command>,
        pending: &mut Pending,
    ) -> Result<(), WalError> {
        let mut next = Some(first);
        while let Some(command) = next {
            self.take(command, pending)?;
            let full = self.buffer.len() >= BATCH_BYTES_MAX || pending.stop;
            next = if full { None } else { queue.try_recv().ok() };
        }
        self.flush()?;
        if pending.sync {
            self.sync()?;
        }
        if let Some(upto) = pending.purge {
            self.remove_purged(upto)?;
        }
        Ok(())
    }

    /// Turns a command into records.
    fn take(&mut self, command: Command, pending: &mut Pending) -> Result<(), WalError> {
        let plain = |kind, term, index| Record { kind, term, index, payload: Bytes::new() };
        match command {
            Command::Append { entries, done } => {
                pending.done.push(done);
                pending.sync = true;
                for (id, payload) in entries {
                    let (term, index) = (id.term, id.index);
                    self.push(&Record { kind: Kind::Entry, term, index, payload })?;
                }
            }
            Command::Vote { vote, done } => {
                pending.done.push(done);
                pending.sync = true;
                self.header.vote = Some(vote);
                let payload = Bytes::from(vote.encode_to_vec());
                self.push(&Record { kind: Kind::Vote, term: vote.term, index: 0, payload })?;
            }
            Command::Commit(id) => {
                self.header.committed = Some(id);
                self.push(&plain(Kind::Commit, id.term, id.index))?;
            }
            Command::Truncate { from } => self.push(&plain(Kind::Truncate, 0, from))?,
            Command::Purge { upto, done } => {
                pending.done.push(done);
                pending.sync = true;
                pending.purge = Some(upto);
                self.header.purged = Some(upto);
                self.push(&plain(Kind::Purge, upto.term, upto.index))?;
            }
            Command::Stop { done } => {
                pending.done.push(done);
                pending.sync = true;
                pending.stop = true;
            }
        }
        Ok(())
    }

    /// Adds a record to the buffer, in a new segment when it no longer fits this one.
    fn push(&mut self, record: &Record) -> Result<(), WalError> {
        let size = record::size(record.payload.len()) as u64;
        let seal = record::size(0) as u64;
        if self.end + size + seal > self.active.segment.size {
            self.roll(size + seal)?;
        }
        if record.kind == Kind::Entry {
            let place = Place {
                segment: self.active.segment.sequence,
                offset: self.end,
                length: record.payload.len(),
            };
            let id = LogId { term: record.term, index: record.index };
            self.fresh.push((id, place));
            self.active.max_index = self.active.max_index.max(Some(record.index));
        }
        let synced = u32::try_from(self.synced).expect("segments are far below 4 GiB");
        record::encode(&mut self.buffer, record, synced);
        self.end += size;
        Ok(())
    }

    /// Writes what is buffered.
    fn flush(&mut self) -> Result<(), WalError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let at = self.end - self.buffer.len() as u64;
        let segment = &self.active.segment;
        segment.file.write_at(&self.buffer, at).map_err(|source| WalError::Io {
            action: "write log segment",
            path: segment.path.clone(),
            source,
        })?;
        metrics::counter!(telemetry::WAL_BYTES).increment(self.buffer.len() as u64);
        self.buffer.clear();
        Ok(())
    }

    /// Makes what is written durable and reports the entries.
    fn sync(&mut self) -> Result<(), WalError> {
        let begin = Instant::now();
        let segment = &self.active.segment;
        segment.file.sync().map_err(|source| WalError::Io {
            action: "sync log segment",
            path: segment.path.clone(),
            source,
        })?;
        metrics::histogram!(telemetry::WAL_FSYNC).record(begin.elapsed().as_secs_f64());
        self.synced = self.end;
        self.placed.placed(segment, &self.fresh);
        self.fresh.clear();
        Ok(())
    }

    /// Seals the active segment and goes on in a new one with room for `needed` bytes.
    fn roll(&mut self, needed: u64) -> Result<(), WalError> {
        let synced = u32::try_from(self.synced).expect("segments are far below 4 GiB");
        let seal = Record { kind: Kind::Seal, term: 0, index: 0, payload: Bytes::new() };
        record::encode(&mut self.buffer, &seal, synced);
        self.end += record::size(0) as u64;
        self.flush()?;
        self.sync()?;

        self.header.version = SEGMENT_VERSION;
        self.header.sequence = self.active.segment.sequence + 1;
        let (segment, end) = self.maker.make(needed, &self.header)?;
        let new = Closed { segment, max_index: None };
        self.closed.push_back(std::mem::replace(&mut self.active, new));
        self.end = end;
        self.synced = end;
        Ok(())
    }

    /// Deletes the oldest segments that hold purged entries only.
    fn remove_purged(&mut self, upto: LogId) -> Result<(), WalError> {
        let mut removed = false;
        while self.closed.front().is_some_and(|c| c.max_index.is_none_or(|max| max <= upto.index)) {
            let Some(closed) = self.closed.pop_front() else { break };
            let path = closed.segment.path.clone();
            self.maker.disk.remove(&path).map_err(|source| WalError::Io {
                action: "remove log segment",
                path,
                source,
            })?;
            removed = true;
        }
        if removed {
            self.maker.disk.sync_folder(&self.maker.folder).map_err(|source| WalError::Io {
                action: "sync folder",
                path: self.maker.folder.clone(),
                source,
            })?;
        }
        Ok(())
    }

    /// Reports an error after which nothing may be written.
    fn poison(&self, error: &WalError) {
        let mut reason = error.to_string();
        if let WalError::Io { source, .. } = error {
            reason = format!("{reason}: {source}");
            if source.kind() == io::ErrorKind::StorageFull {
                reason.push_str(
                    "; the disk is full: free space and start again, no acknowledged write is lost",
                );
            }
        }
        self.failure.report(Fatal { part: "wal", reason });
    }
}

/// Answers everything that is still queued.
fn refuse(mut queue: mpsc::Receiver<Command>) {
    queue.close();
    while let Ok(command) = queue.try_recv() {
        let stopped = || Err(io::Error::other("the log is closed"));
        match command {
            Command::Append { done, .. }
            | Command::Vote { done, .. }
            | Command::Purge { done, .. }
            | Command::Stop { done } => done(stopped()),
            Command::Commit(_) | Command::Truncate { .. } => {}
        }
    }
}

/// Recovers the writing end of the last segment: zeroes behind the good part, at full size.
pub(super) fn clear_tail(segment: &mut Segment, end: u64, size: u64) -> Result<(), WalError> {
    let io = |source| WalError::Io {
        action: "clear the torn end of log segment",
        path: segment.path.clone(),
        source,
    };
    let target = segment.size.max(size);
    segment::fill(&*segment.file, end, target).map_err(io)?;
    segment.file.sync().map_err(io)?;
    segment.size = target;
    Ok(())
}
