//! Saving and reading back, growth, and disks that refuse.

use std::sync::Arc;

use model::{Object, Revision, parse::object_from_value};
use serde_json::json;

use super::*;

fn service(name: &str, port: u16) -> Arc<Object> {
    let value = json!({
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"endpoints": [{"address": "192.0.2.1", "port": port}]},
    });
    Arc::new(object_from_value(&value).unwrap_or_else(|errors| panic!("{errors}")))
}

fn config(revision: u64, objects: usize) -> Snapshot {
    let mut config = Snapshot::default();
    for n in 0..objects {
        config.put(service(&format!("s{n}"), 80));
    }
    config.set_revision(Revision(revision));
    config
}

fn next(config: &Snapshot, name: &str, port: u16) -> Snapshot {
    let mut next = config.clone();
    next.put(service(name, port));
    next.set_revision(Revision(config.revision().0 + 1));
    next
}

fn reopened(directory: &Path, cluster: &ClusterId) -> Option<Snapshot> {
    Store::open(directory, cluster.clone()).unwrap().1
}

#[test]
fn what_is_saved_is_read_back_and_a_small_change_writes_little() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = ClusterId::random();
    let (mut store, found) = Store::open(directory.path(), cluster.clone()).unwrap();
    assert!(found.is_none());
    let first = config(3, 1_000);
    assert!(store.save(&first).unwrap());
    let size = || fs::metadata(directory.path().join(FILE)).unwrap().len();
    let before = size();
    let second = next(&first, "s5", 81);
    assert!(store.save(&second).unwrap());
    assert!(!store.save(&second).unwrap());
    assert!(size() - before < before / 100, "{} of {before}", size() - before);
    assert_eq!(reopened(directory.path(), &cluster), Some(second));
    assert_eq!(reopened(directory.path(), &ClusterId::random()), None);
}

#[test]
fn a_look_beside_the_store_finds_the_same_and_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (cluster, place) = (ClusterId::random(), directory.path().join("state"));
    assert_eq!(peek(&place, &cluster).unwrap(), None);
    assert!(!place.exists());
    let (mut store, _) = Store::open(&place, cluster.clone()).unwrap();
    let saved = config(3, 2);
    store.save(&saved).unwrap();
    assert_eq!(peek(&place, &cluster).unwrap(), Some(saved));
    assert_eq!(peek(&place, &ClusterId::random()).unwrap(), None);
}

#[test]
fn the_file_is_written_anew_when_changes_outgrow_it() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = ClusterId::random();
    let (mut store, _) = Store::open(directory.path(), cluster.clone()).unwrap();
    let mut current = config(1, 1);
    store.save(&current).unwrap();
    let mut largest = 0;
    let (mut shrank, mut last) = (false, 0);
    for n in 0..200u16 {
        let mut grown = current.clone();
        for m in 0..50u16 {
            grown.put(service(&format!("s{m}"), 1000 + n));
        }
        grown.set_revision(Revision(current.revision().0 + 1));
        current = grown;
        store.save(&current).unwrap();
        let size = fs::metadata(directory.path().join(FILE)).unwrap().len();
        shrank |= size < last;
        last = size;
        largest = largest.max(size);
    }
    assert!(shrank, "never written anew");
    assert!(largest < 2 * COMPACT_MIN, "{largest}");
    assert_eq!(reopened(directory.path(), &cluster), Some(current));
}

#[test]
fn an_older_revision_replaces_a_newer_one_only_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = ClusterId::random();
    let (mut store, _) = Store::open(directory.path(), cluster.clone()).unwrap();
    store.save(&config(9, 3)).unwrap();
    let older = config(4, 1);
    store.save(&older).unwrap();
    assert_eq!(reopened(directory.path(), &cluster), Some(older));
}

#[test]
fn after_a_failed_save_the_next_one_writes_everything() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = ClusterId::random();
    let (mut store, _) = Store::open(directory.path(), cluster.clone()).unwrap();
    let first = config(1, 2);
    store.save(&first).unwrap();
    // A descriptor without the right to write stands for a disk that refuses.
    let path = directory.path().join(FILE);
    store.saved.as_mut().unwrap().file = File::open(&path).unwrap();
    let second = next(&first, "b", 1);
    assert!(matches!(store.save(&second), Err(StoreError::Append { .. })));
    assert_eq!(reopened(directory.path(), &cluster), Some(first));
    assert!(store.save(&second).unwrap());
    assert_eq!(reopened(directory.path(), &cluster), Some(second));
}

#[test]
fn garbage_in_the_file_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = ClusterId::random();
    fs::write(directory.path().join(FILE), [7; 1000]).unwrap();
    let (mut store, found) = Store::open(directory.path(), cluster.clone()).unwrap();
    assert!(found.is_none());
    let first = config(1, 2);
    store.save(&first).unwrap();
    assert_eq!(reopened(directory.path(), &cluster), Some(first));
}
