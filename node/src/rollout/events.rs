//! Tells of rollouts: each node of what comes in its own store.

use consensus::{Consensus, Consistency, WatchError};
use model::api::Event;
use tokio::sync::broadcast;

use super::{in_view, of_record};
use crate::control::store::ROLLOUT;

/// Tells of each change until the store stops.
pub(crate) async fn tell(
    consensus: Consensus,
    events: broadcast::Sender<Event>,
) -> anyhow::Result<()> {
    let mut after = consensus.read(Consistency::Stale).await?.revision();
    loop {
        let Ok(mut watcher) = consensus.watch(ROLLOUT, after) else {
            // Behind the kept history: what it has come to is all that can be told.
            let view = consensus.read(Consistency::Stale).await?;
            after = view.revision();
            if let Some((rollout, _)) = in_view(&view) {
                let _ = events.send(Event::Rollout(rollout));
            }
            continue;
        };
        loop {
            match watcher.next().await {
                Ok(batch) => {
                    let records = batch.events.iter().filter(|event| event.key == ROLLOUT);
                    for stored in records.filter_map(|event| event.current.as_ref()) {
                        if let Some(rollout) = of_record(stored) {
                            // Nobody listening is no error.
                            let _ = events.send(Event::Rollout(rollout));
                        }
                    }
                }
                Err(WatchError::Lagged { last, .. }) => {
                    after = last;
                    break;
                }
                Err(error @ WatchError::Stopped) => return Err(error.into()),
            }
        }
    }
}
