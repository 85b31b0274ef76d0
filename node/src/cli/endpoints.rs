//! `endpoints`: where the XDP programs forward to and how much, of all nodes or of some.

use model::traffic::{EndpointList, EndpointQuery};
use tokio::task::JoinSet;

use super::{arguments::EndpointsArgs, exit::Failure, flows::nodes, print, view::endpoints};
use crate::client::{Client, Request};

pub(super) async fn endpoints(client: &Client, arguments: EndpointsArgs) -> Result<(), Failure> {
    let EndpointsArgs { service, listener, node, output } = arguments;
    let query = EndpointQuery { service, listener };
    let mut asked = JoinSet::new();
    for (id, server) in nodes(client, &node).await? {
        let (client, query) = (client.of_server(server), query.clone());
        asked.spawn(async move { (id, client.call::<EndpointList>(request(&query)).await) });
    }
    let (mut lists, mut failures) = (Vec::new(), Vec::new());
    for (id, answered) in asked.join_all().await {
        match answered {
            Ok(list) => lists.push(list),
            Err(error) => failures.push((id, Failure::from(error))),
        }
    }
    // One node that answered is an answer; the others are told of.
    if lists.is_empty()
        && let Some((_, failure)) = failures.pop()
    {
        return Err(failure);
    }
    lists.sort_by_key(|list| list.node);
    print::answer(output.format, &lists, |lists| endpoints::table(lists))?;
    for (node, failure) in failures {
        print::note(&format!("node {node}: {failure}"));
    }
    Ok(())
}

fn request(query: &EndpointQuery) -> Request {
    let mut request = Request::get("/v1/endpoints");
    for (name, value) in [("service", &query.service), ("listener", &query.listener)] {
        if let Some(value) = value {
            request = request.query(name, value);
        }
    }
    request
}
