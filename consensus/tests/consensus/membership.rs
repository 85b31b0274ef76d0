//! Growing and shrinking a cluster, and what is refused.

use consensus::{MembershipError, NodeId};

use crate::harness::{Cluster, contents, read, wait_status, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_from_one_node_to_three_and_shrinks_again() {
    let mut cluster = Cluster::formed(1).await;
    write(cluster.node(1), "objects/a", "1").await;
    let mut ids = vec![];
    for _ in 0..2 {
        let id = cluster.node(1).allocate_node_id().await.unwrap();
        assert!(!ids.contains(&id) && id != NodeId(1), "{id} is not new");
        ids.push(id);
        cluster.prepare(id.0);
        cluster.start(id.0).await;
        // Through the newest member that is in, so that the call is forwarded.
        let addresses = cluster.addresses(id.0);
        let through = if ids.len() == 1 { 1 } else { ids[0].0 };
        let through = cluster.node(through).clone();
        through.add_learner(id, addresses.clone()).await.unwrap();
        through.add_learner(id, addresses).await.unwrap();
        wait_status(cluster.node(id.0), |s| s.initialized() && s.leader.is_some()).await;
        read(cluster.node(id.0)).await;
        promote(&cluster, id).await;
        wait_status(cluster.node(id.0), |s| s.members.get(&id).is_some_and(|m| m.voter)).await;
    }
    let committed = write(cluster.node(ids[1].0), "objects/b", "2").await;
    let view = read(cluster.node(ids[0].0)).await;
    assert_eq!(contents(&view), contents(&read(cluster.node(1)).await));
    assert!(view.revision() >= committed.revision);

    let gone = ids[0];
    cluster.node(ids[1].0).remove(gone).await.unwrap();
    cluster.node(1).remove(gone).await.unwrap();
    let status = wait_status(cluster.node(1), |s| !s.members.contains_key(&gone)).await;
    assert_eq!(status.members.len(), 2);
    cluster.stop(gone.0).await;
    write(cluster.node(1), "objects/c", "3").await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_would_endanger_the_majority_are_refused() {
    let mut cluster = Cluster::formed(3).await;
    let leader = cluster.leader().await;
    let node = cluster.node(leader).clone();
    assert_eq!(node.promote(NodeId(77)).await, Err(MembershipError::Unknown { node: NodeId(77) }));
    cluster.prepare(99);
    node.add_learner(NodeId(99), cluster.addresses(99)).await.unwrap();
    let never_reached = node.promote(NodeId(99)).await;
    let refused = matches!(never_reached, Err(MembershipError::NotCaughtUp { .. }));
    assert!(refused, "{never_reached:?}");
    let moved = node.add_learner(NodeId(99), cluster.addresses(1)).await;
    assert_eq!(moved, Err(MembershipError::AddressesDiffer { node: NodeId(99) }));

    let others: Vec<u64> = [1, 2, 3].into_iter().filter(|id| *id != leader).collect();
    cluster.stop(others[0]).await;
    // Its silence is known once the last contact is older than the limit.
    let silent = NodeId(others[0]);
    wait_status(&node, |s| s.members[&silent].last_contact_ms.is_none_or(|ms| ms > 1500)).await;
    let kept = node.remove(NodeId(others[1])).await;
    let expected = MembershipError::QuorumAtRisk { node: NodeId(others[1]), healthy: 1, voters: 2 };
    assert_eq!(kept, Err(expected));
    // The dead one may go.
    node.remove(silent).await.unwrap();
    write(&node, "objects/a", "1").await;
    cluster.stop_all().await;
}

async fn promote(cluster: &Cluster, id: NodeId) {
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    while let Err(error) = cluster.node(1).promote(id).await {
        assert!(std::time::Instant::now() < deadline, "{error}");
        assert!(
            matches!(error, MembershipError::NotCaughtUp { .. } | MembershipError::InProgress),
            "{error}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
