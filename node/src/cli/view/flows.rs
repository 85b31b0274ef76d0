//! Events of flows: a line each, in columns that stand still while they are followed.

use model::flow::{FlowEvent, FlowMessage, LostEvents, Why};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use crate::cli::table;

const HEADINGS: [&str; 10] = [
    "TIME",
    "NODE",
    "VERDICT",
    "WHY",
    "SOURCE",
    "DESTINATION",
    "ENDPOINT",
    "LISTENER",
    "RULE",
    "REVISION",
];
/// Widths while events are followed; a longer cell pushes the others on.
const WIDTHS: [usize; 10] = [15, 4, 22, 14, 24, 24, 22, 28, 36, 8];
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[hour]:[minute]:[second].[subsecond digits:6]");

/// What is shown of events: those that are followed as they come, others as a table in the end.
#[derive(Debug)]
pub struct Shown {
    follow: bool,
    began: bool,
    events: Vec<(u64, Vec<String>)>,
    lost: Vec<String>,
}

impl Shown {
    /// Begins.
    #[must_use]
    pub fn new(follow: bool) -> Self {
        Self { follow, began: false, events: Vec::new(), lost: Vec::new() }
    }

    /// Takes a message; returns what is to be shown at once.
    pub fn add(&mut self, message: FlowMessage) -> String {
        match message {
            FlowMessage::Flow(event) if self.follow => {
                let head = if self.began { String::new() } else { line(&HEADINGS) };
                self.began = true;
                head + &line(&row(&event))
            }
            FlowMessage::Lost(lost) if self.follow => sentence(&lost),
            FlowMessage::Flow(event) => {
                self.events.push((event.time_us, row(&event)));
                String::new()
            }
            FlowMessage::Lost(lost) => {
                self.lost.push(sentence(&lost));
                String::new()
            }
        }
    }

    /// Returns what is left to be shown: events of all nodes in the order of their times.
    #[must_use]
    pub fn finish(mut self) -> String {
        if self.follow {
            return String::new();
        }
        if self.events.is_empty() && self.lost.is_empty() {
            return "no events are kept\n".to_owned();
        }
        self.events.sort_by_key(|(time, _)| *time);
        let rows: Vec<_> = self.events.into_iter().map(|(_, row)| row).collect();
        table::render(&HEADINGS, &rows) + &self.lost.concat()
    }
}

fn row(event: &FlowEvent) -> Vec<String> {
    let text = |value: &Option<_>| value.as_ref().map_or_else(String::new, ToString::to_string);
    let protocol = event.protocol.as_deref().unwrap_or_default();
    let source = format!("{protocol} {}", text(&event.source));
    let verdict = match &event.reason {
        Some(reason) => format!("{} {reason}", event.verdict),
        None if event.waits => format!("{} waits", event.verdict),
        None => event.verdict.to_string(),
    };
    let why: Vec<&str> = event.why.iter().map(|why| word(*why)).collect();
    let name = |key: &model::ObjectKey| format!("{}/{}", key.namespace, key.name);
    vec![
        time(event.time_us),
        event.node.to_string(),
        verdict,
        why.join(","),
        source.trim().to_owned(),
        text(&event.destination),
        text(&event.endpoint),
        event.listener.as_ref().map(name).unwrap_or_default(),
        event.rule.clone().unwrap_or_default(),
        event.revision.map_or_else(String::new, |revision| revision.to_string()),
    ]
}

fn word(why: Why) -> &'static str {
    match why {
        Why::Sampled => "sampled",
        Why::Begun => "begun",
        Why::Ended => "ended",
        Why::Dropped => "dropped",
    }
}

fn sentence(lost: &LostEvents) -> String {
    let LostEvents { node, ring, held_back, slow } = lost;
    let parts: Vec<String> = [
        (*ring, "for which the ring had no room"),
        (*held_back, "held back, more than a CPU tells of in a moment"),
        (*slow, "missed here, too slow"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, why)| format!("{count} {why}"))
    .collect();
    format!("node {node} lost events: {}\n", parts.join("; "))
}

fn time(us: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1_000)
        .ok()
        .and_then(|time| time.format(TIME).ok())
        .unwrap_or_else(|| format!("{us} us"))
}

fn line<S: AsRef<str>>(cells: &[S]) -> String {
    let mut out = String::new();
    for (cell, width) in cells.iter().zip(WIDTHS) {
        let cell = match cell.as_ref() {
            "" => "-",
            cell => cell,
        };
        out.push_str(&format!("{cell:<width$}  "));
    }
    format!("{}\n", out.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(us: u64, verdict: &str) -> FlowMessage {
        let text = format!(
            r#"{{"event":"flow","timeUs":{us},"node":2,"why":["sampled","begun"],{verdict},
            "protocol":"TCP","source":"10.0.0.1:4242","destination":"10.0.0.2:80","length":60,
            "interface":"eth0","listener":"Listener/default/web","endpoint":"10.0.0.21:8000",
            "revision":12,"generation":3}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn kept_events_are_a_table_in_the_order_of_their_times() {
        let mut shown = Shown::new(false);
        let later = message(1_500_000, r#""verdict":"dropped","reason":"filtered""#);
        assert_eq!(shown.add(later), "");
        assert_eq!(shown.add(message(1_000_001, r#""verdict":"forwarded""#)), "");
        let lost = LostEvents { ring: 3, slow: 1, ..LostEvents::default() };
        assert_eq!(shown.add(FlowMessage::Lost(lost)), "");
        let expected = "\
TIME             NODE  VERDICT           WHY            SOURCE             DESTINATION  ENDPOINT        LISTENER     RULE  REVISION
00:00:01.000001  2     forwarded         sampled,begun  TCP 10.0.0.1:4242  10.0.0.2:80  10.0.0.21:8000  default/web  -     12
00:00:01.500000  2     dropped filtered  sampled,begun  TCP 10.0.0.1:4242  10.0.0.2:80  10.0.0.21:8000  default/web  -     12
node 0 lost events: 3 for which the ring had no room; 1 missed here, too slow
";
        assert_eq!(shown.finish(), expected);
        assert_eq!(Shown::new(false).finish(), "no events are kept\n");
    }

    #[test]
    fn followed_events_are_a_line_each_below_one_heading() {
        let mut shown = Shown::new(true);
        let first = shown.add(message(1, r#""verdict":"forwarded""#));
        let second = shown.add(message(2, r#""verdict":"forwarded""#));
        assert_eq!(first.lines().count(), 2);
        assert!(first.starts_with("TIME"), "{first}");
        assert_eq!(second.lines().count(), 1);
        let at = |text: &str, what: &str| text.lines().last().unwrap().find(what);
        assert_eq!(at(&first, "10.0.0.2:80"), at(&second, "10.0.0.2:80"));
        assert_eq!(shown.finish(), "");
    }
}
