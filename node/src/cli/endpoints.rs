//! `endpoints`: where the XDP programs forward to and how much, of all nodes or of some.

use model::traffic::{EndpointList, EndpointQuery};

use super::{arguments::EndpointsArgs, every, exit::Failure, print, view::endpoints};
use crate::client::{Client, Request};

pub(super) async fn endpoints(client: &Client, arguments: EndpointsArgs) -> Result<(), Failure> {
    let EndpointsArgs { service, listener, node, output } = arguments;
    let query = EndpointQuery { service, listener };
    let (lists, failures) = every::ask::<EndpointList>(client, &node, || request(&query)).await?;
    print::answer(output.format, &lists, |lists| endpoints::table(lists))?;
    every::tell(&failures);
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
