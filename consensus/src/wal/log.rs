//! The log as the rest of the crate sees it: an index in memory over the records on disk.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::WalError;
use super::maker::Maker;
use super::record::{self, Kind, Tail};
use super::replay::{LogImage, Place};
use super::segment::{self, Segment};
use super::writer::{self, Closed, Command, Placed, Writer};
use crate::disk::Disk;
use crate::failure::Failure;
use crate::pb::storage::{LogId, SEGMENT_VERSION, SegmentHeader, Vote};

/// Commands that may wait for the writer; beyond it, callers wait.
const QUEUE_LENGTH: usize = 1024;

/// Payloads of durable entries that stay in memory for replication and apply.
const CACHE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Payload bytes of one read, so that a message to a follower stays far below gRPC's limit.
pub(crate) const READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How a log is opened.
pub(crate) struct WalOptions {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) folder: PathBuf,
    pub(crate) cluster: String,
    pub(crate) node: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) failure: Failure,
}

/// Handle of an open log; clones share it.
#[derive(Clone)]
pub(crate) struct Wal {
    index: Arc<Mutex<Index>>,
    queue: mpsc::Sender<Command>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
    failure: Failure,
}

/// What is known without reading the disk.
#[derive(Default)]
struct Index {
    vote: Option<Vote>,
    purged: Option<LogId>,
    committed: Option<LogId>,
    /// Consecutive.
    slots: VecDeque<Slot>,
    cached_bytes: usize,
    /// No slot before this place in `slots`, counted from the log's start, is cached.
    evicted_upto: u64,
}

struct Slot {
    id: LogId,
    /// Always there until the entry is durable.
    payload: Option<Bytes>,
    place: Option<(Arc<Segment>, Place)>,
}

impl Wal {
    /// Reads the segments, clears a torn end, and starts the writer.
    ///
    /// # Errors
    /// See [`WalError`]: nothing was changed when the log is damaged.
    pub(crate) fn open(options: WalOptions) -> Result<Self, WalError> {
        let (image, mut segments) = read(&options)?;
        let header = SegmentHeader {
            version: SEGMENT_VERSION,
            cluster: options.cluster.clone(),
            node: options.node,
            sequence: segments.back().map_or(0, |s| s.segment.sequence + 1),
            vote: image.vote,
            purged: image.purged,
            committed: image.committed,
        };
        let (disk, folder) = (&*options.disk, &options.folder);
        // A sealed last segment means that the node stopped before it had made the next one.
        let last_is_open = segments.back().is_some_and(|s| !s.sealed);
        let (active, end) = match segments.pop_back() {
            Some(last) if last_is_open => {
                let Opened { mut segment, max_index, end, torn, .. } = last;
                if torn || segment.size < options.segment_bytes {
                    writer::clear_tail(&mut segment, end, options.segment_bytes)?;
                }
                (Closed { segment: Arc::new(segment), max_index }, end)
            }
            sealed => {
                segments.extend(sealed);
                let size = options.segment_bytes;
                let (segment, end) = Segment::create(disk, folder, size, &header)?;
                (Closed { segment, max_index: None }, end)
            }
        };
        let closed: VecDeque<Closed> = segments
            .into_iter()
            .map(|s| Closed { segment: Arc::new(s.segment), max_index: s.max_index })
            .collect();

        let by_sequence: BTreeMap<u64, Arc<Segment>> = closed
            .iter()
            .chain([&active])
            .map(|c| (c.segment.sequence, c.segment.clone()))
            .collect();
        let slot = |live: &super::replay::Live| Slot {
            id: live.id,
            payload: None,
            place: by_sequence.get(&live.place.segment).map(|s| (s.clone(), live.place)),
        };
        let index = Index {
            vote: image.vote,
            purged: image.purged,
            committed: image.committed,
            slots: image.entries.iter().map(slot).collect(),
            cached_bytes: 0,
            evicted_upto: image.entries.back().map_or(0, |e| e.id.index + 1),
        };
        let index = Arc::new(Mutex::new(index));
        let (queue, receiver) = mpsc::channel(QUEUE_LENGTH);
        let writer = Writer {
            maker: Maker {
                disk: options.disk.clone(),
                folder: options.folder.clone(),
                bytes: options.segment_bytes,
                spare: None,
            },
            header,
            closed,
            active,
            end,
            synced: end,
            placed: Shared(index.clone()),
            failure: options.failure.clone(),
            buffer: Vec::new(),
            fresh: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("wal".into())
            .spawn(move || writer.run(receiver))
            .map_err(|source| WalError::Io {
                action: "start the writer of",
                path: options.folder.clone(),
                source,
            })?;
        let thread = Arc::new(Mutex::new(Some(thread)));
        Ok(Self { index, queue, thread, failure: options.failure })
    }

    /// The last entry that is gone from the front.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.lock().purged
    }

