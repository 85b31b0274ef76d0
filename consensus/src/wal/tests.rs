//! The log against a model: reopening, power cuts, truncation, flipped bits, failing disks.

mod ahead;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::log::{Wal, WalOptions};
use super::record::{self, Kind, Record};
use super::{WalError, segment};
use crate::disk::SimulatedDisk;
use crate::failure::Failure;
use crate::pb::storage::{LogId, Vote};

const FOLDER: &str = "/wal";
const SEGMENT_BYTES: u64 = 4096;

fn options(disk: &SimulatedDisk) -> WalOptions {
    WalOptions {
        disk: Arc::new(disk.clone()),
        folder: PathBuf::from(FOLDER),
        cluster: "c0ffee".to_owned(),
        node: 7,
        segment_bytes: SEGMENT_BYTES,
        failure: Failure::default(),
    }
}

fn open(disk: &SimulatedDisk) -> Result<Wal, WalError> {
    Wal::open(options(disk))
}

fn id(term: u64, index: u64) -> LogId {
    LogId { term, index }
}

fn path(sequence: u64) -> PathBuf {
    Path::new(FOLDER).join(segment::name(sequence))
}

/// Appends and waits until the entries are durable.
async fn append(wal: &Wal, entries: Vec<(LogId, Bytes)>) -> std::io::Result<()> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    wal.append(entries, move |result| drop(sender.send(result))).await?;
    receiver.await.expect("the writer answers")
}

/// What a log must hold.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, (u64, Bytes)>,
}

impl Model {
    fn of(wal: &Wal) -> Self {
        let entries = wal.read(0, u64::MAX, usize::MAX).unwrap();
        let entries = entries.into_iter().map(|(id, bytes)| (id.index, (id.term, bytes))).collect();
        Self { vote: wal.vote(), purged: wal.purged(), entries }
    }

    fn next(&self) -> u64 {
        let last = self.entries.keys().last().copied();
        last.or(self.purged.map(|p| p.index)).map_or(0, |last| last + 1)
    }

