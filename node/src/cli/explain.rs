//! `explain`: what would become of a packet, and which objects decide it.

use model::explain::{ExplainRequest, Explanation};

use super::{arguments::ExplainArgs, every::nodes, exit::Failure, print, view::explain};
use crate::client::{Client, Request};

/// How much longer than usual the answer may take: the kernel verifies the program once more.
const EXTRA: std::time::Duration = std::time::Duration::from_secs(30);

pub(super) async fn explain(client: &Client, arguments: ExplainArgs) -> Result<(), Failure> {
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
    let client = match arguments.node {
        Some(node) => match nodes(client, &[node]).await?.pop() {
            Some((_, server)) => client.of_server(server),
            None => client.clone(),
        },
        None => client.clone(),
    };
    let ask = Request::post("/v1/explain").json(&request).read_only().waiting(EXTRA);
    let explanation: Explanation = client.call(ask).await?;
    print::answer(arguments.output.format, &explanation, explain::table)
}
