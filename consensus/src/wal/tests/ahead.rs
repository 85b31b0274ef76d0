//! The next segment is made ahead: nobody waits for it, and nothing depends on it.

use std::io;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::disk::{Disk, DiskFile};

const SPARE: &str = "/wal/spare.tmp";

/// A disk that writes down which thread creates files, and that refuses the spare on command.
#[derive(Clone, Default)]
struct Watched {
    disk: SimulatedDisk,
    created: Arc<Mutex<Vec<(String, PathBuf)>>>,
    refused: Arc<Mutex<Option<Refused>>>,
}

/// What of the spare fails.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Refused {
    Create,
    Sync,
    Rename,
    SyncFolder,
}

struct File {
    file: Box<dyn DiskFile>,
    spare: bool,
    refused: Arc<Mutex<Option<Refused>>>,
}

impl Watched {
    fn refuses(&self, what: Refused) -> io::Result<()> {
        match *self.refused.lock().unwrap() {
            Some(refused) if refused == what => Err(io::Error::other("refused")),
            _ => Ok(()),
        }
    }

    fn created_by(&self, name: &str) -> Vec<PathBuf> {
        let created = self.created.lock().unwrap();
        created.iter().filter(|(by, _)| by == name).map(|(_, path)| path.clone()).collect()
    }
}

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        if self.spare && *self.refused.lock().unwrap() == Some(Refused::Sync) {
            return Err(io::Error::other("refused"));
        }
        self.file.sync()
    }
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}

impl Disk for Watched {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let by = thread::current().name().unwrap_or_default().to_owned();
        let spare = path == Path::new(SPARE);
        let refused = if spare { self.refuses(Refused::Create) } else { Ok(()) };
        let file = refused.and_then(|()| self.disk.create(path));
        // Who waits for it finds the file.
        self.created.lock().unwrap().push((by, path.to_path_buf()));
        let file = file?;
        Ok(Box::new(File { file, spare, refused: self.refused.clone() }))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(path)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if from == Path::new(SPARE) {
            self.refuses(Refused::Rename)?;
        }
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.refuses(Refused::SyncFolder)?;
        self.disk.sync_folder(folder)
    }
    fn free(&self, folder: &Path) -> io::Result<u64> {
        self.disk.free(folder)
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}

fn entry(index: u64) -> (LogId, Bytes) {
    (id(1, index), Bytes::from(vec![index as u8; 40]))
}

/// Appends entries from `next` on until the log is in segment `sequence`; returns the next index.
async fn fill_up_to(wal: &Wal, disk: &SimulatedDisk, sequence: u64, mut next: u64) -> u64 {
    while !disk.files().contains_key(&path(sequence)) {
        append(wal, vec![entry(next)]).await.unwrap();
        next += 1;
    }
    next
}

/// Appends until the spare was begun; returns the next index.
async fn begin_spare(wal: &Wal, watched: &Watched, mut next: u64) -> u64 {
    let begun = watched.created_by("wal-spare").len();
    let is_begun = || watched.created_by("wal-spare").len() > begun;
    for _ in 0..SEGMENT_BYTES {
        append(wal, vec![entry(next)]).await.unwrap();
        next += 1;
        // Its thread may take a while to run.
        let deadline = Instant::now() + Duration::from_millis(50);
        while !is_begun() && Instant::now() < deadline {
            thread::yield_now();
        }
        if is_begun() {
            return next;
        }
    }
    panic!("none was begun");
}

#[test]
fn no_append_waits_for_a_segment_to_be_filled() {
    let watched = Watched::default();
    let disk = watched.disk.clone();
    block_on(async {
        let wal = Wal::open(WalOptions { disk: Arc::new(watched.clone()), ..options(&disk) });
        let wal = wal.unwrap();
        let mut next = 0;
        for sequence in 1..5 {
            next = begin_spare(&wal, &watched, next).await;
            assert!(!disk.files().contains_key(&path(sequence)), "it was begun too late");
            until("the spare is filled", || {
                let full = |bytes: &Vec<u8>| bytes.len() as u64 == SEGMENT_BYTES;
                disk.files().get(Path::new(SPARE)).is_some_and(full)
            });
            next = fill_up_to(&wal, &disk, sequence, next).await;
            assert_eq!(disk.files()[&path(sequence)].len() as u64, SEGMENT_BYTES);
        }
        wal.close().await;
        assert_eq!(watched.created_by("wal"), [] as [PathBuf; 0], "made while the log waited");
        assert_eq!(entry_count(&open(&disk).unwrap()), next);
    });
}

