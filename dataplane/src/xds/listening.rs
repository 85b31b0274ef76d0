//! Which listeners Envoy listens on: asked of its admin interface.
//!
//! Its acknowledgement of a listener says that it has understood it. It opens the port later: when
//! the routes, the certificate and the clusters that the listener waits for are there, and, at its
//! start, when its workers run. Everything else is live once it is acknowledged: a cluster warms
//! until its endpoints are acknowledged too, and tables and endpoints are with the workers within
//! microseconds of the acknowledgement.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde::{Deserialize, de::IgnoredAny};

use crate::envoy::{Admin, AdminError};

/// The listeners that take connections, by what Envoy accepted last.
pub(super) type Listening = BTreeSet<String>;

/// The wait before the second look; each further one is twice as long.
const INTERVAL_MIN: Duration = Duration::from_millis(2);
/// The longest wait between looks: what a person does not notice, and Envoy neither.
const INTERVAL_MAX: Duration = Duration::from_millis(250);
/// A listener that is not open by then is worth a word: it opens without its routes after 60 s.
const OPEN_WITHIN: Duration = Duration::from_secs(70);

/// How the listeners stand, without what they say. Their versions are of no use: a listener that is
/// changed in place keeps its first one.
const LISTENERS: &str = "/config_dump?resource=dynamic_listeners\
&mask=name,active_state.version_info,warming_state.version_info";
/// Whether the workers run: before, a listener counts as active though its port is closed.
const WORKERS: &str = "/stats?filter=^listener_manager\\.workers_started$";

/// Looks again and again, less and less often.
#[derive(Clone, Debug)]
pub(super) struct Look {
    admin: Admin,
    workers_started: bool,
    interval: Duration,
    since: Instant,
}

impl Look {
    /// Begins to look.
    pub(super) fn new(admin: Admin) -> Self {
        let interval = Duration::ZERO;
        Self { admin, workers_started: false, interval, since: Instant::now() }
    }

    /// Begins anew, with short intervals.
    pub(super) fn again(&mut self) {
        self.interval = Duration::ZERO;
        self.since = Instant::now();
    }

    /// Looks once, after the interval; nothing when Envoy does not say.
    pub(super) async fn next(&mut self) -> Listening {
        tokio::time::sleep(self.interval).await;
        self.interval = (self.interval * 2).clamp(INTERVAL_MIN, INTERVAL_MAX);
        let before = self.since.elapsed();
        let seen = self.ask().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "envoy does not tell where it listens");
            Listening::new()
        });
        if before < OPEN_WITHIN && self.since.elapsed() >= OPEN_WITHIN {
            tracing::warn!(after = ?OPEN_WITHIN, "envoy still does not listen everywhere");
        }
        seen
    }

    async fn ask(&mut self) -> Result<Listening, AdminError> {
        if !self.workers_started {
            let text = self.admin.get(WORKERS).await?;
            self.workers_started = text.trim_ascii().ends_with(b"workers_started: 1");
            if !self.workers_started {
                return Ok(Listening::new());
            }
        }
        Ok(parse(&self.admin.get(LISTENERS).await?))
    }
}

#[derive(Deserialize)]
struct Dump {
    #[serde(default)]
    configs: Vec<Dumped>,
}

#[derive(Deserialize)]
struct Dumped {
    name: String,
    active_state: Option<IgnoredAny>,
    warming_state: Option<IgnoredAny>,
}

/// Reads a dump; what is not understood is not listened on.
fn parse(dump: &[u8]) -> Listening {
    let dump: Dump = match serde_json::from_slice(dump) {
        Ok(dump) => dump,
        Err(error) => {
            tracing::warn!(%error, "envoy's list of listeners is not understood");
            return Listening::new();
        }
    };
    dump.configs
        .into_iter()
        .filter(|listener| listener.active_state.is_some() && listener.warming_state.is_none())
        .map(|listener| listener.name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_active_counts_and_what_is_warming_does_not() {
        let dump = br#"{"configs":[
            {"@type":"x","name":"a","active_state":{"version_info":"1"}},
            {"@type":"x","name":"b","active_state":{"version_info":"1"},"warming_state":{}},
            {"@type":"x","name":"c","warming_state":{"version_info":"2"}}]}"#;
        assert_eq!(parse(dump), Listening::from(["a".to_owned()]));
        assert!(parse(b"{}").is_empty());
        assert!(parse(b"no").is_empty());
    }
}
