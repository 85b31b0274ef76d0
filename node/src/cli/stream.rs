//! `events`: follows what happens, and connects again when the stream ends.

use std::time::Duration;

use model::{
    ack::AckState,
    api::Event,
    rollout::{Phase, Rollout},
};

use super::{
    arguments::{EventsArgs, Format},
    exit::Failure,
    print,
    view::{changes, time},
};
use crate::client::{Client, sse::Message};

/// The pause before the next connection.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn events(client: &Client, arguments: EventsArgs) -> Result<(), Failure> {
    let EventsArgs { follow, after, count, output } = arguments;
    let mut last = after.map(|revision| revision.to_string());
    let mut left = count.unwrap_or(u64::MAX);
    loop {
        let ended = async {
            let mut stream = client.events(last.as_deref()).await?;
            while left > 0 {
                let Some(message) = stream.next().await? else { break };
                if !message.id.is_empty() {
                    last = Some(message.id.clone());
                }
                print::out(&show(&message, output.format))?;
                left -= 1;
            }
            Ok::<(), Failure>(())
        }
        .await;
        match ended {
            _ if left == 0 => return Ok(()),
            Ok(()) if !follow => return Ok(()),
            Ok(()) => {}
            Err(Failure::Client(error)) if follow => print::note(&format!("{error}; trying again")),
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

fn show(message: &Message, format: Format) -> String {
    match format {
        Format::Json => format!("{}\n", message.data),
        Format::Yaml => match serde_json::from_str::<serde_json::Value>(&message.data) {
            Ok(value) => format!("---\n{}", print::yaml(&value)),
            Err(_) => format!("---\n{}\n", message.data),
        },
        Format::Table => format!("{}\n", line(message)),
    }
}

/// One line for people.
fn line(message: &Message) -> String {
    match serde_json::from_str::<Event>(&message.data) {
        Ok(Event::Revision(entry)) => format!(
            "revision    {} by {} at {}: {}{}{}",
            entry.revision,
            entry.actor,
            time(entry.time_ms),
            changes::summary(&entry.objects),
            if entry.message.is_empty() { "" } else { " - " },
            entry.message
        ),
        Ok(Event::Ack(report)) if !report.connected => {
            format!("ack         node {}: data plane disconnected", report.node)
        }
        Ok(Event::Ack(report)) => {
            let engines: Vec<String> = report
                .engines
                .iter()
                .map(|engine| {
                    let word = match engine.ack {
                        AckState::Applied => "applied",
                        AckState::Pending => "is pending at",
                        AckState::Refused { .. } => "refused",
                        AckState::Unavailable { .. } => "unavailable at",
                    };
                    format!("{} {word} {}", engine.engine, engine.revision)
                })
                .collect();
            format!("ack         node {}: {}", report.node, engines.join(", "))
        }
        Ok(Event::Health(health)) => format!(
            "health      {}: {}{}",
            health.endpoint,
            if health.healthy { "healthy" } else { "unhealthy, " },
            health.reason
        ),
        Ok(Event::Membership { leader, nodes }) => format!(
            "membership  {} nodes, leader {}",
            nodes.len(),
            leader.map_or_else(|| "none".to_owned(), |node| node.to_string())
        ),
        Ok(Event::Rollout(rollout)) => format!("rollout     {}", told(&rollout)),
        Err(_) => format!("{}  {}", message.event, message.data),
    }
}

/// How a rollout stands, in words.
fn told(rollout: &Rollout) -> String {
    let Rollout { base, target, reason, .. } = rollout;
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    match (rollout.phase, rollout.step) {
        (Phase::Running, None) => format!("{target} begins, nodes have {base}"),
        (Phase::Running, Some(step)) => {
            let nodes: Vec<String> = rollout.nodes.iter().map(ToString::to_string).collect();
            format!("{target} at step {} on nodes {}", step + 1, nodes.join(", "))
        }
        (Phase::Paused, _) => format!("{target} is stopped{because}"),
        (Phase::Completed, _) => format!("{target} is complete{because}"),
        (Phase::Aborted, _) => format!("{target} is taken back{because}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(event: &str, data: &str) -> Message {
        Message { event: event.to_owned(), data: data.to_owned(), id: String::new() }
    }

    #[test]
    fn events_are_one_line_for_people() {
        let check = |data: &str, expected: &str| {
            assert_eq!(line(&message("x", data)), expected);
        };
        check(
            r#"{"event":"revision","revision":9,"timeMs":1795000000000,"actor":"admin","message":"why",
               "objects":[{"object":"Service/default/a","action":"created"}]}"#,
            "revision    9 by admin at 2026-11-18 11:06:40Z: 1 created - why",
        );
        check(
            r#"{"event":"ack","node":2,"connected":true,"engines":[
               {"engine":"envoy","revision":9,"state":"applied","notes":[]}]}"#,
            "ack         node 2: envoy applied 9",
        );
        let rollout = |phase: &str, step: &str, reason: &str| {
            format!(
                r#"{{"event":"rollout","base":3,"target":4,"step":{step},"nodes":[2,3],"phase":"{phase}",
                   "reason":"{reason}","sinceMs":1}}"#
            )
        };
        check(&rollout("running", "null", ""), "rollout     4 begins, nodes have 3");
        check(&rollout("running", "0", ""), "rollout     4 at step 1 on nodes 2, 3");
        check(&rollout("paused", "0", "admin"), "rollout     4 is stopped: admin");
        check(&rollout("completed", "1", ""), "rollout     4 is complete");
        check(&rollout("aborted", "0", "bad"), "rollout     4 is taken back: bad");
        check(
            r#"{"event":"health","endpoint":{"service":"Service/default/a","address":"10.0.0.1:80"},
               "healthy":false,"rtt_us":null,"reason":"refused"}"#,
            "health      Service/default/a@10.0.0.1:80: unhealthy, refused",
        );
        check(
            r#"{"event":"membership","leader":null,"nodes":[]}"#,
            "membership  0 nodes, leader none",
        );
        check("{}", "x  {}");
    }
}
