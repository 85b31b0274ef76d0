//! `dataplane restart` and `dataplane restart-envoy`: one node after the other, and no further than
//! the first that fails.

use std::time::Duration;

use super::{arguments::RestartArgs, every, exit::Failure, print};
use crate::client::{Client, Request};

/// How long a node may take: its data plane gives up before.
const WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn envoy(
    client: &Client,
    arguments: RestartArgs,
    drain: bool,
) -> Result<(), Failure> {
    let request = || Request::post("/v1/dataplane/envoy/restart").query("drain", drain);
    each(client, &arguments.node, request, "another Envoy has taken over").await
}

pub(super) async fn dataplane(client: &Client, arguments: RestartArgs) -> Result<(), Failure> {
    let request = || Request::post("/v1/dataplane/restart");
    each(client, &arguments.node, request, "the data plane hands over to another one").await
}

async fn each(
    client: &Client,
    named: &[u64],
    request: impl Fn() -> Request,
    done: &str,
) -> Result<(), Failure> {
    for (id, server) in every::nodes(client, named).await? {
        client.of_server(server).send(&request().waiting(WITHIN)).await?;
        print::out(&format!("node {id}: {done}\n"))?;
    }
    Ok(())
}