#[test]
fn a_log_with_little_in_it_takes_no_second_segment() {
    let disk = SimulatedDisk::new();
    block_on(async {
        let wal = open(&disk).unwrap();
        for index in 0..8 {
            append(&wal, vec![entry(index)]).await.unwrap();
        }
        wal.close().await;
    });
    assert_eq!(disk.files().into_keys().collect::<Vec<_>>(), [path(0)]);
}

#[test]
fn without_a_spare_the_log_makes_its_segments_itself() {
    for refused in [Refused::Create, Refused::Sync] {
        let watched = Watched::default();
        *watched.refused.lock().unwrap() = Some(refused);
        let disk = watched.disk.clone();
        block_on(async {
            let wal = Wal::open(WalOptions { disk: Arc::new(watched.clone()), ..options(&disk) });
            let wal = wal.unwrap();
            let next = fill_up_to(&wal, &disk, 2, 0).await;
            assert_eq!(watched.created_by("wal").len(), 2, "{refused:?}");
            // The next one is tried again.
            *watched.refused.lock().unwrap() = None;
            let next = fill_up_to(&wal, &disk, 4, next).await;
            assert!(watched.created_by("wal").len() <= 3, "{refused:?}");
            wal.close().await;
            assert_eq!(entry_count(&open(&disk).unwrap()), next, "{refused:?}");
        });
    }
}

#[test]
fn what_may_not_be_on_the_device_is_no_segment() {
    for refused in [Refused::Rename, Refused::SyncFolder] {
        let watched = Watched::default();
        let disk = watched.disk.clone();
        block_on(async {
            let wal = Wal::open(WalOptions { disk: Arc::new(watched.clone()), ..options(&disk) });
            let wal = wal.unwrap();
            let mut next = begin_spare(&wal, &watched, 0).await;
            *watched.refused.lock().unwrap() = Some(refused);
            while append(&wal, vec![entry(next)]).await.is_ok() {
                next += 1;
                assert!(next < SEGMENT_BYTES, "{refused:?}: the log goes on");
            }
            *watched.refused.lock().unwrap() = None;
            assert!(append(&wal, vec![entry(next)]).await.is_err(), "{refused:?} is final");
            wal.close().await;
            assert_eq!(entry_count(&open(&disk).unwrap()), next, "{refused:?}");
        });
    }
}

#[test]
fn none_is_made_ahead_where_little_is_free() {
    let watched = Watched::default();
    let disk = watched.disk.clone();
    disk.set_capacity(4 * SEGMENT_BYTES + SEGMENT_BYTES / 2);
    block_on(async {
        let wal = Wal::open(WalOptions { disk: Arc::new(watched.clone()), ..options(&disk) });
        let wal = wal.unwrap();
        let next = fill_up_to(&wal, &disk, 2, 0).await;
        assert_eq!(watched.created_by("wal-spare").len(), 0);
        wal.close().await;
        assert_eq!(entry_count(&open(&disk).unwrap()), next);
    });
}

#[test]
fn what_is_left_of_a_spare_is_removed_at_the_next_start() {
    for left in [0, 1000, SEGMENT_BYTES as usize] {
        let disk = filled(8);
        disk.put(Path::new(SPARE), vec![0xff; left]);
        block_on(async {
            let wal = open(&disk).unwrap();
            assert!(!disk.files().contains_key(Path::new(SPARE)));
            fill_up_to(&wal, &disk, 2, 8).await;
            wal.close().await;
        });
        // The segments after it have nothing of what was in it.
        let next = entry_count(&open(&disk).unwrap());
        assert!(next > 60, "{next}");
    }
}
