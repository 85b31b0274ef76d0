//! The commands about the cluster itself: status, nodes, tokens and join lines.

use model::api::{
    JoinLineRequest, JoinLineResponse, NodeInfo, StatusResponse, TokenCreated, TokenList,
    TokenRequest,
};

use super::{
    arguments::{NodesCommand, Output, StatusArgs, TokenCommand},
    exit::Failure,
    print,
    view::{cluster, time},
};
use crate::{
    api::types::NodeList,
    client::{Client, Request},
};

pub(super) async fn status(client: &Client, arguments: StatusArgs) -> Result<(), Failure> {
    let status: StatusResponse = client.call(Request::get("/v1/status")).await?;
    print::answer(arguments.output.format, &status, cluster::status)
}

pub(super) async fn nodes(
    client: &Client,
    command: Option<NodesCommand>,
    output: Output,
) -> Result<(), Failure> {
    match command.unwrap_or(NodesCommand::List { output }) {
        NodesCommand::List { output } => {
            let list: NodeList = client.call(Request::get("/v1/nodes")).await?;
            print::answer(output.format, &list, |list| {
                let nodes: &[NodeInfo] = &list.nodes;
                cluster::nodes(nodes)
            })
        }
        NodesCommand::Remove { id } => {
            client.send(&Request::delete(&format!("/v1/nodes/{id}"))).await?;
            print::out(&format!("node {id} removed\n"))
        }
    }
}

pub(super) async fn token(client: &Client, command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create { name, role, output } => {
            let body = TokenRequest { name, role: role.into() };
            let created: TokenCreated =
                client.call(Request::post("/v1/tokens").json(&body)).await?;
            print::answer(output.format, &created, |created| format!("{}\n", created.secret))
        }
        TokenCommand::List { output } => {
            let list: TokenList = client.call(Request::get("/v1/tokens")).await?;
            print::answer(output.format, &list, |list| cluster::tokens(&list.tokens))
        }
        TokenCommand::Delete { name } => {
            let mut path = "/v1/tokens/".to_owned();
            crate::client::request::encode(&name, &mut path);
            client.send(&Request::delete(&path)).await?;
            print::out(&format!("token {name} deleted\n"))
        }
        TokenCommand::Join { ttl, output } => {
            let body = JoinLineRequest { ttl_seconds: Some(ttl.as_secs()) };
            let line: JoinLineResponse =
                client.call(Request::post("/v1/join-lines").json(&body)).await?;
            print::note(&format!(
                "Run this on the next host; it works once, until {}:",
                time(line.expires_ms)
            ));
            print::answer(output.format, &line, |line| format!("marchproxy join {}\n", line.line))
        }
    }
}
