//! Three members: forwarding, election, catching up, watching.

use std::time::Instant;

use consensus::{Batch, Compare, Consistency, ProposeError, Revision, Watcher};

use crate::harness::{
    Cluster, PATIENCE, contents, put, read, transaction, value, wait_status, wait_until, write,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_through_a_follower_is_read_everywhere() {
    let mut cluster = Cluster::formed(3).await;
    let follower = cluster.follower().await;
    let committed = write(cluster.node(follower), "objects/a", "1").await;
    assert!(committed.time_ms > 1_700_000_000_000, "{committed:?}");
    for node in cluster.nodes() {
        let view = read(node).await;
        assert_eq!(value(&view, "objects/a").as_deref(), Some("1"));
        let at = view.get("objects/a").unwrap();
        assert_eq!((at.mod_revision, at.create_revision), (committed.revision, committed.revision));
        assert_eq!(at.time_ms, committed.time_ms);
        let stale = node.read(Consistency::AtLeast(committed.revision)).await.unwrap();
        assert_eq!(contents(&stale), contents(&view));
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_when_the_leader_stops_and_it_catches_up_afterwards() {
    let mut cluster = Cluster::formed(3).await;
    let old = cluster.leader().await;
    write(cluster.node(old), "objects/before", "1").await;
    cluster.stop(old).await;
    let begin = Instant::now();
    let survivor = cluster.nodes().next().unwrap();
    write(survivor, "objects/after", "2").await;
    println!("leader stopped -> next write: {:?}", begin.elapsed());
    let new = cluster.leader().await;
    assert_ne!(new, old);
    assert_eq!(value(&read(cluster.node(new)).await, "objects/before").as_deref(), Some("1"));

    cluster.start(old).await;
    let view = read(cluster.node(old)).await;
    assert_eq!(value(&view, "objects/after").as_deref(), Some("2"));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_past_the_purge_catches_up_by_a_snapshot() {
    let mut cluster = Cluster::new(3);
    cluster.tuning.snapshot_after = 40;
    cluster.tuning.keep_after_snapshot = 10;
    cluster.tuning.segment_bytes = 64 * 1024;
    let mut cluster = cluster.form().await;
    cluster.leader().await;
    write(cluster.node(3), "objects/first", "0").await;
    cluster.stop(3).await;
    for n in 0..200 {
        write(cluster.node(1), &format!("objects/{:02}", n % 50), &n.to_string()).await;
    }
    let leader = cluster.leader().await;
    wait_status(cluster.node(leader), |s| s.snapshot > Revision(150)).await;
    let mut watcher_before = cluster.node(leader).watch("", Revision(0)).unwrap();

    // It makes none of its own, so one that it has came from the leader.
    cluster.tuning.snapshot_after = 100_000;
    cluster.start(3).await;
    let expected = read(cluster.node(leader)).await;
    let view = read(cluster.node(3)).await;
    assert_eq!(contents(&view), contents(&expected));
    wait_status(cluster.node(3), |s| s.snapshot > Revision(40)).await;
    // The snapshot carries the history too, so a watch on the newcomer has no gap either.
    let mut watcher = cluster.node(3).watch("", Revision(0)).unwrap();
    let here = take(&mut watcher, 201).await;
    let there = take(&mut watcher_before, 201).await;
    assert_eq!(here, there);

    cluster.stop(3).await;
    cluster.start(3).await;
    assert_eq!(contents(&read(cluster.node(3)).await), contents(&expected));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_has_no_gap_across_a_change_of_leader() {
    let mut cluster = Cluster::formed(3).await;
    let old = cluster.leader().await;
    let watching = cluster.follower().await;
    let mut watcher = cluster.node(watching).watch("objects/", Revision(0)).unwrap();
    let mut revisions = Vec::new();
    for n in 0..20 {
        if n == 10 {
            cluster.stop(old).await;
        }
        let node = cluster.node(watching);
        let ops = vec![
            put(format!("objects/{n}/a"), "x"),
            put(format!("objects/{n}/b"), "y"),
            put(format!("other/{n}"), "z"),
        ];
        let transaction = transaction(ops);
        let committed = loop {
            match node.propose(transaction.clone()).await {
                Ok(committed) => break committed,
                Err(error) => println!("retrying: {error}"),
            }
        };
        revisions.push(committed.revision);
    }
    let batches = take(&mut watcher, 20).await;
    let seen: Vec<Revision> = batches.iter().map(|b| b.revision).collect();
    assert_eq!(seen, revisions);
    for (n, batch) in batches.iter().enumerate() {
        let keys: Vec<&str> = batch.events.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, [format!("objects/{n}/a"), format!("objects/{n}/b")]);
        assert_eq!((batch.actor.as_str(), batch.message.as_str()), ("tester", "because"));
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compare_and_set_lets_one_of_two_win_and_a_retry_applies_once() {
    let mut cluster = Cluster::formed(3).await;
    let first = write(cluster.node(1), "objects/a", "1").await;
    let mut swap = transaction(vec![put("objects/a", "2")]);
    let compare =
        Compare::KeyRevision { key: "objects/a".to_owned(), revision: Some(first.revision) };
    swap.compare = vec![compare.clone()];
    let done = cluster.node(2).propose(swap.clone()).await.unwrap();
    // The same request again, through another node: the same receipt, no second entry.
    assert_eq!(cluster.node(3).propose(swap.clone()).await, Ok(done));
    let mut late = transaction(vec![put("objects/a", "3")]);
    late.compare = vec![compare];
    let error = cluster.node(3).propose(late).await.unwrap_err();
    assert_eq!(
        error,
        ProposeError::Conflict {
            key: "objects/a".to_owned(),
            expected: Some(first.revision),
            found: Some(done.revision)
        }
    );
    let history = cluster.node(2).history(first.revision, 10).unwrap();
    assert_eq!(history.len(), 1, "{history:?}");
    assert_eq!(history[0].events[0].previous.as_ref().unwrap().value, "1");
    let past = cluster.node(2).read_at(first.revision).unwrap();
    assert_eq!(value(&past, "objects/a").as_deref(), Some("1"));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_the_outcome_is_unknown_and_the_retry_settles_it() {
    let mut cluster = Cluster::new(3);
    cluster.tuning.request_timeout = std::time::Duration::from_secs(2);
    let mut cluster = cluster.form().await;
    let leader = cluster.leader().await;
    let others: Vec<u64> = [1, 2, 3].into_iter().filter(|id| *id != leader).collect();
    for id in &others {
        cluster.stop(*id).await;
    }
    let pending = transaction(vec![put("objects/a", "1")]);
    let error = cluster.node(leader).propose(pending.clone()).await.unwrap_err();
    let unknown =
        matches!(error, ProposeError::OutcomeUnknown { .. } | ProposeError::NoLeader { .. });
    assert!(unknown, "{error}");
    assert!(cluster.node(leader).read(Consistency::Linearizable).await.is_err());
    assert!(cluster.node(leader).read(Consistency::Stale).await.is_ok());
    for id in &others {
        cluster.start(*id).await;
    }
    let deadline = Instant::now() + PATIENCE;
    let committed = loop {
        match cluster.node(others[0]).propose(pending.clone()).await {
            Ok(committed) => break committed,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    let again = cluster.node(leader).propose(pending.clone()).await;
    assert_eq!(again, Ok(committed));
    let history = cluster.node(leader).history(Revision(0), 10).unwrap();
    assert_eq!(history.iter().filter(|b| b.request == pending.request).count(), 1);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_see_their_own_writes_and_all_nodes_agree() {
    let mut cluster = Cluster::formed(3).await;
    let begin = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..24_u64 {
        let node = cluster.node(writer % 3 + 1).clone();
        writers.spawn(async move {
            for n in 0..25 {
                let committed = write(&node, &format!("w/{writer}"), &n.to_string()).await;
                let view = node.read(Consistency::Stale).await.unwrap();
                assert!(view.revision() >= committed.revision);
                assert_eq!(value(&view, &format!("w/{writer}")), Some(n.to_string()));
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    println!("600 writes by 24 writers: {:?}", begin.elapsed());
    let views =
        [read(cluster.node(1)).await, read(cluster.node(2)).await, read(cluster.node(3)).await];
    assert_eq!(contents(&views[0]), contents(&views[1]));
    assert_eq!(contents(&views[0]), contents(&views[2]));
    let histories: Vec<_> =
        cluster.nodes().map(|n| n.history(Revision(0), usize::MAX).unwrap()).collect();
    assert_eq!(histories[0].len(), 600);
    assert!(histories.iter().all(|h| *h == histories[0]));
    wait_until("all nodes know the commit", || {
        cluster.nodes().all(|n| n.status().borrow().last_applied >= views[0].revision())
    })
    .await;
    cluster.stop_all().await;
}

/// Takes exactly `count` batches.
async fn take(watcher: &mut Watcher, count: usize) -> Vec<Batch> {
    let mut batches = Vec::new();
    while batches.len() < count {
        let next = tokio::time::timeout(PATIENCE, watcher.next()).await;
        batches.push(next.unwrap_or_else(|_| panic!("{} batches", batches.len())).unwrap());
    }
    batches
}
