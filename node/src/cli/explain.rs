//! `explain`: what would become of a packet or a request, and which objects decide it.

use model::explain::{
    ExplainRequest, Explanation,
    request::{RequestExplanation, RequestQuestion},
};

use super::{
    arguments::{ExplainArgs, ExplainCommand, RequestArgs},
    every::nodes,
    exit::Failure,
    print,
    view::{explain, explain_request},
};
use crate::client::{Client, Request};

/// How much longer than usual the answer may take: the kernel verifies the program once more.
const EXTRA: std::time::Duration = std::time::Duration::from_secs(30);

pub(super) async fn explain(client: &Client, arguments: ExplainArgs) -> Result<(), Failure> {
    if let Some(ExplainCommand::Request(arguments)) = arguments.command {
        return request(client, arguments).await;
    }
    let ExplainArgs { from, to, protocol, flags, hop_limit, payload, frame, .. } = arguments;
    let request = ExplainRequest {
        frame,
        from,
        to,
        protocol: protocol.map(Into::into),
        tcp_flags: (!flags.is_empty()).then_some(flags),
        hop_limit,
        payload_bytes: payload,
        interface: arguments.interface,
        revision: arguments.revision.map(model::Revision),
    };
    // What is wrong with it is told without asking anybody.
    request.to_frame().map_err(|error| Failure::Usage { reason: error.to_string() })?;
    let client = of_node(client, arguments.node).await?;
    let ask = Request::post("/v1/explain").json(&request).read_only().waiting(EXTRA);
    let explanation: Explanation = client.call(ask).await?;
    print::answer(arguments.output.format, &explanation, explain::table)
}

/// Asks about a request.
async fn request(client: &Client, arguments: RequestArgs) -> Result<(), Failure> {
    let RequestArgs { method, url, headers, client: sender, listener, to, .. } = arguments;
    let question = RequestQuestion {
        url,
        method: Some(method),
        headers,
        client: sender,
        listener,
        to,
        revision: arguments.revision.map(model::Revision),
    };
    // What is wrong with it is told without asking anybody.
    question.check().map_err(|error| Failure::Usage { reason: error.to_string() })?;
    let client = of_node(client, arguments.node).await?;
    let ask = Request::post("/v1/explain/request").json(&question).read_only();
    let explanation: RequestExplanation = client.call(ask).await?;
    print::answer(arguments.output.format, &explanation, explain_request::table)
}

/// A client of one node, or of those of the context.
async fn of_node(client: &Client, node: Option<u64>) -> Result<Client, Failure> {
    let Some(node) = node else { return Ok(client.clone()) };
    let found = nodes(client, &[node]).await?.pop();
    Ok(found.map_or_else(|| client.clone(), |(_, server)| client.of_server(server)))
}
