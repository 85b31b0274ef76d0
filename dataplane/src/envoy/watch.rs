//! Looks at one Envoy: whether it is ready, then its counters for as long as it runs.

use std::time::Duration;

use ractor::ActorRef;
use serde::Deserialize;

use super::{
    actor::EnvoyMessage,
    admin::Admin,
    life::Life,
    series,
    stats::{self, Reading},
};
use crate::xds::INSTANCE_FIELD;

/// How often counters are read; the interval at which Prometheus usually asks.
const STATS_INTERVAL: Duration = Duration::from_secs(15);
/// How often a starting Envoy is asked whether it is ready.
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// Tells when an Envoy is ready: it, and not another at the same socket.
pub(super) async fn until_ready(admin: Admin, instance: String, actor: ActorRef<EnvoyMessage>) {
    let mut looks = tokio::time::interval(READY_INTERVAL);
    loop {
        looks.tick().await;
        if admin.get("/ready").await.is_ok()
            && self::instance(&admin).await.as_ref() == Some(&instance)
        {
            // The actor may have been stopped meanwhile.
            let _ = actor.cast(EnvoyMessage::BecameReady { instance });
            return;
        }
    }
}

/// Asks which start of Envoy answers.
pub(super) async fn instance(admin: &Admin) -> Option<String> {
    let text = admin.get("/server_info").await.ok()?;
    let mut info: ServerInfo = serde_json::from_slice(&text).ok()?;
    match info.node.metadata.remove(INSTANCE_FIELD)? {
        serde_json::Value::String(instance) => Some(instance),
        _ => None,
    }
}

#[derive(Deserialize)]
struct ServerInfo {
    node: Node,
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    metadata: serde_json::Map<String, serde_json::Value>,
}

/// Publishes what the Envoy counts that takes traffic.
pub(super) async fn count(admin: Admin, life: Life) {
    let (mut ticks, target) = (tokio::time::interval(STATS_INTERVAL), stats::target());
    loop {
        ticks.tick().await;
        match admin.get(&target).await {
            Ok(text) => {
                let text = String::from_utf8_lossy(&text);
                life.series.send_replace(series::of(&text).into());
                let reading = Reading::parse(&text);
                let before = life.counted(reading);
                if reading.updates_rejected > before.updates_rejected {
                    tracing::warn!(total = reading.updates_rejected, "envoy refused updates");
                }
                reading.publish(before);
            }
            Err(error) => tracing::debug!(%error, "reading envoy's counters"),
        }
    }
}
