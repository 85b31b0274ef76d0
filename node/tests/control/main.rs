//! Control processes over real TLS on loopback addresses: forming, joining, refusals, restarts,
//! writes through followers, and actors that die. Each test has addresses of its own.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod cluster;
mod files;
mod push;
mod removal;
mod renewal;
mod rollout;

use std::time::Duration;

use cluster::{Cluster, DEADLINE, eventually, service};
use consensus::Consistency;
use node::{
    control::{ApplyError, ApplyOptions, Start},
    joining::JoinLine,
};
use runtime::supervision::ChildState;

fn options() -> ApplyOptions {
    ApplyOptions { actor: "test".to_owned(), ..ApplyOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_form_by_lines_vote_and_take_writes_through_a_follower() {
    let mut cluster = Cluster::new(1);
    cluster.up(1).await;
    let line = cluster.line(1).await;
    cluster.join(2, line).await;
    // A line from a node that joined works as well as one from the first.
    let line = cluster.line(2).await;
    cluster.join(3, line).await;
    cluster.voters(3).await;

    let follower = cluster.follower();
    let made = cluster.control(follower).apply(vec![service("a", 80)], options()).await.unwrap();
    for id in 1..=3 {
        let control = cluster.control(id);
        let snapshot = control.snapshot(Consistency::AtLeast(made.revision)).await.unwrap();
        assert_eq!((snapshot.len(), snapshot.revision()), (1, made.revision));
        let history = control.history(10).await;
        assert_eq!((history.len(), history[0].actor.as_str()), (1, "test"));
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_tells_which_others_it_reaches() {
    let mut cluster = Cluster::new(12);
    cluster.up(1).await;
    for id in 2..=3 {
        let line = cluster.line(1).await;
        cluster.join(id, line).await;
    }
    cluster.voters(3).await;
    let reaches = async |cluster: &Cluster, id: u8, expected: usize| {
        eventually(async || {
            let nodes = cluster.control(id).nodes().await;
            (nodes.iter().filter(|node| node.reachable).count() == expected).then_some(())
        })
        .await;
    };
    // A follower knows of the other follower as well as the leader does.
    for id in 1..=3 {
        reaches(&cluster, id, 3).await;
    }
    cluster.stop(3).await;
    for id in 1..=2 {
        reaches(&cluster, id, 2).await;
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hosts_that_join_at_once_all_become_voters() {
    let mut cluster = Cluster::new(2);
    cluster.up(1).await;
    let mut joining = Vec::new();
    for id in 2..=4 {
        let line = cluster.line(1).await;
        joining.push(tokio::spawn(cluster.starting(id, Start::Join { line })));
    }
    for (id, started) in (2..).zip(joining) {
        cluster.add(id, started.await.unwrap().unwrap());
    }
    cluster.voters(4).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_used_wrong_or_of_another_cluster_are_refused_with_a_reason() {
    let mut cluster = Cluster::new(3);
    cluster.up(1).await;
    let good = cluster.line(1).await;
    let refused = async |cluster: &Cluster, id: u8, line: JoinLine| -> String {
        let started = cluster.starting(id, Start::Join { line }).await;
        format!("{:#}", started.err().expect("it is refused"))
    };

    let wrong = JoinLine { secret: "mpj_nobody-gave-me".to_owned(), ..good.clone() };
    let words = refused(&cluster, 2, wrong).await;
    assert!(words.contains("not one of this cluster"), "{words}");

    // The directory of the refused attempt is as good as new.
    cluster.join(2, good.clone()).await;
    let words = refused(&cluster, 3, good.clone()).await;
    assert!(words.contains("was used by node"), "{words}");

    let mut other = Cluster::new(4);
    other.up(1).await;
    let foreign = other.line(1).await;
    let wrong_authority = JoinLine { pin: foreign.pin, ..cluster.line(1).await };
    let words = refused(&cluster, 3, wrong_authority).await;
    assert!(words.contains("pin"), "{words}");

    cluster.stop(2).await;
    let words = refused(&cluster, 2, foreign).await;
    assert!(words.contains("give another --data-dir"), "{words}");
    // The used line on the member it made is a restart.
    cluster.join(2, good).await;
    other.shutdown().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hosts_that_use_one_line_at_once_exactly_one_comes_in() {
    let mut cluster = Cluster::new(11);
    cluster.up(1).await;
    let line = cluster.line(1).await;
    let starting = |id| tokio::spawn(cluster.starting(id, Start::Join { line: line.clone() }));
    let (two, three) = tokio::join!(starting(2), starting(3));
    let (two, three) = (two.unwrap(), three.unwrap());
    assert!(two.is_ok() != three.is_ok(), "one host, not both and not none");
    for (id, started) in [(2, two), (3, three)] {
        match started {
            Ok(running) => cluster.add(id, running),
            Err(error) => assert!(format!("{error:#}").contains("was used by node"), "{error:#}"),
        }
    }
    assert_eq!(cluster.control(1).nodes().await.len(), 2);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_back_after_a_restart_without_flags() {
    let mut cluster = Cluster::new(5);
    cluster.up(1).await;
    for id in 2..=3 {
        let line = cluster.line(1).await;
        cluster.join(id, line).await;
    }
    cluster.voters(3).await;
    let made = cluster.control(1).apply(vec![service("a", 80)], options()).await.unwrap();
    let token = cluster.control(2).create_token("test", "ci", node::tokens::Role::Read).await;
    let token = token.unwrap();
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    for id in 1..=3 {
        cluster.restart(id).await;
    }
    let snapshot =
        eventually(async || cluster.control(3).snapshot(Consistency::Linearizable).await.ok())
            .await;
    assert_eq!((snapshot.len(), snapshot.revision()), (1, made.revision));
    assert_eq!(cluster.control(3).authenticate(&token).await.unwrap().name, "ci");
    assert!(cluster.control(3).delete_token("test", "ci").await.unwrap());
    assert!(cluster.control(3).authenticate(&token).await.is_err());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_on_three_hosts_forms_one_cluster() {
    let mut cluster = Cluster::new(6);
    let secret = cluster.secret_file();
    let peers: Vec<String> = (1..=3).map(|id| cluster.address(id).to_string()).collect();
    // The founder comes last: the others wait for it, and form nothing.
    let mut starting = Vec::new();
    for id in [3, 2, 1] {
        let start = Start::Expect { expect: 3, peers: peers.clone(), secret_file: secret.clone() };
        starting.push((id, tokio::spawn(cluster.starting(id, start))));
    }
    for (id, started) in starting {
        cluster.add(id, started.await.unwrap().unwrap());
    }
    cluster.voters(3).await;
    let clusters: std::collections::BTreeSet<String> =
        (1..=3).map(|id| cluster.control(id).identity().cluster().to_string()).collect();
    assert_eq!(clusters.len(), 1);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_or_directory_is_named_and_leaves_nothing_behind() {
    let mut cluster = Cluster::new(7);
    let api = std::net::SocketAddr::new(cluster.address(1), 7800);
    let taken = std::net::TcpListener::bind(api).unwrap();
    let words = format!("{:#}", cluster.starting(1, Start::Up).await.err().expect("refused"));
    assert!(words.contains("port 7800") && words.contains("--api-port"), "{words}");
    drop(taken);
    cluster.up(1).await;
    let words = format!("{:#}", cluster.starting(1, Start::Up).await.err().expect("refused"));
    assert!(words.contains("is in use"), "{words}");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_never_undo_each_others_checks_and_a_condition_holds() {
    let mut cluster = Cluster::new(8);
    cluster.up(1).await;
    let control = cluster.control(1).clone();
    let mut writers = Vec::new();
    for n in 0..8_u16 {
        let control = control.clone();
        writers.push(tokio::spawn(async move {
            control.apply(vec![service(&format!("s{n}"), 80 + n)], options()).await.unwrap()
        }));
    }
    let mut revisions = Vec::new();
    for writer in writers {
        revisions.push(writer.await.unwrap().revision);
    }
    revisions.sort();
    revisions.dedup();
    assert_eq!(revisions.len(), 8);
    let newest = *revisions.last().unwrap();
    let same = control.apply(vec![service("s3", 83)], options()).await.unwrap();
    assert_eq!(same.revision, newest, "nothing changes, nothing is written");
    let stale = ApplyOptions { expect_revision: Some(revisions[0]), ..options() };
    let refused = control.apply(vec![service("late", 1)], stale).await;
    assert!(matches!(refused, Err(ApplyError::Conflict { found, .. }) if found == newest));
    let back = control.rollback(revisions[0], options()).await.unwrap();
    assert_eq!(control.snapshot(Consistency::AtLeast(back.revision)).await.unwrap().len(), 1);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_actor_that_is_killed_is_started_again() {
    let mut cluster = Cluster::new(9);
    cluster.up(1).await;
    let supervisor = cluster.running(1).supervisor();
    let mut status = supervisor.status();
    let names: Vec<String> = status.borrow().iter().map(|child| child.name.clone()).collect();
    let children = supervisor.cell().get_children();
    assert_eq!(children.len(), names.len());
    // `consensus` is not restarted in place: its death ends the process.
    let watched = names.iter().filter(|name| *name != "consensus").count();
    let keep = children.iter().min_by_key(|child| child.get_id().pid()).unwrap().get_id();
    for child in children.iter().filter(|child| child.get_id() != keep) {
        child.kill();
    }
    let repaired = status.wait_for(|all| {
        all.iter().filter(|c| c.restarts == 1 && c.state == ChildState::Running).count() == watched
    });
    tokio::time::timeout(DEADLINE, repaired).await.expect("in time").unwrap();
    let line = cluster.line(1).await;
    cluster.join(2, line).await;
    cluster.voters(2).await;
    cluster.control(2).apply(vec![service("a", 80)], options()).await.unwrap();
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_line_is_refused() {
    let mut cluster = Cluster::new(10);
    cluster.up(1).await;
    let short = cluster.control(1).create_join_line("test", Some(Duration::from_secs(1))).await;
    assert!(short.is_err(), "a second is below the least time to live");
    let line = cluster.line(1).await;
    cluster.expire(&line).await;
    let started = cluster.starting(2, Start::Join { line }).await;
    let words = format!("{:#}", started.err().expect("it is refused"));
    assert!(words.contains("expired"), "{words}");
    cluster.shutdown().await;
}
