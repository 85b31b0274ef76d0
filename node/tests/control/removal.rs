//! Nodes that are taken out, and join secrets that are spent.

use consensus::Consistency;
use model::cluster::NodeId;
use node::control::RemoveError;

use crate::cluster::{Cluster, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_ends_with_a_reason_now_and_at_every_later_start() {
    let mut cluster = Cluster::new(32);
    cluster.up(1).await;
    for id in 2..=3 {
        let line = cluster.line(1).await;
        cluster.join(id, line).await;
    }
    cluster.voters(3).await;
    let control = cluster.control(1).clone();
    let unknown = control.remove_node("test", NodeId(999)).await;
    assert!(matches!(unknown, Err(RemoveError::Unknown { node: NodeId(999) })), "{unknown:?}");

    let (gone, _) = cluster.control(3).node();
    // The change that made the last voter may still be under way.
    eventually(async || match control.remove_node("test", gone).await {
        Err(RemoveError::Unavailable { .. }) => None,
        other => Some(other),
    })
    .await
    .unwrap();
    let again = control.remove_node("test", gone).await;
    assert!(matches!(again, Err(RemoveError::Unknown { .. })), "{again:?}");
    let wanted = format!("node {gone} was removed from cluster");
    let said = cluster.failed(3).await;
    assert!(said.contains(&wanted) && said.contains("--data-dir"), "{said}");

    cluster.stop(3).await;
    let term = control.consensus().status().borrow().term;
    cluster.restart(3).await;
    let said = cluster.failed(3).await;
    assert!(said.contains(&wanted), "{said}");
    assert_eq!(control.consensus().status().borrow().term, term, "it disturbed the others");

    // A new one takes its place.
    let line = cluster.line(2).await;
    cluster.join(4, line).await;
    eventually(async || {
        let nodes = control.nodes().await;
        (nodes.iter().filter(|node| node.voter).count() == 3).then_some(())
    })
    .await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spent_join_secrets_go_with_the_next_one_and_fresh_ones_stay() {
    let mut cluster = Cluster::new(33);
    cluster.up(1).await;
    let (spent, fresh) = (cluster.line(1).await, cluster.line(1).await);
    cluster.expire(&spent).await;
    let has = async |cluster: &Cluster, line| {
        let view = cluster.control(1).consensus().read(Consistency::Linearizable).await.unwrap();
        view.get(&Cluster::secret_key(line)).is_some()
    };
    assert!(has(&cluster, &spent).await && has(&cluster, &fresh).await);
    let newest = cluster.line(1).await;
    assert!(!has(&cluster, &spent).await && has(&cluster, &fresh).await);
    // A use purges as well, and remembers the secret that it uses.
    cluster.expire(&newest).await;
    cluster.join(2, fresh.clone()).await;
    assert!(!has(&cluster, &newest).await && has(&cluster, &fresh).await);
    cluster.shutdown().await;
}