    /// The last entry, or the last one that is gone when there is none.
    pub(crate) fn last(&self) -> Option<LogId> {
        let index = self.lock();
        index.slots.back().map(|s| s.id).or(index.purged)
    }

    /// The last vote.
    pub(crate) fn vote(&self) -> Option<Vote> {
        self.lock().vote
    }

    /// The last entry that was known to be committed.
    pub(crate) fn committed(&self) -> Option<LogId> {
        self.lock().committed
    }

    /// The id of the entry at `index`, when it is in the log.
    pub(crate) fn id_at(&self, index: u64) -> Option<LogId> {
        let log = self.lock();
        let first = log.slots.front()?.id.index;
        log.slots.get(usize::try_from(index.checked_sub(first)?).ok()?).map(|s| s.id)
    }

    /// Appends entries; they can be read at once, and `done` is called when they are durable.
    ///
    /// # Errors
    /// When the log is poisoned or closed; `done` was then called with an error or dropped.
    pub(crate) async fn append(
        &self,
        entries: Vec<(LogId, Bytes)>,
        done: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> io::Result<()> {
        {
            let mut index = self.lock();
            for (id, payload) in &entries {
                index.cached_bytes += payload.len();
                let payload = Some(payload.clone());
                index.slots.push_back(Slot { id: *id, payload, place: None });
            }
        }
        self.send(Command::Append { entries, done: Box::new(done) }).await
    }

    /// Stores a vote and waits until it is durable.
    ///
    /// # Errors
    /// When it is not surely durable; the log is then poisoned.
    pub(crate) async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        self.lock().vote = Some(vote);
        self.durably(|done| Command::Vote { vote, done }).await
    }

    /// Notes how far the log is committed, without waiting: a hint for the next start.
    ///
    /// # Errors
    /// When the log is poisoned or closed.
    pub(crate) async fn save_committed(&self, id: LogId) -> io::Result<()> {
        self.lock().committed = Some(id);
        self.send(Command::Commit(id)).await
    }

    /// Removes the entries from `from` on; ordered before all later appends.
    ///
    /// # Errors
    /// When the log is poisoned or closed.
    pub(crate) async fn truncate(&self, from: u64) -> io::Result<()> {
        {
            let mut index = self.lock();
            while index.slots.back().is_some_and(|s| s.id.index >= from) {
                let slot = index.slots.pop_back();
                index.forget(slot);
            }
            index.evicted_upto = index.evicted_upto.min(from);
        }
        self.send(Command::Truncate { from }).await
    }

    /// Removes the entries up to `upto` and the segments that hold nothing else.
    ///
    /// # Errors
    /// When it is not surely durable; the log is then poisoned.
    pub(crate) async fn purge(&self, upto: LogId) -> io::Result<()> {
        {
            let mut index = self.lock();
            if index.purged.is_some_and(|p| p.index >= upto.index) {
                return Ok(());
            }
            index.purged = Some(upto);
            while index.slots.front().is_some_and(|s| s.id.index <= upto.index) {
                let slot = index.slots.pop_front();
                index.forget(slot);
            }
        }
        self.durably(|done| Command::Purge { upto, done }).await
    }

