//! The next segment, zero-filled by a thread of its own while the one before it is written to.
//!
//! Until [`super::maker`] has given it a header and a name it is no segment: it is called
//! [`NAME`], and what a node that was killed left of it is removed when the log is opened.
//! A spare that could not be made is no failure of the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::segment;
use crate::disk::{Disk, DiskFile};

/// Ends in `.tmp`, as all that is removed when the log is opened.
const NAME: &str = "spare.tmp";

/// Written and synced at a time: an append that comes meanwhile waits for no more than this.
const PIECE_BYTES: usize = 256 * 1024;

/// The thread rests this many times as long as a piece took: at most a quarter of what the device
/// can do is its own.
const RESTS: u32 = 3;

/// The least rest, so that a device with a cache does not see one burst.
const REST_MIN: Duration = Duration::from_millis(5);

/// A spare that is being made, or is ready.
pub(super) struct Spare {
    pub(super) path: PathBuf,
    orders: Arc<Orders>,
    thread: Option<JoinHandle<io::Result<Box<dyn DiskFile>>>>,
}

#[derive(Default)]
struct Orders {
    /// The log waits for it: no more rests.
    hurry: AtomicBool,
    stop: AtomicBool,
}

impl Spare {
    /// Begins to make one of `size` bytes.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn begin(disk: Arc<dyn Disk>, folder: &Path, size: u64) -> io::Result<Self> {
        let path = folder.join(NAME);
        let orders = Arc::new(Orders::default());
        let (target, told) = (path.clone(), orders.clone());
        let make = move || {
            let file = disk.create(&target)?;
            match fill(&*file, size, &told) {
                Ok(()) => Ok(file),
                Err(error) => {
                    // What it took of a full disk is the log's; the next start removes the rest.
                    let _ = disk.remove(&target);
                    Err(error)
                }
            }
        };
        let thread = thread::Builder::new().name("wal-spare".into()).spawn(make)?;
        Ok(Self { path, orders, thread: Some(thread) })
    }

    /// Waits until it is there, without further rests.
    ///
    /// # Errors
    /// Whatever kept it from being made.
    pub(super) fn take(mut self) -> io::Result<Box<dyn DiskFile>> {
        self.orders.hurry.store(true, Ordering::SeqCst);
        self.end()
    }

    fn end(&mut self) -> io::Result<Box<dyn DiskFile>> {
        let ended = || io::Error::other("the thread that makes the next segment has ended");
        let thread = self.thread.take().ok_or_else(ended)?;
        thread.thread().unpark();
        thread.join().map_err(|_| ended())?
    }
}

impl Drop for Spare {
    /// Leaves no thread behind that writes where the log may be opened again.
    fn drop(&mut self) {
        self.orders.stop.store(true, Ordering::SeqCst);
        let _ = self.end();
    }
}

/// Writes zeroes piece by piece, each durable before the next, so that no sync of the log finds
/// much of it under way.
fn fill(file: &dyn DiskFile, size: u64, orders: &Orders) -> io::Result<()> {
    let mut at = 0;
    while at < size {
        if orders.stop.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if orders.hurry.load(Ordering::SeqCst) {
            segment::fill(file, at, size)?;
            return file.sync();
        }
        let begin = Instant::now();
        let end = size.min(at + PIECE_BYTES as u64);
        segment::fill(file, at, end)?;
        file.sync()?;
        at = end;
        if at < size {
            thread::park_timeout((begin.elapsed() * RESTS).max(REST_MIN));
        }
    }
    Ok(())
}
