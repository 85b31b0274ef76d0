//! Saving and reading back, files that cannot be used, and disks that refuse.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

use model::Refusal;

use super::*;
use crate::{
    l7::{ResourceId, ResourceType},
    xds::{Kept, RefusedVersion},
};

fn standing(version: &str) -> Standing {
    let refusal = Refusal {
        object: None,
        field: String::new(),
        resource: "Listener default/l".into(),
        message: "in use".into(),
    };
    let refused = vec![RefusedVersion { version: version.into(), refusal }];
    let id = ResourceId::new(ResourceType::Listener, "default/l");
    Standing(BTreeMap::from([(id, Kept { refused, accepted: None })]))
}

#[test]
fn what_is_saved_is_read_back_and_only_changes_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let cluster = ClusterId::random();
    let reopened = || RefusalStore::open(directory.path(), cluster.clone());
    let (mut store, found) = reopened();
    assert_eq!(found, Standing::default());
    store.save(&found).unwrap();
    assert!(!path.exists(), "nothing is refused and nothing written");

    store.save(&standing("a")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (mut store, found) = reopened();
    assert_eq!(found, standing("a"));
    fs::remove_file(&path).unwrap();
    store.save(&found).unwrap();
    assert!(!path.exists(), "it was saved before");

    store.save(&standing("b")).unwrap();
    assert_eq!(reopened().1, standing("b"));
    store.save(&Standing::default()).unwrap();
    assert_eq!(reopened().1, Standing::default());
}

#[test]
fn a_file_that_cannot_be_used_is_moved_aside() {
    let directory = tempfile::tempdir().unwrap();
    let (path, aside) = (directory.path().join(FILE), directory.path().join(DAMAGED));
    let cluster = ClusterId::random();
    let check = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        let (mut store, found) = RefusalStore::open(directory.path(), cluster.clone());
        assert_eq!(found, Standing::default());
        assert!(!path.exists());
        assert_eq!(fs::read(&aside).unwrap(), content);
        store.save(&standing("a")).unwrap();
        assert_eq!(RefusalStore::open(directory.path(), cluster.clone()).1, standing("a"));
    };
    check(&[7; 1000]);
    check(b"");
    let foreign = format::encode(&ClusterId::random(), &standing("x")).bytes;
    check(&foreign);
    let mut damaged = format::encode(&cluster, &standing("x")).bytes;
    *damaged.last_mut().unwrap() ^= 1;
    check(&damaged);
}

#[test]
fn after_a_failed_save_the_next_one_writes() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let cluster = ClusterId::random();
    let (mut store, _) = RefusalStore::open(&state, cluster.clone());
    assert!(store.save(&standing("a")).is_err(), "there is no directory");
    fs::create_dir(&state).unwrap();
    store.save(&standing("a")).unwrap();
    assert_eq!(RefusalStore::open(&state, cluster).1, standing("a"));
}