    /// Reads entries of `from..to` that are in the log, at least one and about `limit` bytes.
    ///
    /// # Errors
    /// When the disk does not give back what was written.
    pub(crate) fn read(&self, from: u64, to: u64, limit: usize) -> io::Result<Vec<(LogId, Bytes)>> {
        enum Source {
            Memory(Bytes),
            Disk(Arc<Segment>, Place),
        }
        let mut sources = Vec::new();
        {
            let index = self.lock();
            let Some(first) = index.slots.front().map(|s| s.id.index) else {
                return Ok(Vec::new());
            };
            let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
            let mut bytes = 0;
            let range = index.slots.range(skip.min(index.slots.len())..);
            for slot in range.take_while(|s| s.id.index < to) {
                let source = match (&slot.payload, &slot.place) {
                    (Some(payload), _) => Source::Memory(payload.clone()),
                    (None, Some((segment, place))) => Source::Disk(segment.clone(), *place),
                    (None, None) => unreachable!("an entry is cached until it has a place"),
                };
                bytes += match &source {
                    Source::Memory(payload) => payload.len(),
                    Source::Disk(_, place) => place.length,
                };
                if bytes > limit && !sources.is_empty() {
                    break;
                }
                sources.push((slot.id, source));
            }
        }
        let load = |(id, source)| match source {
            Source::Memory(payload) => Ok((id, payload)),
            Source::Disk(segment, place) => Ok((id, segment.read(place.offset, place.length)?)),
        };
        sources.into_iter().map(load).collect()
    }

    /// Makes everything durable and ends the writer; later calls fail.
    pub(crate) async fn close(&self) {
        // An error means that it is closed already, or poisoned, which is reported elsewhere.
        let _ = self.durably(|done| Command::Stop { done }).await;
        let thread = self.thread.lock().expect("no one panics with this lock").take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    async fn durably(&self, command: impl FnOnce(writer::Done) -> Command) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        let done = Box::new(move |result| {
            // The caller may have gone; the write counts all the same.
            let _ = sender.send(result);
        });
        self.send(command(done)).await?;
        receiver.await.map_err(|_| self.closed())?
    }

    async fn send(&self, command: Command) -> io::Result<()> {
        self.queue.send(command).await.map_err(|_| self.closed())
    }

