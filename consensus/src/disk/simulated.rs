//! A disk in memory that loses what was not synced, fills up and fails on command.
//!
//! For fault injection: run a node on it, [`SimulatedDisk::cut`] the power, and start the node
//! again on what is left.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Disk, DiskFile};

/// A device writes at least this much at once, or nothing of it.
const SECTOR_BYTES: usize = 512;

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    names: Mutex<Names>,
    faults: Faults,
}

#[derive(Default)]
struct Faults {
    lie: AtomicBool,
    fail_sync: AtomicBool,
    /// Bytes that all files together may take; zero means no limit.
    capacity: AtomicU64,
    syncs: AtomicU64,
}

/// What the folders say, and what they would say after a power cut.
#[derive(Default, Clone)]
struct Names {
    current: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    synced: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
}

#[derive(Default, Clone)]
struct Content {
    data: Vec<u8>,
    synced: Vec<u8>,
    /// Offset and length of each write since the last sync.
    unsynced: Vec<(usize, usize)>,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the disk as it is after a power cut; this one is unchanged.
    ///
    /// Without a seed, everything that was not synced is gone. With one, each sector of each
    /// unsynced write survives or not by chance, as a device may have it.
    pub fn cut(&self, seed: Option<u64>) -> Self {
        let mut random = seed.map(SmallRng::seed_from_u64);
        let mut left = BTreeMap::new();
        for (path, content) in &self.names().synced {
            let content = lock(content).clone();
            let mut data = content.synced.clone();
            if let Some(random) = &mut random {
                survive(random, &content, &mut data);
            }
            let content = Content { synced: data.clone(), data, unsynced: Vec::new() };
            left.insert(path.clone(), Arc::new(Mutex::new(content)));
        }
        let names = Names { current: left.clone(), synced: left };
        let shared = Shared { names: Mutex::new(names), faults: Faults::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Makes `sync` report success without doing anything, to prove that a test notices.
    pub fn lie(&self, lie: bool) {
        self.shared.faults.lie.store(lie, Ordering::SeqCst);
    }

    /// Makes `sync` fail.
    pub fn fail_sync(&self, fail: bool) {
        self.shared.faults.fail_sync.store(fail, Ordering::SeqCst);
    }

    fn used(&self) -> u64 {
        self.names().current.values().map(|content| lock(content).data.len() as u64).sum()
    }

    /// Limits the bytes of all files together; zero lifts the limit.
    pub fn set_capacity(&self, bytes: u64) {
        self.shared.faults.capacity.store(bytes, Ordering::SeqCst);
    }

    /// Counts the successful syncs of files.
    pub fn syncs(&self) -> u64 {
        self.shared.faults.syncs.load(Ordering::SeqCst)
    }

    /// Lists all files with their bytes, to copy or to damage them.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.names().current.iter().map(|(p, c)| (p.clone(), lock(c).data.clone())).collect()
    }

    /// Replaces a file's bytes as if they had always been there.
    pub fn put(&self, path: &Path, data: Vec<u8>) {
        let content = Content { synced: data.clone(), data, unsynced: Vec::new() };
        let content = Arc::new(Mutex::new(content));
        let mut names = self.names();
        names.current.insert(path.to_path_buf(), content.clone());
        names.synced.insert(path.to_path_buf(), content);
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        lock(&self.shared.names)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no one panics with this lock")
}

/// Lets sectors of unsynced writes reach `data` by chance.
fn survive(random: &mut SmallRng, content: &Content, data: &mut Vec<u8>) {
    for &(offset, length) in &content.unsynced {
        let mut at = offset;
        while at < offset + length {
            let end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
            let end = end.min(offset + length).min(content.data.len());
            if random.random_bool(0.5) && at < end {
                data.resize(data.len().max(end), 0);
                data[at..end].copy_from_slice(&content.data[at..end]);
            }
            at = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
        }
    }
}

struct Open {
    content: Arc<Mutex<Content>>,
    disk: SimulatedDisk,
}

impl DiskFile for Open {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = offset as usize;
        let end = offset + bytes.len();
        let grown = end.saturating_sub(lock(&self.content).data.len());
        let capacity = self.disk.shared.faults.capacity.load(Ordering::SeqCst);
        if capacity > 0 && grown > 0 && self.disk.used() + grown as u64 > capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut content = lock(&self.content);
        let size = content.data.len().max(end);
        content.data.resize(size, 0);
        content.data[offset..end].copy_from_slice(bytes);
        content.unsynced.push((offset, bytes.len()));
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let content = lock(&self.content);
        let offset = offset as usize;
        let found = content.data.get(offset..offset + bytes.len());
        bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let faults = &self.disk.shared.faults;
        if faults.fail_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("the simulated device failed"));
        }
        faults.syncs.fetch_add(1, Ordering::SeqCst);
        if faults.lie.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut content = lock(&self.content);
        let Content { data, synced, unsynced } = &mut *content;
        synced.resize(data.len(), 0);
        for (offset, length) in unsynced.drain(..) {
            synced[offset..offset + length].copy_from_slice(&data[offset..offset + length]);
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.content).data.len() as u64)
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let content = Arc::new(Mutex::new(Content::default()));
        self.names().current.insert(path.to_path_buf(), content.clone());
        Ok(Box::new(Open { content, disk: self.clone() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let content = self.names().current.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Open { content, disk: self.clone() }))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let names = self.names();
        let inside = names.current.keys().filter(|path| path.parent() == Some(folder));
        let name = |path: &PathBuf| path.file_name().map(|n| n.to_string_lossy().into_owned());
        Ok(inside.filter_map(name).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.names();
        let content = names.current.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.current.insert(to.to_path_buf(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.names().current.remove(path);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn free(&self, _folder: &Path) -> io::Result<u64> {
        match self.shared.faults.capacity.load(Ordering::SeqCst) {
            0 => Ok(u64::MAX),
            capacity => Ok(capacity.saturating_sub(self.used())),
        }
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if self.shared.faults.lie.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut names = self.names();
        let inside = |path: &PathBuf| path.parent() == Some(folder);
        let current: Vec<_> = names
            .current
            .iter()
            .filter(|(p, _)| inside(p))
            .map(|(p, c)| (p.clone(), c.clone()))
            .collect();
        names.synced.retain(|path, _| !inside(path));
        names.synced.extend(current);
        Ok(())
    }
}
