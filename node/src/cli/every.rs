//! Asking all nodes, or those that are named, each for its own.

use model::cluster::NodeId;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::{exit::Failure, print};
use crate::{
    api::types::NodeList,
    client::{Client, Request, ServerAddress},
};

/// Nodes that are asked at once.
const NODES_MAX: usize = 64;

/// The API servers of the nodes that are meant: all, or those that were named.
pub(super) async fn nodes(
    client: &Client,
    named: &[u64],
) -> Result<Vec<(NodeId, ServerAddress)>, Failure> {
    let list: NodeList = client.call(Request::get("/v1/nodes")).await?;
    if let Some(unknown) = named.iter().find(|id| !list.nodes.iter().any(|it| it.id.0 == **id)) {
        let reason = format!("there is no node {unknown}; `marchproxy nodes` lists all");
        return Err(Failure::Usage { reason });
    }
    let meant = list.nodes.into_iter().filter(|it| named.is_empty() || named.contains(&it.id.0));
    let meant: Vec<_> = meant.map(|node| (node.id, node.addresses.api.into())).collect();
    if meant.len() > NODES_MAX {
        let reason = format!("at most {NODES_MAX} nodes at once: name them with --node");
        return Err(Failure::Usage { reason });
    }
    Ok(meant)
}

/// Asks each of some nodes the same; returns the answers in the order of the nodes.
///
/// One node that answered is an answer: why others did not is returned beside, to be told of.
pub(super) async fn ask<T: DeserializeOwned + Send + 'static>(
    client: &Client,
    named: &[u64],
    request: impl Fn() -> Request,
) -> Result<(Vec<T>, Vec<(NodeId, Failure)>), Failure> {
    let mut asked = JoinSet::new();
    for (id, server) in nodes(client, named).await? {
        let (client, request) = (client.of_server(server), request());
        asked.spawn(async move { (id, client.call::<T>(request).await) });
    }
    let mut answered = asked.join_all().await;
    answered.sort_by_key(|(id, _)| *id);
    let (mut answers, mut failures) = (Vec::new(), Vec::new());
    for (id, answered) in answered {
        match answered {
            Ok(answer) => answers.push(answer),
            Err(error) => failures.push((id, Failure::from(error))),
        }
    }
    match failures.pop() {
        Some((_, failure)) if answers.is_empty() => Err(failure),
        last => {
            failures.extend(last);
            Ok((answers, failures))
        }
    }
}

/// Tells of nodes that did not answer.
pub(super) fn tell(failures: &[(NodeId, Failure)]) {
    for (node, failure) in failures {
        print::note(&format!("node {node}: {failure}"));
    }
}