    fn closed(&self) -> io::Error {
        match self.failure.get() {
            Some(fatal) => io::Error::other(fatal.to_string()),
            None => io::Error::other("the log is closed"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().expect("no one panics with this lock")
    }
}

impl Index {
    fn forget(&mut self, slot: Option<Slot>) {
        if let Some(payload) = slot.and_then(|s| s.payload) {
            self.cached_bytes -= payload.len();
        }
    }

    /// Drops the oldest durable payloads until the cache is within its bound.
    fn evict(&mut self) {
        let Some(first) = self.slots.front().map(|s| s.id.index) else { return };
        let mut at = usize::try_from(self.evicted_upto.saturating_sub(first)).unwrap_or(0);
        while self.cached_bytes > CACHE_BYTES_MAX {
            let Some(slot) = self.slots.get_mut(at).filter(|s| s.place.is_some()) else { break };
            if let Some(payload) = slot.payload.take() {
                self.cached_bytes -= payload.len();
            }
            at += 1;
        }
        self.evicted_upto = first + at as u64;
    }
}

/// Lets the writer enter places into the index.
struct Shared(Arc<Mutex<Index>>);

impl Placed for Shared {
    fn placed(&self, segment: &Arc<Segment>, entries: &[(LogId, Place)]) {
        let mut index = self.0.lock().expect("no one panics with this lock");
        for (id, place) in entries {
            let Some(first) = index.slots.front().map(|s| s.id.index) else { break };
            // An entry may have been truncated or purged since it was queued.
            let at = id.index.checked_sub(first).and_then(|at| usize::try_from(at).ok());
            if let Some(slot) = at.and_then(|at| index.slots.get_mut(at))
                && slot.id == *id
            {
                slot.place = Some((segment.clone(), *place));
            }
        }
        index.evict();
    }
}

/// A segment as recovery found it.
struct Opened {
    segment: Segment,
    max_index: Option<u64>,
    end: u64,
    sealed: bool,
    torn: bool,
}

/// Reads all segments and replays them.
fn read(options: &WalOptions) -> Result<(LogImage, VecDeque<Opened>), WalError> {
    let (disk, folder) = (&*options.disk, options.folder.as_path());
    let io = |source| WalError::Io { action: "list", path: folder.to_path_buf(), source };
    let names = disk.list(folder).map_err(io)?;
    for name in names.iter().filter(|n| n.ends_with(".tmp")) {
        disk.remove(&folder.join(name)).map_err(io)?;
    }
    let mut sequences: Vec<u64> = names.iter().filter_map(|n| segment::sequence(n)).collect();
    sequences.sort_unstable();

    let mut image = LogImage::default();
    let mut opened = VecDeque::new();
    for (at, &sequence) in sequences.iter().enumerate() {
        let damaged = |offset, reason: String| {
            let path = folder.join(segment::name(sequence));
            WalError::Damaged { path, offset, reason }
        };
        let last = at + 1 == sequences.len();
        if at > 0 && sequences[at - 1] + 1 != sequence {
            let missing = segment::name(sequences[at - 1] + 1);
            return Err(damaged(0, format!("the segment before it, {missing}, is missing")));
        }
        let segment = replay_one(options, folder, sequence, last, &mut image, &damaged)?;
        opened.push_back(segment);
    }
    let path = sequences.first().map_or(folder.to_path_buf(), |s| folder.join(segment::name(*s)));
    let image = image.finish().map_err(|invalid| WalError::Damaged {
        path,
        offset: 0,
        reason: invalid.to_string(),
    })?;
    Ok((image, opened))
}

/// Reads one segment and replays it.
fn replay_one(
    options: &WalOptions,
    folder: &Path,
    sequence: u64,
    last: bool,
    image: &mut LogImage,
    damaged: &dyn Fn(u64, String) -> WalError,
) -> Result<Opened, WalError> {
    let (segment, bytes) = Segment::open(&*options.disk, folder, sequence)?;
    let scan = record::scan(&bytes);
    let header = scan.records.first().filter(|f| f.record.kind == Kind::Header);
    let header = header.and_then(|f| prost::Message::decode(f.record.payload.clone()).ok());
    let Some(header): Option<SegmentHeader> = header else {
        return Err(damaged(0, "it has no header".into()));
    };
    if header.version != SEGMENT_VERSION {
        return Err(WalError::Version { path: segment.path, found: header.version });
    }
    if header.cluster != options.cluster || header.node != options.node {
        let (node, cluster) = (header.node, &header.cluster);
        return Err(damaged(0, format!("it belongs to node {node} of cluster {cluster}")));
    }
    if header.sequence != sequence {
        return Err(damaged(0, format!("it is segment {} under another name", header.sequence)));
    }
    let sealed = scan.records.last().is_some_and(|f| f.record.kind == Kind::Seal);
    let torn = match scan.tail {
        Tail::Unknown(found) => return Err(WalError::Version { path: segment.path, found }),
        Tail::Lost(reason) => return Err(damaged(scan.end, reason.to_owned())),
        _ if !last && !sealed => {
            let reason = "its end is missing, but later segments exist".to_owned();
            return Err(damaged(scan.end, reason));
        }
        Tail::Torn(reason) => {
            tracing::warn!(path = %segment.path.display(), offset = scan.end, reason,
                "the log ends in a write that was never acknowledged; it is dropped");
            true
        }
        Tail::Clean => false,
    };
    image.begin(&header);
    let mut max_index = None;
    for found in &scan.records {
        if found.record.kind == Kind::Entry {
            max_index = max_index.max(Some(found.record.index));
        }
        image.replay(sequence, found).map_err(|e| damaged(found.offset, e.to_string()))?;
    }
    Ok(Opened { segment, max_index, end: scan.end, sealed, torn })
}
