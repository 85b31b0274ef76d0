//! `flows`: what the data planes tell of single packets, of all nodes or of some.

use model::{
    cluster::NodeId,
    flow::{FlowMessage, FlowQuery},
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    arguments::{FlowsArgs, Format},
    every,
    exit::Failure,
    print,
    view::flows,
};
use crate::client::{Client, sse::Message};

/// The pause before the next connection to a node.
const RECONNECT_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
/// Events between a node's stream and the output; a stream that is ahead of it waits.
const BETWEEN: usize = 256;

/// What one node's stream has.
enum Heard {
    Message(Message),
    /// It ended, and why when it should not have.
    Ended(NodeId, Option<Failure>),
}

pub(super) async fn flows(client: &Client, arguments: FlowsArgs) -> Result<(), Failure> {
    let FlowsArgs { follow, service, listener, verdict, address, node, count, output } = arguments;
    let verdict = verdict.map(Into::into);
    let query = FlowQuery { follow, service, listener, verdict, address };
    let nodes = every::nodes(client, &node).await?;
    let (sender, mut heard) = mpsc::channel(BETWEEN);
    let mut streams = JoinSet::new();
    for (id, server) in nodes {
        let client = client.of_server(server);
        streams.spawn(stream(client, id, query.clone(), sender.clone()));
    }
    drop(sender);
    let mut left = count.unwrap_or(u64::MAX);
    let mut shown = flows::Shown::new(follow);
    let mut failures = Vec::new();
    let all = streams.len();
    while left > 0
        && let Some(heard) = heard.recv().await
    {
        let message = match heard {
            Heard::Message(message) => message,
            Heard::Ended(node, Some(failure)) if follow => {
                print::note(&format!("node {node}: {failure}; trying again"));
                continue;
            }
            Heard::Ended(node, failure) => {
                failures.extend(failure.map(|failure| (node, failure)));
                continue;
            }
        };
        left -= 1;
        match (output.format, serde_json::from_str::<FlowMessage>(&message.data)) {
            (Format::Table, Ok(message)) => print::out(&shown.add(message))?,
            (Format::Yaml, Ok(message)) => print::out(&format!("---\n{}", print::yaml(&message)))?,
            _ => print::out(&format!("{}\n", message.data))?,
        }
    }
    if output.format == Format::Table {
        print::out(&shown.finish())?;
    }
    // One node that answered is an answer; the others are told of.
    if failures.len() == all
        && let Some((_, failure)) = failures.pop()
    {
        return Err(failure);
    }
    every::tell(&failures);
    Ok(())
}

/// Reads a node's stream, and connects again when it is followed and ends.
async fn stream(client: Client, node: NodeId, query: FlowQuery, out: mpsc::Sender<Heard>) {
    loop {
        let ended = async {
            let mut stream = client.flows(&query).await?;
            while let Some(message) = stream.next().await? {
                if out.send(Heard::Message(message)).await.is_err() {
                    break;
                }
            }
            Ok::<(), Failure>(())
        }
        .await;
        if out.send(Heard::Ended(node, ended.err())).await.is_err() || !query.follow {
            return;
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}
