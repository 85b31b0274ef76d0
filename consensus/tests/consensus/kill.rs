//! `kill -9` of a process that acknowledges writes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use consensus::Consensus;

use crate::harness::{Cluster, put, read, transaction, wait_status};

/// Set for the child: the directory and the address to use.
const CHILD: &str = "MARCHPROXY_KILL_TEST_DIRECTORY";
const NAME: &str = "kill::acknowledged_writes_survive_kill_9";
const ROUNDS: usize = 4;
const WRITES_A_ROUND: usize = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_kill_9() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return child(directory.into()).await;
    }
    let cluster = Cluster::new(1);
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([NAME, "--exact", "--nocapture"])
            .env(CHILD, cluster.folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut count = 0;
        while count < WRITES_A_ROUND {
            let line = lines.next().expect("the child ended by itself").unwrap();
            let Some((_, receipt)) = line.split_once("acked ") else { continue };
            let (key, revision) = receipt.split_once(' ').unwrap();
            acknowledged.insert(key.to_owned(), revision.parse().unwrap());
            count += 1;
        }
        child.kill().unwrap();
        // Whatever was printed before the kill counts too.
        for line in lines.map_while(Result::ok) {
            let Some((_, receipt)) = line.split_once("acked ") else { continue };
            let Some((key, revision)) = receipt.split_once(' ') else { continue };
            if let Ok(revision) = revision.parse() {
                acknowledged.insert(key.to_owned(), revision);
            }
        }
        child.wait().unwrap();
        println!("round {round}: {} acknowledged so far", acknowledged.len());
    }
    let node = Consensus::start(cluster.options(1)).await.unwrap();
    let view = read(&node).await;
    for (key, revision) in &acknowledged {
        let found = view.get(key).unwrap_or_else(|| panic!("{key} is lost"));
        assert_eq!((found.mod_revision.0, &found.value[..]), (*revision, key.as_bytes()));
    }
    assert!(acknowledged.len() >= ROUNDS * WRITES_A_ROUND);
    node.shutdown().await;
}

/// Writes and prints receipts until it is killed.
async fn child(folder: std::path::PathBuf) {
    let prepared = Cluster::new(1);
    let mut options = prepared.options(1);
    options.dir = folder.join("node-1");
    let node = Consensus::start(options).await.unwrap();
    if !node.status().borrow().initialized() {
        let members = [(node.node(), prepared.addresses(1))].into();
        node.initialize(members).await.unwrap();
    }
    wait_status(&node, |s| s.leader.is_some()).await;
    let output = Arc::new(std::sync::Mutex::new(std::io::stdout()));
    let run: u64 = rand();
    for writer in 0..8 {
        let (node, output) = (node.clone(), output.clone());
        tokio::spawn(async move {
            for n in 0_u64.. {
                let key = format!("{run:x}/{writer}/{n}");
                let ops = vec![put(key.clone(), key.clone().into_bytes())];
                let committed = node.propose(transaction(ops)).await.unwrap();
                let mut output = output.lock().unwrap();
                writeln!(output, "acked {key} {}", committed.revision).unwrap();
                output.flush().unwrap();
            }
        });
    }
    std::future::pending::<()>().await;
}

fn rand() -> u64 {
    consensus::RequestId::random().0 as u64
}
