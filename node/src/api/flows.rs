//! `GET /v1/flows`: what this node's data plane tells of single packets, as server-sent events.
//!
//! The data plane filters, keeps and bounds them; here they are relayed line by line. A caller
//! that is too slow holds up nobody: the data plane tells it how many events it has missed.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures::stream;
use http_body_util::BodyExt;
use model::flow::FlowQuery;
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    events::Open,
    plane::{self, Answer},
    reply::ApiError,
    request::Params,
};

/// Comments that keep proxies from closing a silent stream.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// The longest line that is taken: names of objects are a few hundred bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

pub(super) async fn flows(
    State(shared): State<Shared>,
    Params(query): Params<FlowQuery>,
) -> Result<Response, ApiError> {
    let answer = plane::get(&shared, &plane::with_query("/flows", &query)).await?;
    let relay = Relay { answer, lines: Lines::default(), stop: shared.stop, _open: Open::new() };
    let begin = SseEvent::default().comment("flows of marchproxy");
    let events = stream::unfold((relay, Some(begin)), |(mut relay, begin)| async move {
        let event = match begin {
            // The head of the answer is sent with the first bytes; nothing may happen for long.
            Some(begin) => begin,
            None => relay.next().await?,
        };
        Some((Ok::<_, Infallible>(event), (relay, None)))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE_EVERY).text("keep-alive");
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

/// One caller's stream.
struct Relay {
    answer: Answer,
    lines: Lines,
    stop: CancellationToken,
    _open: Open,
}

impl Relay {
    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(line) = self.lines.next() {
                let name = if is_lost(&line) { "lost" } else { "flow" };
                return Some(SseEvent::default().event(name).data(line));
            }
            let frame = tokio::select! {
                frame = self.answer.body.frame() => frame?,
                () = self.stop.cancelled() => return None,
            };
            match frame {
                Ok(frame) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    if !self.lines.feed(&bytes) {
                        tracing::warn!("a line of flows is longer than any should be");
                        return None;
                    }
                }
                Err(error) => {
                    tracing::info!(%error, "the data plane ended a stream of flows");
                    return None;
                }
            }
        }
    }
}

fn is_lost(line: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Name<'a> {
        event: &'a str,
    }
    serde_json::from_str::<Name<'_>>(line).is_ok_and(|name| name.event == "lost")
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Where the next line begins.
    start: usize,
}

impl Lines {
    /// Takes bytes; tells whether what is left of a line is not too long.
    fn feed(&mut self, bytes: &[u8]) -> bool {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
        self.bytes.len() <= LINE_BYTES_MAX || bytes.contains(&b'\n')
    }

    fn next(&mut self) -> Option<String> {
        let rest = &self.bytes[self.start..];
        let length = rest.iter().position(|byte| *byte == b'\n')?;
        let line = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.start += length + 1;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_are_cut() {
        let text = "one\ntwo\n\nfour\nrest";
        for cut in 1..text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for part in text.as_bytes().chunks(cut) {
                assert!(lines.feed(part));
                found.extend(std::iter::from_fn(|| lines.next()));
            }
            assert_eq!(found, ["one", "two", "", "four"], "{cut}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let mut lines = Lines::default();
        assert!(lines.feed(&[b'x'; LINE_BYTES_MAX]));
        assert!(!lines.feed(b"x"));
    }

    #[test]
    fn only_a_message_of_lost_events_is_one() {
        assert!(is_lost(r#"{"event":"lost","node":1,"ring":0,"heldBack":1,"slow":0}"#));
        assert!(!is_lost(r#"{"event":"flow","reason":"lost"}"#));
        assert!(!is_lost("lost"));
    }
}
