//! Requests as clients make them: over connections that stay until either side closes, and over one
//! for each request. Every request has to be answered with 200.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::task::JoinHandle;

use crate::client::Client;

/// A load, until it is stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Starts with so many connections that stay, and as many clients that open one for each request.
    pub(crate) fn start(port: u16, host: &'static str, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicU64::new(0));
        let client = |keep: bool| {
            let (stop, answers) = (stop.clone(), answers.clone());
            tokio::spawn(async move { run(port, host, keep, &stop, &answers).await })
        };
        let tasks = (0..clients * 2).map(|i| client(i % 2 == 0)).collect();
        Self { stop, answers, tasks }
    }

    /// How many were answered well so far.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Ends it; returns how many were answered well, and what else happened.
    pub(crate) async fn outcome(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut bad = Vec::new();
        for task in self.tasks {
            bad.extend(task.await.unwrap());
        }
        (self.answers.load(Ordering::Relaxed), bad)
    }

    /// Ends it, and insists that nothing failed.
    pub(crate) async fn stop(self) -> u64 {
        let (answers, bad) = self.outcome().await;
        assert!(bad.is_empty(), "{} of {answers} failed, first {}", bad.len(), bad[0]);
        answers
    }
}

async fn run(
    port: u16,
    host: &str,
    keep: bool,
    stop: &AtomicBool,
    answers: &AtomicU64,
) -> Vec<String> {
    let mut bad = Vec::new();
    let mut kept = None;
    while !stop.load(Ordering::Relaxed) {
        let client = match kept.take() {
            Some(client) => Some(client),
            None => Client::connect(port).await,
        };
        let Some(mut client) = client else {
            bad.push("no connection".to_owned());
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            continue;
        };
        match client.get(host, "/").await {
            Some(answer) if answer.status == 200 => {
                answers.fetch_add(1, Ordering::Relaxed);
                if keep && answer.header("connection") != "close" {
                    kept = Some(client);
                }
            }
            other => bad.push(format!("{other:?}")),
        }
    }
    bad
}
