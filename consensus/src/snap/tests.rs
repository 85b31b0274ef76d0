//! Snapshot files: round trip, every kind of damage, and the fixture of version 1.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::Snapshots;
use crate::disk::SimulatedDisk;
use crate::pb::storage::{Addresses, Image, LogId, Member, Membership, StoredMembership, Voters};
use crate::state::State;
use crate::state::apply::apply;
use crate::state::image::describe;
use crate::transaction::{Op, RequestId, Transaction};

const FOLDER: &str = "/snap";

fn snapshots(disk: &SimulatedDisk, cluster: &str) -> Snapshots {
    let folder = PathBuf::from(FOLDER);
    Snapshots { disk: Arc::new(disk.clone()), folder, cluster: cluster.to_owned() }
}

/// A small state, or one of several blocks.
fn sample(objects: u64, bytes: usize) -> (Image, State) {
    let mut state = State::default();
    for index in 1..=objects {
        let op = Op::Put { key: format!("k{index}"), value: Bytes::from(vec![7; bytes]) };
        let transaction = Transaction {
            request: RequestId(index.into()),
            actor: "actor".to_owned(),
            message: "message".to_owned(),
            compare: vec![],
            ops: vec![op],
        };
        apply(&mut state, index, 1000 + index, &transaction);
    }
    let address = |port| format!("127.0.0.1:{port}");
    let addresses = Addresses {
        name: "one".to_owned(),
        api: address(1),
        raft: address(2),
        push: address(3),
        zone: "z".to_owned(),
    };
    let membership = Membership {
        configs: vec![Voters { nodes: vec![1] }],
        members: vec![Member { node: 1, addresses: Some(addresses) }],
    };
    let log_id = Some(LogId { term: 1, index: 0 });
    let mut image = Image {
        applied: Some(LogId { term: 3, index: objects }),
        membership: Some(StoredMembership { log_id, membership: Some(membership) }),
        ..Image::default()
    };
    describe(&state, &mut image);
    (image, state)
}

#[test]
fn a_snapshot_of_many_blocks_reads_back_equal_after_a_power_cut() {
    let disk = SimulatedDisk::new();
    let (image, state) = sample(50, 200_000);
    let written = snapshots(&disk, "c").write(&image, &state).unwrap();
    assert!(written.size > 10 * 1024 * 1024);
    let after = snapshots(&disk.cut(None), "c");
    let newest = after.newest().unwrap().expect("it is durable");
    assert_eq!(after.read(&newest).unwrap(), (image.clone(), state));
    assert_eq!(after.header(&newest).unwrap(), image);
}

#[test]
fn every_damaged_byte_and_every_cut_is_noticed() {
    let disk = SimulatedDisk::new();
    let (image, state) = sample(3, 20);
    let written = snapshots(&disk, "c").write(&image, &state).unwrap();
    let bytes = disk.files()[&written.path].clone();
    let read = |bytes: Vec<u8>| {
        let disk = SimulatedDisk::new();
        let path = Path::new(FOLDER).join("x.snap");
        disk.put(&path, bytes);
        let snapshots = snapshots(&disk, "c");
        snapshots.read(&snapshots.open(&path).unwrap()).map(|_| ())
    };
    read(bytes.clone()).unwrap();
    for at in 0..bytes.len() {
        assert!(read(bytes[..at].to_vec()).is_err(), "cut at {at}");
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(read(damaged).is_err(), "byte {at}");
    }
}

#[test]
fn a_foreign_snapshot_is_refused_by_name() {
    let disk = SimulatedDisk::new();
    let (image, state) = sample(1, 1);
    let written = snapshots(&disk, "mine").write(&image, &state).unwrap();
    let error = snapshots(&disk, "other").read(&written).unwrap_err().to_string();
    assert!(error.contains("cluster mine") && error.contains("cluster other"), "{error}");
}

#[test]
fn the_two_newest_are_kept() {
    let disk = SimulatedDisk::new();
    let snapshots = snapshots(&disk, "c");
    for objects in 1..=5 {
        let (image, state) = sample(objects, 1);
        snapshots.write(&image, &state).unwrap();
    }
    let names = snapshots.clean().unwrap();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[1].to_string_lossy().contains("0000000000000005-"), "{names:?}");
}

#[test]
fn version_1_is_read_and_written_as_in_the_fixture() {
    let disk = SimulatedDisk::new();
    let (image, state) = sample(2, 3);
    let written = snapshots(&disk, "c0ffee").write(&image, &state).unwrap();
    crate::fixture::check("snapshot-v1.bin", &disk.files()[&written.path]);
    let path = Path::new(FOLDER).join("fixture.snap");
    disk.put(&path, crate::fixture::read("snapshot-v1.bin"));
    let snapshots = snapshots(&disk, "c0ffee");
    let read = snapshots.read(&snapshots.open(&path).unwrap()).unwrap();
    assert_eq!(read, (image, state));
}
