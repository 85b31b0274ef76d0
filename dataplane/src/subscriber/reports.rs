//! The newest report of each engine, gathered from all of them.
//!
//! Engines send without waiting for a control node; a newer report replaces an older one, so the
//! book is as small as there are engines, and a new session gets all of it.

use std::{collections::BTreeMap, sync::Arc};

use model::{Engine, EngineReport};
use tokio::sync::{mpsc, watch};

use crate::tasks::Task;

/// Reports that may wait to be entered: the two engines send one for a revision, or a few.
const QUEUE: usize = 64;

/// The newest report of each engine.
pub type Reports = Arc<BTreeMap<Engine, EngineReport>>;

/// Enters reports while it lives.
#[derive(Debug)]
pub struct ReportBook {
    /// For the engines.
    pub sender: mpsc::Sender<EngineReport>,
    /// For those who pass reports on.
    pub newest: watch::Receiver<Reports>,
    _entering: Task,
}

impl ReportBook {
    /// Opens an empty book. Must be called within a tokio runtime.
    #[must_use]
    pub fn open() -> Self {
        let (sender, mut incoming) = mpsc::channel::<EngineReport>(QUEUE);
        let (book, newest) = watch::channel(Reports::default());
        let entering = Task::spawn(async move {
            while let Some(report) = incoming.recv().await {
                book.send_if_modified(|reports| {
                    let new = reports.get(&report.engine) != Some(&report);
                    if new {
                        Arc::make_mut(reports).insert(report.engine, report);
                    }
                    new
                });
            }
        });
        Self { sender, newest, _entering: entering }
    }
}

#[cfg(test)]
mod tests {
    use model::{AckState, Revision};

    use super::*;

    #[tokio::test]
    async fn a_newer_report_replaces_its_engines_older_one_only() {
        let book = ReportBook::open();
        let report =
            |engine, revision| EngineReport::new(engine, Revision(revision), AckState::Applied);
        for (engine, revision) in [(Engine::Envoy, 1), (Engine::Xdp, 1), (Engine::Envoy, 2)] {
            book.sender.send(report(engine, revision)).await.unwrap();
        }
        let mut newest = book.newest.clone();
        let both = newest
            .wait_for(|all| all.get(&Engine::Envoy).is_some_and(|r| r.revision == Revision(2)))
            .await
            .unwrap()
            .clone();
        assert_eq!(both[&Engine::Xdp].revision, Revision(1));
        assert_eq!(both.len(), 2);
    }
}
