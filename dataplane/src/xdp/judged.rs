//! What XDP counts while the control nodes judge a rollout by it.

use std::{sync::PoisonError, time::Duration};

use model::rollout::{NodeTraffic, PacketCounts};
use runtime::chain::chain;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::actor::SharedEngine;

/// How often it is read, as Envoy's traffic is.
const EVERY: Duration = Duration::from_secs(1);

/// Reads it for as long as it is wanted.
pub(super) async fn count(
    engine: SharedEngine,
    mut wanted: watch::Receiver<bool>,
    traffic: watch::Sender<NodeTraffic>,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if !*wanted.borrow_and_update() {
            // What is asked for next is not what was counted before.
            traffic.send_if_modified(|all| all.packets.take().is_some());
        }
        if wanted.wait_for(|wanted| *wanted).await.is_err() {
            return;
        }
        ticks.tick().await;
        let engine = engine.clone();
        let read = tokio::task::spawn_blocking(move || {
            let engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
            engine.as_ref().map(|engine| engine.packets())
        });
        match read.await {
            Ok(Some(Ok(counted))) => traffic.send_modify(|all| {
                all.packets = Some(PacketCounts { all: counted.all, dropped: counted.dropped });
            }),
            Ok(Some(Err(error))) => {
                tracing::debug!(error = %chain(&error), "XDP's packets were not read");
            }
            // Without XDP nothing is counted; a panic is the engine's to tell.
            Ok(None) | Err(_) => {}
        }
    }
}
