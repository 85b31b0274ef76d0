//! What was acknowledged is there again: power cuts, failing and full disks, a lost store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use consensus::disk::SimulatedDisk;
use consensus::{Consistency, Fatal, Revision};

use crate::harness::{
    Cluster, PATIENCE, contents, put, read, transaction, value, wait_status, write,
};

/// Three nodes (or one) on simulated disks.
async fn formed_on_disks(count: u64) -> (Cluster, BTreeMap<u64, SimulatedDisk>) {
    let mut cluster = Cluster::new(count);
    cluster.tuning.segment_bytes = 32 * 1024;
    cluster.tuning.snapshot_after = 50;
    cluster.tuning.keep_after_snapshot = 20;
    cluster.tuning.request_timeout = std::time::Duration::from_secs(2);
    let disks: BTreeMap<u64, SimulatedDisk> =
        (1..=count).map(|id| (id, SimulatedDisk::new())).collect();
    for (id, disk) in &disks {
        cluster.disks.insert(*id, Arc::new(disk.clone()));
    }
    (cluster.form().await, disks)
}

/// Cuts the power of all nodes at once, deletes their stores, and starts them again.
async fn cut_all(cluster: &mut Cluster, disks: &BTreeMap<u64, SimulatedDisk>, seed: Option<u64>) {
    let left: BTreeMap<u64, SimulatedDisk> =
        disks.iter().map(|(id, disk)| (*id, disk.cut(seed.map(|s| s + id)))).collect();
    cluster.stop_all().await;
    for (id, disk) in left {
        std::fs::remove_dir_all(cluster.dir(id).join("store")).unwrap();
        cluster.disks.insert(id, Arc::new(disk));
        cluster.start(id).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_the_loss_of_all_unsynced_bytes_and_of_every_store() {
    let (mut cluster, disks) = formed_on_disks(3).await;
    let mut acknowledged = BTreeMap::new();
    for n in 0..120 {
        let key = format!("objects/{}", n % 70);
        let committed = write(cluster.node(n % 3 + 1), &key, &n.to_string()).await;
        acknowledged.insert(key, (n.to_string(), committed));
    }
    let before = contents(&read(cluster.node(1)).await);
    // Others are still being written when the power goes.
    let busy = cluster.node(2).clone();
    let writer = tokio::spawn(async move {
        for n in 0.. {
            let ops = vec![put(format!("busy/{n}"), vec![1; 300])];
            if busy.propose(transaction(ops)).await.is_err() {
                return;
            }
        }
    });
    cut_all(&mut cluster, &disks, Some(11)).await;
    writer.abort();
    for node in cluster.nodes() {
        let view = read(node).await;
        for (key, (expected, committed)) in &acknowledged {
            let found = view.get(key).unwrap_or_else(|| panic!("{key} is lost"));
            assert_eq!(
                (&found.value[..], found.mod_revision),
                (expected.as_bytes(), committed.revision)
            );
        }
        let kept: BTreeMap<_, _> =
            contents(&view).into_iter().filter(|(k, _)| k.starts_with("objects/")).collect();
        let expected: BTreeMap<_, _> =
            before.clone().into_iter().filter(|(k, _)| k.starts_with("objects/")).collect();
        assert_eq!(kept, expected);
    }
    write(cluster.node(1), "objects/after", "1").await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_power_cut_check_notices_an_acknowledgement_before_the_sync() {
    let (mut cluster, disks) = formed_on_disks(1).await;
    write(cluster.node(1), "objects/synced", "1").await;
    disks[&1].lie(true);
    write(cluster.node(1), "objects/lied", "1").await;
    cut_all(&mut cluster, &disks, None).await;
    let view = read(cluster.node(1)).await;
    assert_eq!(value(&view, "objects/synced").as_deref(), Some("1"));
    assert_eq!(value(&view, "objects/lied"), None, "the planted bug was not noticed");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_damaged_or_old_store_is_rebuilt() {
    let mut cluster = Cluster::new(1);
    cluster.tuning.snapshot_after = 30;
    cluster.tuning.keep_after_snapshot = 5;
    let mut cluster = cluster.form().await;
    let large = "x".repeat(200_000);
    for n in 0..10 {
        write(cluster.node(1), &format!("objects/{n}"), &large).await;
    }
    cluster.stop(1).await;
    let store = cluster.dir(1).join("store");
    let old = cluster.folder.path().join("old");
    copy(&store, &old);
    cluster.start(1).await;
    for n in 0..90 {
        write(cluster.node(1), &format!("objects/{}", n % 20), &n.to_string()).await;
    }
    let expected = contents(&read(cluster.node(1)).await);
    let history = cluster.node(1).history(Revision(0), usize::MAX).unwrap();
    wait_status(cluster.node(1), |s| s.snapshot >= Revision(60)).await;
    cluster.stop(1).await;

    let damage = |kind: &str| match kind {
        "nothing" => {}
        "deleted" => std::fs::remove_dir_all(&store).unwrap(),
        "old" => {
            std::fs::remove_dir_all(&store).unwrap();
            copy(&old, &store);
        }
        "garbage" => {
            for entry in std::fs::read_dir(&store).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let mut bytes = std::fs::read(&path).unwrap();
                    let middle = bytes.len() / 3..bytes.len();
                    bytes[middle].iter_mut().for_each(|b| *b = b.wrapping_mul(31) ^ 0x5a);
                    std::fs::write(&path, bytes).unwrap();
                }
            }
        }
        "a file" => {
            std::fs::remove_dir_all(&store).unwrap();
            std::fs::write(&store, b"not a folder").unwrap();
        }
        other => panic!("{other}"),
    };
    for kind in ["nothing", "deleted", "old", "garbage", "a file", "nothing"] {
        damage(kind);
        cluster.start(1).await;
        assert_eq!(contents(&read(cluster.node(1)).await), expected, "{kind}");
        assert_eq!(cluster.node(1).history(Revision(0), usize::MAX).unwrap(), history, "{kind}");
        cluster.stop(1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_stops_the_node_and_acknowledges_nothing() {
    let (mut cluster, disks) = formed_on_disks(1).await;
    write(cluster.node(1), "objects/a", "1").await;
    disks[&1].fail_sync(true);
    let error = cluster.node(1).propose(transaction(vec![put("objects/b", "1")])).await;
    assert!(error.is_err(), "{error:?}");
    let fatal = failed(&cluster).await;
    assert_eq!(fatal.part, "wal");
    assert!(fatal.reason.contains("the simulated device failed"), "{fatal}");
    let error = cluster.node(1).read(Consistency::Linearizable).await.unwrap_err();
    assert!(error.to_string().contains("stopped"), "{error}");
    cut_all(&mut cluster, &disks, None).await;
    let view = read(cluster.node(1)).await;
    assert_eq!(value(&view, "objects/a").as_deref(), Some("1"));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_says_so_and_every_acknowledged_write_is_there_afterwards() {
    let (mut cluster, disks) = formed_on_disks(1).await;
    let used: usize = disks[&1].files().values().map(Vec::len).sum();
    disks[&1].set_capacity(used as u64 + 40_000);
    let mut acknowledged = 0;
    let value_of = |n: u64| vec![n as u8; 900];
    loop {
        let ops = vec![put(format!("objects/{acknowledged}"), value_of(acknowledged))];
        match cluster.node(1).propose(transaction(ops)).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break println!("{error}"),
        }
        assert!(acknowledged < 2000, "the disk never fills");
    }
    let fatal = failed(&cluster).await;
    assert!(
        fatal.reason.contains("disk is full") || fatal.reason.contains("no storage"),
        "{fatal}"
    );
    cut_all(&mut cluster, &disks, None).await;
    let view = read(cluster.node(1)).await;
    for n in 0..acknowledged {
        assert_eq!(view.get(&format!("objects/{n}")).unwrap().value, value_of(n));
    }
    cluster.stop_all().await;
}

async fn failed(cluster: &Cluster) -> Fatal {
    let mut failed = cluster.node(1).failed();
    let fatal = tokio::time::timeout(PATIENCE, failed.wait_for(Option::is_some)).await;
    fatal.expect("the node must report it").unwrap().clone().unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