    fn term(&self) -> u64 {
        self.vote.map_or(1, |v| v.term)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append {
        sizes: Vec<usize>,
        wait: bool,
    },
    Vote,
    Commit,
    /// Drops this many entries from the end.
    Truncate(u64),
    /// Drops this many entries from the front, and the gap behind the end when there are fewer.
    Purge(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let append = (prop::collection::vec(0..700_usize, 1..6), any::<bool>());
    let step = prop_oneof![
        6 => append.prop_map(|(sizes, wait)| Step::Append { sizes, wait }),
        1 => Just(Step::Vote),
        1 => Just(Step::Commit),
        1 => (1..4_u64).prop_map(Step::Truncate),
        1 => (1..12_u64).prop_map(Step::Purge),
    ];
    prop::collection::vec(step, 1..40)
}

/// Runs the steps; returns the model after each, and the place of the last acknowledged one.
async fn run(wal: &Wal, steps: &[Step]) -> (Vec<Model>, usize) {
    let mut models = vec![Model::of(wal)];
    let mut acknowledged = 0;
    for step in steps {
        let mut model = models.last().unwrap().clone();
        let mut durable = false;
        match step {
            Step::Append { sizes, wait } => {
                let first = model.next();
                let entry = |(at, size): (u64, &usize)| {
                    let byte = (first + at) as u8 ^ *size as u8;
                    (id(model.term(), first + at), Bytes::from(vec![byte; *size]))
                };
                let entries: Vec<_> = (0..).zip(sizes).map(entry).collect();
                for (id, bytes) in &entries {
                    model.entries.insert(id.index, (id.term, bytes.clone()));
                    // Every record may be the last one that survives.
                    models.push(model.clone());
                }
                durable = *wait;
                match wait {
                    true => append(wal, entries).await.unwrap(),
                    false => wal.append(entries, |_| {}).await.unwrap(),
                }
            }
            Step::Vote => {
                let vote = Vote { term: model.term() + 1, node: 3, committed: false };
                model.vote = Some(vote);
                wal.save_vote(vote).await.unwrap();
                durable = true;
            }
            Step::Commit => {
                if let Some((index, (term, _))) = model.entries.iter().next() {
                    wal.save_committed(id(*term, *index)).await.unwrap();
                }
            }
            Step::Truncate(count) => {
                let from = model.next().saturating_sub(*count);
                let from = from.max(model.purged.map_or(0, |p| p.index + 1));
                model.entries.split_off(&from);
                wal.truncate(from).await.unwrap();
            }
            Step::Purge(count) => {
                let upto = model.purged.map_or(0, |p| p.index + 1) + count - 1;
                let term = model.entries.get(&upto).map_or(model.term(), |(term, _)| *term);
                model.purged = Some(id(term, upto));
                model.entries = model.entries.split_off(&(upto + 1));
                wal.purge(id(term, upto)).await.unwrap();
                durable = true;
            }
        }
        models.push(model);
        if durable {
            acknowledged = models.len() - 1;
        }
    }
    (models, acknowledged)
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_closed_log_reopens_with_everything(steps in steps()) {
        let disk = SimulatedDisk::new();
        let expected = block_on(async {
            let wal = open(&disk).unwrap();
            let (models, _) = run(&wal, &steps).await;
            let expected = models.last().unwrap().clone();
            assert_eq!(Model::of(&wal), expected, "before closing");
            wal.close().await;
            expected
        });
        prop_assert_eq!(Model::of(&open(&disk).unwrap()), expected);
    }

    #[test]
    fn a_power_cut_loses_nothing_that_was_acknowledged(
        steps in steps(),
        more in steps(),
        seed in prop::option::of(any::<u64>()),
    ) {
        let disk = SimulatedDisk::new();
        block_on(async {
            let wal = open(&disk).unwrap();
            let (models, acknowledged) = run(&wal, &steps).await;
            let after = disk.cut(seed);
            let again = open(&after).unwrap();
            let found = Model::of(&again);
            assert!(
                models[acknowledged..].contains(&found),
                "found {found:?}, acknowledged {:?}", models[acknowledged]
            );
            // The torn end is gone for good: what is written next is not followed by old records.
            let (models, acknowledged) = run(&again, &more).await;
            let found = Model::of(&open(&after.cut(seed)).unwrap());
            assert!(models[acknowledged..].contains(&found), "second cut: found {found:?}");
        });
    }
}

#[test]
fn the_power_cut_check_notices_a_disk_that_lies() {
    let disk = SimulatedDisk::new();
    block_on(async {
        let wal = open(&disk).unwrap();
        disk.lie(true);
        let steps = [Step::Append { sizes: vec![10], wait: true }, Step::Vote];
        let (models, acknowledged) = run(&wal, &steps).await;
        let found = Model::of(&open(&disk.cut(None)).unwrap());
        assert!(!models[acknowledged..].contains(&found), "{found:?}");
    });
}

#[test]
fn a_record_of_a_torn_write_does_not_come_back_behind_a_new_one() {
    let disk = SimulatedDisk::new();
    let entry = |index: u64, byte: u8| (id(1, index), Bytes::from(vec![byte; 40]));
    block_on(async {
        let wal = open(&disk).unwrap();
        append(&wal, vec![entry(0, 0)]).await.unwrap();
        append(&wal, vec![entry(1, 1), entry(2, 2)]).await.unwrap();
        wal.close().await;
    });
    // Of the last write, only the second record reached the device.
    let mut bytes = disk.files()[&path(0)].clone();
    let records = record::scan(&Bytes::from(bytes.clone())).records;
    let lost = records[2].offset as usize..records[3].offset as usize;
    bytes[lost].fill(0);
    disk.put(&path(0), bytes);
    block_on(async {
        let wal = open(&disk).unwrap();
        assert_eq!(wal.last(), Some(id(1, 0)));
        append(&wal, vec![entry(1, 7)]).await.unwrap();
        wal.close().await;
    });
    let found = open(&disk).unwrap().read(0, u64::MAX, usize::MAX).unwrap();
    assert_eq!(found, [entry(0, 0), entry(1, 7)]);
}

/// A log of `count` entries of 40 bytes, each synced by itself; returns its disk.
fn filled(count: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    block_on(async {
        let wal = open(&disk).unwrap();
        for index in 0..count {
            append(&wal, vec![(id(1, index), Bytes::from(vec![index as u8; 40]))]).await.unwrap();
        }
        wal.close().await;
    });
    disk
}

fn entry_count(wal: &Wal) -> u64 {
    let entries = wal.read(0, u64::MAX, usize::MAX).unwrap();
    for (at, (id, bytes)) in (0..).zip(&entries) {
        assert_eq!((id.index, &bytes[..]), (at, &vec![at as u8; 40][..]));
    }
    entries.len() as u64
}

#[test]
fn a_last_segment_cut_at_any_byte_opens_with_the_whole_records_before() {
    let original = filled(12);
    let bytes = original.files()[&path(0)].clone();
    let scan = record::scan(&Bytes::from(bytes.clone()));
    let header_end = record::size(scan.records[0].record.payload.len());
    let ends: Vec<usize> = scan.records[1..]
        .iter()
        .map(|f| f.offset as usize + record::HEADER_BYTES + f.record.payload.len())
        .collect();
    for length in 0..bytes.len() {
        let disk = SimulatedDisk::new();
        disk.put(&path(0), bytes[..length].to_vec());
        match open(&disk) {
            Ok(wal) => {
                let whole = ends.iter().filter(|end| **end <= length).count() as u64;
                assert_eq!(entry_count(&wal), whole, "cut at {length}");
                // It goes on, at full size.
                let next = (id(1, whole), Bytes::from(vec![whole as u8; 40]));
                block_on(async {
                    append(&wal, vec![next]).await.unwrap();
                    wal.close().await;
                });
                assert_eq!(entry_count(&open(&disk).unwrap()), whole + 1, "cut at {length}");
            }
            Err(error) => assert!(length < header_end, "cut at {length}: {error}"),
        }
    }
}

#[test]
fn a_flipped_bit_never_yields_a_wrong_log_and_synced_damage_is_refused() {
    let bytes = filled(6).files()[&path(0)].clone();
    let end = record::scan(&Bytes::from(bytes.clone())).end as usize;
    let records = record::scan(&Bytes::from(bytes.clone())).records;
    // Behind the last record but one, nothing tells that the damaged bytes had been synced.
    let provable = records[records.len() - 1].offset as usize;
    for at in 0..end + 64 {
        for bit in [0, 3, 7] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let disk = SimulatedDisk::new();
            disk.put(&path(0), damaged);
            let opened = open(&disk);
            let padding = records.iter().any(|f| {
                let payload = f.offset as usize + record::HEADER_BYTES + f.record.payload.len();
                (payload..f.offset as usize + record::size(f.record.payload.len())).contains(&at)
            });
            match opened {
                Ok(wal) if at >= end || padding => assert_eq!(entry_count(&wal), 6, "at {at}"),
                Ok(wal) => {
                    assert!(at >= provable, "damage at byte {at} went unnoticed");
                    assert_eq!(entry_count(&wal), 5, "at {at}");
                }
                Err(error) => assert!(at < end, "byte {at}: {error}"),
            }
        }
    }
}

#[test]
fn damage_in_an_earlier_segment_is_refused_with_a_remedy() {
    let original = filled(120);
    let files = original.files();
    assert!(files.len() >= 3, "{} segments", files.len());
    let refused = |disk: &SimulatedDisk, what: &str| {
        let error = crate::StartError::from(open(disk).err().expect(what)).to_string();
        assert!(error.contains("0000000000000000.wal") || error.contains("00001.wal"), "{error}");
        assert!(error.contains("remove this node from the cluster"), "{error}");
    };
    let mut torn = files[&path(0)].clone();
    torn.truncate(2000);
    original.put(&path(0), torn);
    refused(&original, "a cut segment");
    let mut flipped = files[&path(0)].clone();
    flipped[900] ^= 1;
    original.put(&path(0), flipped);
    refused(&original, "a flipped bit");
    original.put(&path(0), vec![0; SEGMENT_BYTES as usize]);
    refused(&original, "zeroes");
    original.put(&path(0), files[&path(0)].clone());
    assert_eq!(entry_count(&open(&original).unwrap()), 120);

    let missing = SimulatedDisk::new();
    for (path, bytes) in files.iter().filter(|(p, _)| **p != path(1)) {
        missing.put(path, bytes.clone());
    }
    refused(&missing, "a missing segment");
}

#[test]
fn purged_segments_are_deleted_and_what_they_said_is_kept() {
    let disk = filled(120);
    block_on(async {
        let wal = open(&disk).unwrap();
        let vote = Vote { term: 9, node: 2, committed: true };
        wal.save_vote(vote).await.unwrap();
        for index in 120..240 {
            let entry = (id(9, index), Bytes::from(vec![index as u8; 40]));
            append(&wal, vec![entry]).await.unwrap();
        }
        let before = disk.files().len();
        wal.purge(id(9, 230)).await.unwrap();
        assert!(disk.files().len() < before, "nothing was deleted");
        wal.close().await;
        let wal = open(&disk).unwrap();
        assert_eq!((wal.vote(), wal.purged()), (Some(vote), Some(id(9, 230))));
        assert_eq!(wal.read(0, u64::MAX, usize::MAX).unwrap().len(), 9);
        assert_eq!(wal.last(), Some(id(9, 239)));
    });
}

#[test]
fn a_failed_sync_is_final() {
    let disk = SimulatedDisk::new();
    let options = options(&disk);
    let failure = options.failure.clone();
    block_on(async {
        let wal = Wal::open(options).unwrap();
        append(&wal, vec![(id(1, 0), Bytes::new())]).await.unwrap();
        disk.fail_sync(true);
        assert!(append(&wal, vec![(id(1, 1), Bytes::new())]).await.is_err());
        let fatal = failure.get().expect("reported");
        assert!(fatal.part == "wal" && fatal.reason.contains("device failed"), "{fatal}");
        // The device works again, but nothing is known about what it holds.
        disk.fail_sync(false);
        assert!(append(&wal, vec![(id(1, 2), Bytes::new())]).await.is_err());
        assert!(wal.save_vote(Vote::default()).await.is_err());
    });
    let left = open(&disk.cut(None)).unwrap();
    assert_eq!(left.read(0, u64::MAX, usize::MAX).unwrap().len(), 1);
}

#[test]
fn a_full_disk_says_so_and_loses_nothing() {
    let disk = SimulatedDisk::new();
    let options = options(&disk);
    let failure = options.failure.clone();
    let acknowledged = block_on(async {
        let wal = Wal::open(options).unwrap();
        disk.set_capacity(2 * SEGMENT_BYTES);
        let mut acknowledged = 0;
        loop {
            let entry = (id(1, acknowledged), Bytes::from(vec![acknowledged as u8; 40]));
            if append(&wal, vec![entry]).await.is_err() {
                break acknowledged;
            }
            acknowledged += 1;
        }
    });
    let reason = failure.get().expect("reported").reason;
    assert!(reason.contains("the disk is full: free space"), "{reason}");
    let after = disk.cut(None);
    assert!(entry_count(&open(&after).unwrap()) >= acknowledged && acknowledged > 10);
}

#[test]
fn a_foreign_or_newer_segment_is_refused() {
    let disk = filled(1);
    let foreign = WalOptions { node: 8, ..options(&disk) };
    let error = Wal::open(foreign).err().unwrap().to_string();
    assert!(error.contains("belongs to node 7 of cluster c0ffee"), "{error}");

    let mut newer = disk.files()[&path(0)].clone();
    let end = record::scan(&Bytes::from(newer.clone())).end as usize;
    let mut record = Vec::new();
    let entry = Record { kind: Kind::Entry, term: 1, index: 1, payload: Bytes::new() };
    record::encode(&mut record, &entry, end as u32);
    record[9] = 2;
    let sum = crc32c::crc32c_append(crc32c::crc32c(&record[..4]), &record[8..]);
    record[4..8].copy_from_slice(&sum.to_le_bytes());
    newer[end..end + record.len()].copy_from_slice(&record);
    disk.put(&path(0), newer);
    let error = crate::StartError::from(open(&disk).err().unwrap()).to_string();
    assert!(error.contains("format version 2") && error.contains("run the newer"), "{error}");
}

#[test]
fn version_1_is_read_and_written_as_in_the_fixture() {
    let disk = SimulatedDisk::new();
    block_on(async {
        let wal = open(&disk).unwrap();
        wal.save_vote(Vote { term: 2, node: 7, committed: true }).await.unwrap();
        let entries = vec![(id(2, 0), Bytes::from("zero")), (id(2, 1), Bytes::from("one"))];
        append(&wal, entries).await.unwrap();
        wal.save_committed(id(2, 1)).await.unwrap();
        wal.truncate(1).await.unwrap();
        append(&wal, vec![(id(2, 1), Bytes::from("uno"))]).await.unwrap();
        wal.purge(id(2, 0)).await.unwrap();
        wal.close().await;
    });
    let written = disk.files()[&path(0)].clone();
    let end = record::scan(&Bytes::from(written.clone())).end as usize;
    crate::fixture::check("wal-v1.bin", &written[..end]);
    let fixture = SimulatedDisk::new();
    fixture.put(&path(0), crate::fixture::read("wal-v1.bin"));
    let wal = open(&fixture).unwrap();
    let entries = wal.read(0, u64::MAX, usize::MAX).unwrap();
    assert_eq!(entries, [(id(2, 1), Bytes::from("uno"))]);
    assert_eq!((wal.purged(), wal.committed()), (Some(id(2, 0)), Some(id(2, 1))));
    assert_eq!(wal.vote(), Some(Vote { term: 2, node: 7, committed: true }));
}
