//! `GET /v1/events`: what happens on this node, as server-sent events.
//!
//! Events with an id are revisions; a caller that comes back with `Last-Event-ID` gets those that
//! it missed, as far as the history reaches (`gap` tells when it does not). The others are the
//! present state of soft things and are not repeated. A caller that is too slow loses soft events,
//! is told how many (`lagged`), and still gets every kept revision.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures::stream;
use http::HeaderMap;
use model::{
    Revision,
    api::{Event, HistoryEntry},
};
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{Shared, reply::ApiError};
use crate::control::Control;

/// Comments that keep proxies from closing a silent stream.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

pub(super) async fn follow(
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let after = match headers.get("last-event-id") {
        None => None,
        Some(value) => Some(last_event_id(value)?),
    };
    let follower = Follower::begin(&shared, after).await;
    let events = stream::unfold(follower, |mut follower| async move {
        follower.next().await.map(|event| (Ok::<_, Infallible>(event), follower))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE_EVERY).text("keep-alive");
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

fn last_event_id(value: &http::HeaderValue) -> Result<Revision, ApiError> {
    value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .map(Revision)
        .ok_or_else(|| ApiError::bad_request("Last-Event-ID is not a revision"))
}

/// One caller's place in the stream.
struct Follower {
    control: Control,
    stop: tokio_util::sync::CancellationToken,
    live: broadcast::Receiver<Event>,
    ready: VecDeque<SseEvent>,
    /// The newest revision that was sent or skipped.
    last: Revision,
    _open: Open,
}

impl Follower {
    async fn begin(shared: &Shared, after: Option<Revision>) -> Self {
        // The receiver first: what happens in between is then in both, and sent once.
        let live = shared.control.events();
        let mut follower = Self {
            control: shared.control.clone(),
            stop: shared.stop.clone(),
            live,
            ready: VecDeque::new(),
            last: Revision::ZERO,
            _open: Open::new(),
        };
        // The head of the answer is sent with the first bytes; nothing may happen for long.
        follower.ready.push_back(SseEvent::default().comment("events of marchproxy"));
        match after {
            Some(after) => {
                follower.last = after;
                follower.tell_gap(after);
                follower.replay().await;
            }
            None => {
                let newest = follower.control.history(1).await;
                follower.last = newest.first().map_or(Revision::ZERO, |entry| entry.revision);
            }
        }
        follower
    }

    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let received = tokio::select! {
                received = self.live.recv() => received,
                () = self.stop.cancelled() => return None,
            };
            match received {
                Ok(Event::Revision(entry)) if entry.revision <= self.last => {}
                Ok(Event::Revision(entry)) => self.push_revision(&entry),
                Ok(event) => self.ready.push_back(plain(&event)),
                Err(RecvError::Lagged(lost)) => {
                    let body = json!({"event": "lagged", "lost": lost});
                    self.ready
                        .push_back(SseEvent::default().event("lagged").data(body.to_string()));
                    self.tell_gap(self.last);
                    self.replay().await;
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Sends the kept revisions after the last one.
    async fn replay(&mut self) {
        let mut missed = self.control.history(usize::MAX).await;
        missed.retain(|entry| entry.revision > self.last);
        for entry in missed.iter().rev() {
            self.push_revision(entry);
        }
    }

    /// Tells when revisions after `after` are no longer kept: read everything anew.
    fn tell_gap(&mut self, after: Revision) {
        let floor = Revision(self.control.consensus().history_floor().0);
        if after < floor {
            let body = json!({"event": "gap", "after": after, "floor": floor});
            self.ready.push_back(SseEvent::default().event("gap").data(body.to_string()));
        }
    }

    fn push_revision(&mut self, entry: &HistoryEntry) {
        self.last = entry.revision;
        let event = plain(&Event::Revision(entry.clone())).id(entry.revision.to_string());
        self.ready.push_back(event);
    }
}

fn plain(event: &Event) -> SseEvent {
    let name = match event {
        Event::Revision(_) => "revision",
        Event::Ack(_) => "ack",
        Event::Health(_) => "health",
        Event::Membership { .. } => "membership",
        Event::Rollout(_) => "rollout",
    };
    let body = serde_json::to_string(event).expect("events have string keys and finite numbers");
    SseEvent::default().event(name).data(body)
}

/// Counts the open streams.
pub(super) struct Open(metrics::Gauge);

impl Open {
    pub(super) fn new() -> Self {
        let gauge = metrics::gauge!("marchproxy_api_event_streams");
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
